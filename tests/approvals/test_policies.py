"""Policies that people have written, met by calls: they tighten, never lift, and are held to."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import ProtectedError
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals import deciding, rulebook, upkeep
from approvals.models import Approval, Invocation, Policy
from approvals.policy import Allow, Deny, NeedsApproval, Question, Rulebook, WrittenRule, judge
from approvals.stages import PLAIN_TERMS
from approvals.states import Effect
from audit.models import Event
from tests.conftest import Agent, MakeAgent, effects, held, work
from tests.desk_cast import Rule
from tools import ToolContext, catalogue, registry
from tools.conditions import Condition, Operator
from tools.models import Tool, ToolVersion

pytestmark = pytest.mark.django_db
FATES = {"success": "allow", "pending": "allow", "requires_approval": "hold", "denied": "deny"}


def fate(agent: Agent, name: str = "leave_trace", **arguments: Any) -> str:
    """What becomes of a call: allow, hold or deny."""
    return FATES[agent.invoke(name, path="/dev/null", **arguments).json()["status"]]


def condition(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def edit(policy: Policy, **columns: Any) -> None:
    """What a save in the admin does to the row, and that it is felt."""
    Policy.objects.filter(pk=policy.pk).update(**columns)
    rulebook.forget()


# Which calls it is about.


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"tool": "leave_trace"}, "deny"),
        ({"tool": "leave_*"}, "deny"),
        ({"tool": "*"}, "deny"),
        ({"tool": "Leave_trace"}, "allow"),
        ({"tool": "leave"}, "allow"),
        ({"actor": "ag*"}, "deny"),
        ({"actor": "shop-*"}, "allow"),
        ({"scope": "kit.write"}, "deny"),
        ({"scope": "kit.*"}, "deny"),
        ({"scope": "*"}, "deny"),
        ({"scope": "kit.read"}, "allow"),
        ({"side_effect": "writes"}, "deny"),
        ({"side_effect": "destructive"}, "allow"),
        ({"side_effect": "read_only"}, "allow"),
        ({"is_enabled": False}, "allow"),
        ({"conditions": [condition("text", "=", "ran")]}, "deny"),
        ({"conditions": [condition("text", "=", "walked")]}, "allow"),
        ({"conditions": [condition("text", "=", "ran"), condition("text", "in", ["x"])]}, "allow"),
        ({"tool": "leave_*", "actor": "shop-*"}, "allow"),
    ],
)
def test_a_policy_is_about_the_calls_that_it_names(
    agent: Agent, write_rule: Rule, columns: dict[str, Any], found: str
) -> None:
    write_rule("no", effect="deny", **columns)
    assert fate(agent) == found


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    ("effect", "side_effect", "name"),
    [
        ("deny", "destructive", "destroy"),
        ("deny", "money_movement", "refund_payment"),
        ("deny", "external_network", "refund_payment"),
        ("deny", "writes_data", "delete_account"),
        ("deny", "read_only", "trace_read"),
        ("deny", "writes", "leave_trace"),
    ],
)
def test_side_effects_are_those_that_the_code_declares(
    effect: str, side_effect: str, name: str, write_rule: Rule
) -> None:
    rule = rulebook.rule_of(write_rule("no", effect=effect, side_effect=side_effect))
    assert rule.is_about(registry.find(name))
    assert rule.is_about(registry.find("echo")) == (side_effect == "read_only")


# Which one wins.


@pytest.mark.feature("P1", "AP9")
def test_deny_beats_require_beats_allow_and_the_trace_has_them_all(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    write_rule("fine", effect="allow", priority=3)
    write_rule("look", [(1, "ops")], effect="require", priority=2)
    approval = held(agent, trace)
    assert [(line["rule"], line["answer"]) for line in approval.trace] == [
        ("approval conditions", "hold"),
        ("rule fine", "allow"),
        ("rule look", "hold"),
    ]
    assert approval.reason == "approval is required; rule look"
    assert [stage.group for stage in approval.agreed.stages] == ["ops"]
    write_rule("never", effect="deny", priority=-5)
    answer = agent.invoke("guarded_trace", path=str(trace), text="other").json()
    assert (answer["status"], answer["error"]) == ("denied", "policy denied: rule never")


@pytest.mark.feature("P1", "AP9")
def test_all_policies_that_hold_are_united(agent: Agent, trace: Path, write_rule: Rule) -> None:
    write_rule("money", [(2, "ops")], no_bulk=True)
    write_rule("care", [(1, "finance")], reason_required=True, priority=1)
    write_rule("not this", [(9, "legal")], actor="somebody-else")
    terms = held(agent, trace).agreed
    assert [(stage.needs, stage.group) for stage in terms.stages] == [(1, "finance"), (2, "ops")]
    assert (terms.no_bulk, terms.reason_required, terms.step_up) == (True, True, False)


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    ("name", "arguments"), [("guarded_trace", {}), ("pay", {"amount": 900}), ("destroy", {})]
)
def test_a_policy_that_allows_never_lifts_what_the_code_demands(
    make_agent: MakeAgent, write_rule: Rule, name: str, arguments: dict[str, Any]
) -> None:
    write_rule("all is fine", effect="allow", priority=1000)
    agent = make_agent("trusted", ("*",))
    assert fate(agent, name, **arguments) == "hold"


@pytest.mark.feature("P1")
def test_a_policy_that_allows_does_not_lift_a_policy_of_the_code(
    agent: Agent, write_rule: Rule
) -> None:
    write_rule("all is fine", effect="allow")
    assert agent.invoke("on_weekdays", day="sunday").status_code == 403


@pytest.mark.feature("P1")
@pytest.mark.parametrize("setting", ["hold", "deny"])
def test_a_writing_tool_is_ruled_as_soon_as_a_policy_allows_it(
    agent: Agent, write_rule: Rule, settings: Settings, setting: str
) -> None:
    settings.RAMPART_UNRULED_WRITES = setting
    assert fate(agent) == setting
    write_rule("fine", effect="allow", conditions=[condition("text", "=", "ran")])
    assert fate(agent) == "allow"
    assert fate(agent, text="another text") == setting


# What nobody can tell.

VALUES: dict[Operator, Any] = {
    Operator.EQUAL: 5, Operator.NOT_EQUAL: 5, Operator.OVER: 5, Operator.AT_LEAST: 5,
    Operator.UNDER: 5, Operator.AT_MOST: 5, Operator.CONTAINS: "a", Operator.MATCHES: "^a",
    Operator.IN: [5, 6],
}  # fmt: skip
UNCLEAR: dict[str, dict[str, Any]] = {
    "missing": {},
    "None": {"x": None},
    "NaN": {"x": float("nan")},
    "Decimal NaN": {"x": Decimal("NaN")},
    "nested, and missing": {"x": {"other": 5}},
    "nested in nothing": {"x": None},
    "nested in a number": {"x": 5},
    "nested None": {"x": {"amount": None}},
    "nested NaN": {"x": {"amount": float("nan")}},
}


def said(effect: Effect, condition: Condition, values: dict[str, Any]) -> Any:
    """What one rule says of a call of `echo` with these values."""
    rule = WrittenRule("it", effect, "*", "", "", "", (condition,), PLAIN_TERMS)
    return rule.verify(Question(registry.find("echo"), ToolContext(actor="a"), values))


@pytest.mark.feature("P2", "T15")
@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("operator", Operator)
@pytest.mark.parametrize("case", UNCLEAR)
def test_a_value_that_is_missing_or_incomparable_needs_a_person(
    case: str, operator: Operator, effect: Effect
) -> None:
    field = "x.amount" if case.startswith("nested") else "x"
    found = said(effect, Condition(field, operator, VALUES[operator]), UNCLEAR[case])
    assert isinstance(found, NeedsApproval)
    assert found.reason == f"{field} cannot be compared (rule it)"


@pytest.mark.feature("P2")
@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("operator", [Operator.EQUAL, Operator.NOT_EQUAL])
def test_nothing_at_all_is_not_the_same_as_null(operator: Operator, effect: Effect) -> None:
    assert isinstance(said(effect, Condition("x", operator, None), {}), NeedsApproval)


@pytest.mark.feature("P2")
@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("actual", [6, 6.0, Decimal("5.01")])
def test_a_nested_amount_is_compared_by_its_value(effect: Effect, actual: Any) -> None:
    means = {Effect.ALLOW: Allow, Effect.REQUIRE: NeedsApproval, Effect.DENY: Deny}
    over = Condition("money.amount", Operator.OVER, 5)
    assert isinstance(said(effect, over, {"money": {"amount": actual}}), means[effect])
    assert said(effect, over, {"money": {"amount": 5}}) is None
    assert isinstance(said(effect, over, {"money": {"amount": "6"}}), NeedsApproval)


@pytest.mark.feature("P2")
def test_one_condition_that_is_not_met_settles_it_whatever_the_others_say() -> None:
    both = (Condition("x", Operator.OVER, 5), Condition("y", Operator.OVER, 5))
    rule = WrittenRule("it", Effect.DENY, "*", "", "", "", both, PLAIN_TERMS)
    question = Question(registry.find("echo"), ToolContext(actor="a"), {"x": None, "y": 1})
    assert rule.verify(question) is None
    assert isinstance(judge(question, Rulebook((rule,), "allow")).decision, Allow)


@pytest.mark.feature("P2")
def test_a_call_whose_nested_amount_is_over_is_held(agent: Agent, write_rule: Rule) -> None:
    write_rule("spending", tool="spend", conditions=[condition("money.amount", ">", 5)])
    for amount, expected in ((5, "allow"), (5.5, "hold")):
        answer = agent.invoke("spend", money={"amount": amount, "currency": "EUR"}).json()
        assert FATES[answer["status"]] == expected, answer


# Changed while a call is on its way.


@pytest.fixture
def approved(agent: Agent, trace: Path, reviewer: User, write_rule: Rule) -> Approval:
    """A call under a policy, approved and not begun."""
    write_rule("look", tool="guarded_trace")
    approval = held(agent, trace)
    deciding.approve(approval, reviewer)
    assert Approval.objects.get(pk=approval.pk).status == "approved"
    return approval


@pytest.mark.feature("P8")
@pytest.mark.parametrize(
    "columns", [{"effect": "deny"}, {"effect": "allow"}, {"is_enabled": False}]
)
def test_changed_after_the_yes_it_refuses_the_run_and_voids_the_approval(
    agent: Agent, trace: Path, approved: Approval, columns: dict[str, Any]
) -> None:
    edit(Policy.objects.get(), **columns)
    work()
    assert effects(trace) == []
    after = Approval.objects.select_related("invocation").get(pk=approved.pk)
    assert (after.status, after.invocation.status) == ("void", "void")
    assert after.invocation.reason == "policy_changed"
    told = agent.get(f"invocations/{after.invocation_id}").json()
    assert told["status"] == "void"
    line = Event.objects.get(event="invocation:voided")
    assert (line.reason, line.invocation_id) == ("policy_changed", after.invocation_id)


@pytest.mark.feature("P8")
def test_changed_in_nothing_of_substance_it_lets_an_approved_call_run(
    trace: Path, approved: Approval
) -> None:
    edit(Policy.objects.get(), name="look twice", description="why not", priority=7)
    work()
    assert len(effects(trace)) == 1


@pytest.mark.feature("P8")
def test_held_calls_that_the_rules_now_see_otherwise_are_void_and_no_others(
    agent: Agent, make_agent: MakeAgent, trace: Path, write_rule: Rule
) -> None:
    policy = write_rule("look", actor="agent")
    mine, others = held(agent, trace), held(make_agent("other"), trace)
    assert upkeep.void_ruled_otherwise() == 0
    edit(policy, name="watch")
    assert upkeep.void_ruled_otherwise() == 0
    edit(policy, reason_required=True)
    assert upkeep.void_ruled_otherwise() == 1
    found = {row.actor: (row.status, row.reason) for row in Invocation.objects.all()}
    assert found == {"agent": ("void", "policy_changed"), "other": ("held", "")}
    assert Approval.objects.get(pk=mine.pk).status == "void"
    assert Approval.objects.get(pk=others.pk).status == "pending"


@pytest.mark.feature("P8")
def test_upkeep_voids_them_a_batch_in_each_round(
    agent: Agent, trace: Path, write_rule: Rule, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    policy = write_rule("look")
    for number in range(3):
        held(agent, trace, text=str(number))
    edit(policy, effect="deny")
    left = []
    for _ in range(3):
        upkeep.upkeep()
        left.append(Invocation.objects.held().count())
    assert left == [1, 0, 0]


@pytest.mark.feature("P8")
def test_a_process_with_another_definition_of_the_tool_judges_no_held_call_of_it(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    """As while a new release starts: the definition on record is not the one loaded here."""
    policy = write_rule("look")
    held(agent, trace)
    edit(policy, effect="deny")
    current = Tool.objects.get(name="guarded_trace").current
    ToolVersion.objects.filter(pk=current.pk).update(schema_hash="of another release")  # type: ignore[union-attr]
    catalogue.forget()
    assert upkeep.void_ruled_otherwise() == 0


def test_a_group_that_a_policy_names_is_not_deleted_and_may_be_renamed(
    agent: Agent, trace: Path, write_rule: Rule, member: Callable[..., User]
) -> None:
    write_rule("look", [(1, "ops")])
    approval, ops = held(agent, trace), Group.objects.get(name="ops")
    with pytest.raises(ProtectedError):
        ops.delete()
    Group.objects.filter(pk=ops.pk).update(name="operations")
    rulebook.forget()
    assert upkeep.void_ruled_otherwise() == 0
    assert isinstance(deciding.approve(approval, member("ana", "operations")), deciding.Decided)
