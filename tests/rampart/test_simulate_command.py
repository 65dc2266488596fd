"""`simulate`: says what would become of a call, and does none of it."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from pytest_django import Settings

from approvals.models import Policy
from rampart.management.base import Exit
from tests.conftest import Agent, MakeAgent, effects
from tests.desk_cast import Rule
from tests.processes import Deployment
from tests.rampart.test_commands import data, run
from tests.tools.conftest import Bench
from tools import catalogue, policy, redact, registry, scope, side_effects, tool
from tools.key_cabinet import revoke_key
from tools.models import EmergencyStop, Tool

pytestmark = pytest.mark.django_db


def simulate(name: str, *options: str, actor: str = "agent", **arguments: Any) -> Any:
    """The document that the command prints."""
    given = ("--args", json.dumps(arguments), "--actor", actor)
    return data("simulate", name, *given, *options)


def everything() -> dict[str, Any]:
    """Every row of every table, and all that Redis holds."""
    found: dict[str, Any] = {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
    }
    if django_settings.REDIS_URL:
        with redis.Redis.from_url(django_settings.REDIS_URL) as client:
            found["redis"] = sorted(client.keys())  # type: ignore[type-var]
    return found


# What it says.


@pytest.mark.feature("P5")
def test_a_held_call_names_the_rule_and_who_could_decide(
    agent: Agent, reviewer: User, owner: User
) -> None:
    owner.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
    found = simulate("pay", path="/dev/null", amount=900)
    assert (found["decision"], found["rule"]) == ("hold", "approval conditions")
    assert found["reason"] == "amount exceeds 100"
    assert found["eligible"] == ["reviewer"]
    assert found["key_prefix"] == agent.row.prefix
    assert found["trace"] == [
        {"rule": "open to the caller", "answer": "allow", "reason": None},
        {"rule": "idempotency key", "answer": "allow", "reason": None},
        {"rule": "arguments", "answer": "allow", "reason": None},
        {"rule": "scope kit.write", "answer": "allow", "reason": None},
        {"rule": "jail", "answer": "allow", "reason": None},
        {"rule": "approval conditions", "answer": "hold", "reason": "amount exceeds 100"},
        {"rule": "unruled writes: allow", "answer": "allow", "reason": None},
    ]


@pytest.mark.feature("P5", "AP9")
def test_a_call_that_policies_hold_names_its_terms_and_who_could_fill_each_stage(
    make_agent: MakeAgent, write_rule: Rule, member: Callable[..., User]
) -> None:
    member("ana", "ops")
    make_agent(owner=member("bob", "ops", "finance"))
    member("cora", "finance")
    write_rule("fine", tool="pay", effect="allow", priority=1)
    write_rule(
        "money", [(1, "ops"), (1, "finance")], tool="p*", reason_required=True,
        conditions=[{"field": "amount", "operator": "≥", "value": 50}],
        expires_after=timedelta(hours=2),
    )  # fmt: skip
    found = simulate("pay", path="/dev/null", amount=60, card_number="4111")
    assert (found["decision"], found["rule"]) == ("hold", "rule money")
    assert found["reason"] == "amount is at least 50 (rule money)"
    assert found["eligible"] == ["ana"]
    assert found["terms"] == {
        "stages": [
            {"needs": 1, "group": "ops", "could": ["ana"]},
            {"needs": 1, "group": "finance", "could": ["cora"]},
        ],
        "is_decidable": True,
        "expires_after": 7200,
        "reason_required": True,
        "no_bulk": False,
        "step_up": False,
        "typed_confirmation": False,
    }
    assert found["arguments"]["card_number"] == "[REDACTED]"
    assert [(step["rule"], step["answer"]) for step in found["trace"]][-3:] == [
        ("approval conditions", "allow"), ("rule fine", "allow"), ("rule money", "hold"),
    ]  # fmt: skip
    said = run("simulate", "pay", "--actor", "agent", "--args", '{"path": "x", "amount": 60}')[0]
    assert "who could decide: cora (1 of finance)" in said
    assert said.endswith("to be decided within 2h; with a reason\n")


@pytest.mark.feature("P5", "TD4")
def test_a_call_that_nobody_could_decide_is_called_so(
    agent: Agent, write_rule: Rule, reviewer: User
) -> None:
    write_rule("two", [(2, None)], tool="pay")
    found = simulate("pay", path="/dev/null", amount=1)
    assert (found["eligible"], found["terms"]["is_decidable"]) == (["reviewer"], False)


@pytest.mark.feature("P5")
def test_a_policy_is_asked_as_it_is_now(agent: Agent, write_rule: Rule) -> None:
    """Not as this process remembers it from half a second ago."""
    assert simulate("leave_trace", path="/dev/null")["decision"] == "allow"
    Policy.objects.create(name="no", effect="deny")
    assert simulate("leave_trace", path="/dev/null")["rule"] == "rule no"


@pytest.mark.feature("P5")
def test_an_allowed_call_names_no_rule_and_the_limits_it_would_count_under(
    make_agent: MakeAgent,
) -> None:
    make_agent("tiered", rate_tier="5/minute")
    found = simulate("ten_an_hour", actor="tiered")
    assert (found["decision"], found["rule"], found["eligible"]) == ("allow", None, [])
    assert found["trace"][-2:] == [
        {"rule": "rate limit 10/hour/user", "answer": "not counted", "reason": None},
        {"rule": "rate tier 5/minute", "answer": "not counted", "reason": None},
    ]


@pytest.mark.feature("P5")
def test_a_denied_call_names_the_policy_and_hears_all_rules(agent: Agent) -> None:
    found = simulate("on_weekdays", day="sunday")
    assert (found["decision"], found["rule"]) == ("deny", "policy weekdays_only")
    assert found["error_type"] == "PolicyDenied"
    assert [step["rule"] for step in found["trace"]][-3:] == [
        "policy weekdays_only", "approval conditions", "unruled writes: allow",
    ]  # fmt: skip
    assert simulate("never_judged", day="monday")["error_type"] == "PolicyError"


@pytest.mark.feature("P5")
def test_a_rule_that_denies_beats_one_that_holds(make_agent: MakeAgent) -> None:
    make_agent("refunder", ("refunds.write",))
    found = simulate("refund_payment", actor="refunder", order_id="A", amount=20_000)
    answers = {step["rule"]: step["answer"] for step in found["trace"]}
    assert (answers["policy within_reason"], answers["approval conditions"]) == ("deny", "hold")
    assert (found["decision"], found["rule"]) == ("deny", "policy within_reason")
    assert found["eligible"] == []


@pytest.mark.feature("P5")
def test_what_becomes_of_unruled_writes_is_the_settings(agent: Agent, settings: Settings) -> None:
    for setting, decision in (("allow", "allow"), ("hold", "hold"), ("deny", "deny")):
        settings.RAMPART_UNRULED_WRITES = setting
        found = simulate("leave_trace", path="/dev/null")
        assert found["decision"] == decision
        assert found["rule"] == (f"unruled writes: {setting}" if decision != "allow" else None)


@pytest.mark.feature("P5")
@pytest.mark.parametrize(
    ("name", "arguments", "rule", "error_type"),
    [
        ("once", {"path": "/dev/null"}, "idempotency key", "IdempotencyKeyRequired"),
        ("pay", {"path": "/dev/null", "amount": "much"}, "arguments", "InputValidationError"),
        ("lookup_order", {"order_id": "A"}, "scope orders.read", "ScopeDenied"),
    ],
)
def test_a_refusal_at_the_door_ends_the_trace(
    agent: Agent, name: str, arguments: Any, rule: str, error_type: str
) -> None:
    found = simulate(name, **arguments)
    assert (found["decision"], found["rule"]) == ("deny", rule)
    assert found["error_type"] == error_type
    assert found["trace"][-1]["rule"] == rule


def test_a_required_idempotency_key_can_be_supposed(agent: Agent) -> None:
    found = simulate("once", "--idempotency-key", "k", path="/dev/null")
    assert found["decision"] == "allow"


@pytest.mark.feature("P5")
def test_a_switch_that_is_off_denies(agent: Agent) -> None:
    catalogue.set_enabled(Tool.objects.get(name="echo"), False, by="test")
    catalogue.forget()
    assert simulate("echo")["reason"] == "the tool is switched off"
    EmergencyStop.objects.create(reason="fire", engaged_by="test")
    catalogue.forget()
    assert simulate("leave_trace")["reason"] == "all tools are stopped"


@pytest.mark.feature("P5")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("echo", {"value": 1}),
        ("echo", {"unknown": 1}),
        ("pay", {"path": "/dev/null", "amount": 100}),
        ("pay", {"path": "/dev/null", "amount": 100.01}),
        ("guarded_trace", {"path": "/dev/null"}),
        ("leave_trace", {"path": "/dev/null"}),
        ("once", {"path": "/dev/null"}),
        ("on_weekdays", {"day": "monday"}),
        ("on_weekdays", {"day": "sunday"}),
        ("never_judged", {"day": "monday"}),
        ("judged_slowly", {"amount": -1}),
        ("lookup_order", {"order_id": "A"}),
    ],
)
def test_what_it_foresees_is_what_becomes_of_the_call(
    agent: Agent, name: str, arguments: Any
) -> None:
    found = simulate(name, **arguments)
    answer = agent.invoke(name, **arguments).json()
    came_true = {"success": "allow", "pending": "allow", "requires_approval": "hold"}
    assert found["decision"] == came_true.get(answer["status"], "deny"), answer
    if found["decision"] == "deny":
        assert found["error_type"] == answer["error_type"]
    if found["decision"] == "hold":
        assert found["reason"] == answer["message"]


def test_a_reason_shows_no_secret(bench: Bench, make_agent: MakeAgent) -> None:
    def talkative(context: Any, arguments: dict[str, Any]) -> str:
        """Denies, and blabs."""
        return f"{arguments['pin']} is wrong"

    @tool
    @scope("kit.read")
    @side_effects(read_only=True)
    @redact(["pin"])
    @policy(talkative)
    def unlock(pin: str) -> None:
        """Unlock."""

    bench.registry()
    catalogue.sync(by="test")
    make_agent()
    assert registry.find("unlock")
    assert simulate("unlock", pin="hunter2")["reason"] == "[REDACTED] is wrong"


# What it does not do.


@pytest.mark.feature("P5")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("guarded_trace", {"text": "x"}),
        ("leave_trace", {"text": "x"}),
        ("once_an_hour", {}),
        ("echo", {}),
    ],
)
def test_it_writes_nothing_counts_nothing_and_runs_nothing(
    agent: Agent, trace: Path, name: str, arguments: Any
) -> None:
    before = everything()
    for _ in range(3):
        simulate(name, path=str(trace), **arguments)
    assert everything() == before
    assert effects(trace) == []


@pytest.mark.feature("P5")
def test_it_takes_no_place_under_a_limit(agent: Agent, trace: Path) -> None:
    for _ in range(3):
        assert simulate("once_an_hour", path=str(trace))["decision"] == "allow"
    assert agent.invoke("once_an_hour", path=str(trace)).status_code == 202
    assert agent.invoke("once_an_hour", path=str(trace)).status_code == 429


# Who would call.


@pytest.mark.feature("P5")
def test_the_actors_newest_usable_key_is_taken_or_the_one_named(make_agent: MakeAgent) -> None:
    old, new = make_agent("bot", ("other",)), make_agent("bot", ("kit.*",), tools=["echo"])
    assert simulate("echo", actor="bot")["decision"] == "allow"
    assert simulate("ten_an_hour", actor="bot")["rule"] == "open to the caller"
    named = simulate("echo", "--key-prefix", old.row.prefix, actor="bot")
    assert (named["rule"], named["key_prefix"]) == ("scope kit.read", old.row.prefix)
    revoke_key(new.row.prefix, by="test")
    assert simulate("echo", actor="bot")["rule"] == "scope kit.read"
    revoke_key(old.row.prefix, by="test")
    assert run("simulate", "echo", "--actor", "bot")[2] == Exit.NOT_FOUND


@pytest.mark.feature("P5")
def test_a_caller_with_scopes_and_no_key_can_be_supposed(
    tools_synced: None, reviewer: User
) -> None:
    found = simulate(
        "guarded_trace", "--scope", "a", "--scope", "kit.*", actor="new", path="/dev/null"
    )
    assert (found["decision"], found["key_prefix"]) == ("hold", None)
    assert found["eligible"] == ["reviewer"]
    assert simulate("echo", "--scope", "a", actor="new")["rule"] == "scope kit.read"
    both = run("simulate", "echo", "--actor", "new", "--scope", "a", "--key-prefix", "rmp_x")
    assert both[2] == Exit.USAGE


# Exit codes.


@pytest.mark.feature("P5", "E33")
def test_the_exit_code_is_the_decisions(agent: Agent) -> None:
    def ends(name: str, given: str) -> int:
        return run("simulate", name, "--args", given, "--actor", "agent")[2]

    assert ends("echo", "{}") == Exit.DONE
    assert ends("guarded_trace", '{"path": "/dev/null"}') == Exit.PENDING
    assert ends("on_weekdays", '{"day": "sunday"}') == Exit.DENIED
    assert ends("echo", '{"unknown": 1}') == Exit.DENIED
    assert ends("echo", "[]") == Exit.USAGE
    assert ends("no_such_tool", "{}") == Exit.NOT_FOUND


@pytest.mark.feature("P5", "E33")
def test_people_get_a_table_and_a_sentence(agent: Agent, reviewer: User) -> None:
    given = ("--actor", "agent", "--args", '{"path": "/dev/null"}')
    out, err, code = run("simulate", "guarded_trace", *given)
    lines = out.splitlines()
    assert lines[0].split() == ["rule", "answer", "reason"]
    assert lines[-3:] == [
        "hold, by approval conditions: approval is required",
        "who could decide: reviewer (1 person)",
        "to be decided within 1d",
    ]
    assert (err, code) == ("", Exit.PENDING)


@pytest.mark.feature("E33")
def test_as_a_process_it_wants_an_actor(migrated: Deployment) -> None:
    assert migrated.manage("simulate", "lookup_order").returncode == Exit.USAGE
    done = migrated.manage("simulate", "lookup_order", "--actor", "nobody")
    assert (done.returncode, done.stdout) == (Exit.NOT_FOUND, "")
