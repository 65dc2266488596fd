"""ToolRampart 0.2.0's defects: what was seen to go wrong there is tried here, clause by clause.

A row's other clauses are proven in the tests of their rooms, under the same mark.
"""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import load_command_class
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings
from rest_framework.test import APIClient

from approvals import bodies, idempotency, pipeline, transitions, upkeep
from approvals.digests import action_digest, request_digest
from approvals.models import Approval, Invocation
from audit import ledger, sealing
from audit.canonical import canonical_text, exact
from audit.models import Event
from audit.verification import verify
from tests import everything
from tests.approvals.test_deciding import decide
from tests.architecture.test_docs import COMMANDS
from tests.audit.conftest import run_sql, the_ledger_open
from tests.conftest import Agent, MakeAgent, as_person, at_once, effects, held, work
from tests.tools.conftest import Bench
from tools import catalogue, policy, rate_limit, require_approval, tool
from tools.key_cabinet import create_key
from tools.keys import new_key
from tools.models import RateWindow

pytestmark = pytest.mark.django_db

FORGED = {"actor": "ceo", "scopes": ["*"], "approved": True, "approved_by": "ceo"}
TRUSTED_HEADERS = {"X-ToolRampart-Actor": "ceo", "X-ToolRampart-Scopes": "*"}
KEYED = {"Idempotency-Key": "k"}


def on_record(bench: Bench) -> None:
    """What stands on the bench is served."""
    assert bench.registry().problems == []
    catalogue.sync(by="test")


# T3: the agent's own key approved its own request.


@pytest.mark.feature("T3")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_the_key_that_asked_does_not_decide(agent: Agent, trace: Path, verb: str) -> None:
    approval = held(agent, trace)
    url = f"/api/v1/approvals/{approval.pk}/{verb}"
    answer = agent.client.post(url, {"actor": "alice", "note": "fine"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "machine_cannot_approve")
    work()
    approval.refresh_from_db()
    assert (approval.status, effects(trace)) == ("pending", [])


# T5: an approved context was used for a second gated tool, which then ran.


@pytest.mark.feature("T5")
def test_an_approval_opens_nothing_but_its_own_call(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval)
    work()
    call = {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    assert agent.post("guarded_trace", call).json()["data"] == 1
    others = [agent.invoke(name, path=str(trace)).json() for name in ("destroy", "guarded_trace")]
    assert [other["status"] for other in others] == ["requires_approval"] * 2
    assert str(approval.pk) not in [other["approval_id"] for other in others]
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("T5")
def test_a_policy_that_would_approve_by_the_context_denies(bench: Bench, agent: Agent) -> None:
    def forger(context: Any, arguments: dict[str, Any]) -> bool:
        context.approved = True
        return True

    @tool
    @require_approval
    @policy(forger)
    def gated() -> None:
        """Gated."""

    on_record(bench)
    answer = agent.invoke("gated")
    assert (answer.status_code, answer.json()["error_type"]) == (403, "PolicyError")


# T6: without authentication `approved: true` skipped the gate. T7: a wrong key did, too.

UNKNOWN = {
    "nobody": ({}, "not_authenticated"),
    "nobody, with the headers that were trusted": (TRUSTED_HEADERS, "not_authenticated"),
    "a wrong key": ({"Authorization": f"Bearer {new_key().text}"}, "invalid_credentials"),
    "a key of theirs": ({"X-ToolRampart-Key": "dev-secret"}, "invalid_credentials"),
}


@pytest.mark.feature("T6", "T7")
@pytest.mark.parametrize("who", UNKNOWN)
@pytest.mark.parametrize("name", ["guarded_trace", "leave_trace"])
def test_an_approval_in_the_body_opens_nothing_to_whom_nobody_knows(
    who: str, name: str, tools_synced: None, trace: Path
) -> None:
    headers, code = UNKNOWN[who]
    call = {"arguments": {"path": str(trace)}, **FORGED}
    url = f"/api/v1/tools/{name}/invoke"
    answer = APIClient().post(url, call, format="json", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    work()
    assert (Invocation.objects.count(), effects(trace)) == (0, [])


# T8: the caller's metadata overwrote what was known of the caller.


@pytest.mark.feature("T8")
def test_a_policy_learns_from_the_key_alone_who_calls(bench: Bench, agent: Agent) -> None:
    told: list[Any] = []

    def listener(context: Any, arguments: dict[str, Any]) -> bool:
        told.append(context)
        return True

    @tool
    @require_approval
    @policy(listener)
    def asked() -> None:
        """Asked."""

    on_record(bench)
    metadata = {**FORGED, "source": "console", "key_id": "root"}
    call = {"arguments": {}, **FORGED, "metadata": metadata}
    assert agent.post("asked", call, headers=TRUSTED_HEADERS).status_code == 202
    (context,) = told
    assert (context.actor, context.scopes, context.source) == ("agent", ("kit.*",), "rest")
    assert (context.approved, context.approved_by) == (False, None)


# T9: what was made at the first use was made by two at once, and one of them failed.


@pytest.mark.feature("T9")
@pytest.mark.django_db(transaction=True)
def test_the_first_keys_of_an_actor_may_be_made_at_the_same_instant() -> None:
    made = at_once(8, lambda _: create_key(actor="newcomer", scopes=("a",), by="test")[0].owner_id)
    assert len(made) == 8
    assert len(set(made)) == 1


# T10: limits that counted apart what they should count together, lost members, forgot too soon.


def limited(bench: Bench, expression: str, *names: str) -> None:
    """Tools under one limit that need a person, so that they are counted and never run."""
    for name in names:

        @tool(name=name)
        @require_approval
        @rate_limit(expression)
        def guarded(number: int = 0) -> None:
            """Guarded."""

    on_record(bench)


@pytest.mark.feature("T10")
def test_a_global_limit_counts_all_tools_and_all_actors_together(
    store: str, bench: Bench, make_agent: MakeAgent
) -> None:
    limited(bench, "2/hour/global", "one", "two")
    ann, ben = make_agent("ann"), make_agent("ben")
    answers = [ann.invoke("one"), ben.invoke("two"), ben.invoke("one"), ann.invoke("two")]
    assert [answer.status_code for answer in answers] == [202, 202, 429, 429]


@pytest.mark.feature("T10")
def test_calls_of_the_same_instant_are_each_counted(
    store: str, bench: Bench, agent: Agent, monkeypatch: MonkeyPatch
) -> None:
    limited(bench, "3/minute/actor", "one")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    codes = [agent.invoke("one", number=number).status_code for number in range(5)]
    assert codes == [202, 202, 202, 429, 429]


@pytest.mark.feature("T10")
def test_a_window_of_days_is_remembered_for_all_of_them(
    store: str, bench: Bench, agent: Agent, settings: Settings
) -> None:
    limited(bench, "1/3 days/actor", "one")
    agent.invoke("one")
    if store == "redis":
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            (left,) = (client.ttl(name) for name in client.keys("rampart*"))
    else:
        left = (RateWindow.objects.get().expires_at - transitions.now()).total_seconds()
    assert left > 3 * 86400 - 60


# T11: the gate came before the limit, so that requests for approval were not limited at all.


@pytest.mark.feature("T11")
def test_calls_that_need_a_person_are_counted_under_the_tools_limit(
    bench: Bench, agent: Agent
) -> None:
    limited(bench, "2/hour/user", "asked")
    answers = [agent.invoke("asked", number=number) for number in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert Approval.objects.count() == 2


# T13: idempotency kept refusals and failures for ever.


@pytest.mark.feature("T13")
def test_a_limit_that_was_reached_is_not_kept_under_the_key(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    settings.REDIS_URL = ""
    agent.invoke("once_an_hour", path=str(trace))
    refused = agent.invoke("once_an_hour", path=str(trace), headers=KEYED)
    assert refused.status_code == 429
    RateWindow.objects.all().delete()  # The hour is over.
    assert agent.invoke("once_an_hour", path=str(trace), headers=KEYED).status_code == 202
    work()
    assert effects(trace) == ["hourly", "hourly"]


@pytest.mark.feature("T13")
@pytest.mark.parametrize("status", ["error", "timeout", "killed", "unknown"])
def test_no_failure_of_what_may_run_again_is_kept_under_the_key(
    agent: Agent, trace: Path, status: str
) -> None:
    agent.invoke("trace_read", path=str(trace), headers=KEYED)
    Invocation.objects.update(status=status)
    again = agent.invoke("trace_read", path=str(trace), headers=KEYED).json()
    assert (again["status"], again["replayed"]) == ("success", False)
    assert effects(trace) == ["read", "read"]


# T14: an unsalted digest of the arguments could be guessed by whoever saw it.


@pytest.mark.feature("T14")
def test_the_digest_that_is_shown_depends_on_a_secret_of_the_server(
    agent: Agent, trace: Path, reviewer: User, settings: Settings
) -> None:
    approval = held(agent, trace)
    row = approval.invocation
    shown = as_person(reviewer).get(f"/api/v1/approvals/{approval.pk}").json()["arguments_hash"]

    def guessed() -> set[str]:
        return {
            action_digest(
                lineage=row.lineage, tool=row.tool_name, tool_version=row.tool_version_number,
                arguments=row.arguments, policy_version=row.policy_version,
            ),
            request_digest(row.tool_name, {"path": str(trace)}),
        }  # fmt: skip

    known = guessed()
    assert shown in known
    settings.SECRET_KEY = "another server's secret"
    assert known.isdisjoint(guessed())
    plain = (row.arguments, [row.tool_name, row.arguments])
    texts = [canonical_text(exact(value)) for value in plain]
    assert shown not in [hashlib.sha256(text.encode()).hexdigest() for text in texts]


# T15: NaN was larger than no bound.


@pytest.mark.feature("T15")
@pytest.mark.parametrize(
    ("amount", "status"),
    [("NaN", 400), ("Infinity", 400), ("1e999", 400), ('"NaN"', 422), ('"inf"', 422)],
)
def test_what_is_no_number_does_not_slip_below_a_bound(
    agent: Agent, trace: Path, amount: str, status: int
) -> None:
    call = f'{{"arguments": {{"path": "{trace}", "amount": {amount}}}}}'
    url = "/api/v1/tools/pay/invoke"
    answer = agent.client.post(url, call, content_type="application/json")
    assert answer.status_code == status
    work()
    assert (Invocation.objects.count(), effects(trace)) == (0, [])


# T18: an unknown tool was a 500, and so was a policy that raised, of which nothing told.


@pytest.mark.feature("T18")
@pytest.mark.parametrize(
    ("tool", "status", "reason"),
    [("no_such_tool", 404, "unknown_tool"), ("never_judged", 403, "policy_error")],
)
def test_what_was_an_error_of_the_server_is_a_refusal_with_one_line(
    agent: Agent, tool: str, status: int, reason: str
) -> None:
    before = Event.objects.count()
    assert agent.invoke(tool, day="monday").status_code == status
    line = Event.objects.newest_first()[0]
    assert (line.event, line.reason, line.tool_name) == ("invocation:refused", reason, tool)
    assert Event.objects.count() == before + 1
    assert Invocation.objects.count() == 0


# T19: rejecting after approving was answered 200. The other way round is as bad.


@pytest.mark.feature("T19")
def test_what_was_rejected_is_not_approved_afterwards(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    assert decide(reviewer, approval, "reject").status_code == 200
    answer = decide(reviewer, approval)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
    work()
    approval.refresh_from_db()
    assert (approval.status, effects(trace)) == ("rejected", [])


# T20: any key read all approvals.


@pytest.mark.feature("T20")
@pytest.mark.parametrize("scope", ["kit.*", "*", "audit.read_all"])
def test_no_scope_shows_a_key_the_approvals_of_others(
    agent: Agent, make_agent: MakeAgent, trace: Path, scope: str
) -> None:
    approval = held(agent, trace)
    other = make_agent("other", (scope,))
    assert other.get("approvals").json()["approvals"] == []
    assert other.get(f"approvals/{approval.pk}").status_code == 404
    assert [row["id"] for row in agent.get("approvals").json()["approvals"]] == [str(approval.pk)]


# T22: tokens without an end were taken, others fell to the next authenticator or were a 500.


def part(value: dict[str, Any]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed(claims: dict[str, Any], algorithm: str = "HS256") -> str:
    """A token as their service took it."""
    text = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'sub': 'ceo', 'scope': '*'} | claims)}"
    signature = hmac.digest(b"jwt-secret", text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


TOKENS = {
    "without an end": signed({}),
    "with an end far away": signed({"exp": 9_999_999_999}),
    "that has ended": signed({"exp": 1}),
    "whose end is a word": signed({"exp": "tomorrow"}),
    "whose end is endless": signed({"exp": float("inf")}),
    "whose end is a list": signed({"exp": [1]}),
    "that nobody signed": signed({"exp": 9_999_999_999}, "none"),
    "of three empty parts": "..",
    "that is no token": "a.b.c",
}


@pytest.mark.feature("T22")
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_is_no_key_of_ours_ends_at_the_gate(
    token: str, reviewer: User, tools_synced: None, trace: Path
) -> None:
    """Not even a good session beside it is asked."""
    headers = {"Authorization": f"Bearer {TOKENS[token]}"}
    for client in (APIClient(), as_person(reviewer)):
        answers = [
            client.get("/api/v1/approvals", headers=headers),
            client.post(
                "/api/v1/tools/leave_trace/invoke", {"arguments": {"path": str(trace)}},
                format="json", headers=headers,
            ),
        ]  # fmt: skip
        assert [answer.status_code for answer in answers] == [401, 401]
        assert all(answer.json()["code"] != "not_authenticated" for answer in answers)
        assert all(answer["WWW-Authenticate"].startswith("Bearer") for answer in answers)
    assert Invocation.objects.count() == 0


# T26: after a race for a unique value, the one shared connection failed for ever.


@pytest.mark.feature("T26")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["leave_trace", "trace_read"])
def test_who_loses_a_race_for_a_key_goes_on_with_the_same_connection(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch, name: str
) -> None:
    """Both look before either writes, so that one of them breaks the constraint for certain."""
    look_up, both, looked = idempotency.look_up, threading.Barrier(2), threading.local()

    def look_up_together(visit: Any) -> Any:
        found = look_up(visit)
        if not hasattr(looked, "once"):
            looked.once = True
            both.wait(30)
        return found

    monkeypatch.setattr(idempotency, "look_up", look_up_together)

    def post(number: int) -> tuple[bool, int]:
        first = agent.invoke(name, path=str(trace), headers=KEYED).status_code
        return first in (200, 202, 409), agent.invoke("echo", value=number).status_code

    assert at_once(2, post) == [(True, 200), (True, 200)]
    assert Invocation.objects.filter(idempotency_key="k").count() == 1
    work()
    assert len(effects(trace)) == 1


# T27: secrets stood on the command line, where every user of the machine reads them.

NAMES_OF_SECRETS = {"--key", "--api-key", "--secret", "--token", "--password"}


@pytest.mark.feature("T27")
@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_takes_a_secret(name: str) -> None:
    """Such an option takes `-`, for standard input, and nothing else."""
    parser = load_command_class("rampart", name).create_parser("manage.py", name)
    for action in parser._actions:
        if NAMES_OF_SECRETS & set(action.option_strings):
            assert callable(action.type), action.option_strings
            with pytest.raises(ArgumentTypeError):
                action.type(new_key().text)


# T28: when the ledger failed after the effect, nothing told of it and the key hung for ever.


@pytest.mark.feature("T28")
def test_an_outcome_that_was_never_written_leaves_its_intent_and_ends_its_key(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    record = ledger.record

    def down(event: Any, **options: Any) -> Any:
        if event == "invocation:finished":
            raise OperationalError("the disk is full")
        return record(event, **options)

    monkeypatch.setattr(ledger, "record", down)
    monkeypatch.setattr("approvals.execution.PAUSES_BEFORE_GIVING_UP", ())
    agent.invoke("leave_trace", path=str(trace), headers=KEYED)
    with pytest.raises(OperationalError):
        work()
    monkeypatch.undo()
    assert effects(trace) == ["ran"]
    assert Event.objects.newest_first()[0].event == "invocation:started"

    Invocation.objects.update(lease_expires_at=transitions.now())
    assert upkeep.settle_lost(transitions.now()) == 1
    again = agent.invoke("leave_trace", path=str(trace), headers=KEYED).json()
    assert (again["status"], again["error_type"]) == ("unknown", "OutcomeUnknown")
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("T28")
@pytest.mark.parametrize("tool", ["leave_trace", "trace_read", "guarded_trace"])
def test_a_call_that_could_not_be_told_did_not_happen_and_leaves_its_key_free(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch, tool: str
) -> None:
    agent.invoke("echo", value=1)  # The key is known from here on.

    def down(*_: Any) -> None:
        raise OperationalError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(ledger, "_insert", down)
        refused = agent.invoke(tool, path=str(trace), headers=KEYED)
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    work()
    assert (effects(trace), Invocation.objects.filter(tool_name=tool).count()) == ([], 0)
    again = agent.invoke(tool, path=str(trace), headers=KEYED)
    assert (again.status_code, again.json()["replayed"]) in ((200, False), (202, False))
    work()
    assert len(effects(trace)) == (0 if tool == "guarded_trace" else 1)


# T30: nothing showed that a line had been changed; tests on PostgreSQL were left out unnoticed.


@pytest.mark.feature("T30", "U2")
def test_a_line_that_somebody_changed_in_the_database_is_named(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    sealing.seal()
    assert verify().finding is None
    line = Event.objects.get(event="invocation:finished")
    with the_ledger_open():
        run_sql(
            "UPDATE audit_event SET actor = 'somebody else' WHERE request_id = %s", line.request_id
        )
    finding = verify().finding
    assert finding is not None
    assert finding.event_id == str(line.pk)


@pytest.mark.feature("T30")
def test_tests_on_postgresql_take_servers_of_their_own_and_wait_for_no_variable(
    monkeypatch: MonkeyPatch,
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(everything, "_pytest", lambda _, stores, __: given.append(stores))
    everything.on_postgres([], 1)
    (stores,) = given
    assert stores["DATABASE_URL"].startswith("postgres")
    assert stores["REDIS_URL"].startswith("redis")
    assert set(stores).isdisjoint(everything.KEPT)
    assert "postgres" in everything.LANES


@pytest.mark.feature("T30")
def test_no_test_is_left_out_because_a_variable_is_not_set() -> None:
    """What is skipped is skipped for what the machine or the database is."""
    skips = re.compile(r"(?:skipif|mark\.skip|pytest\.skip)\([^\n]*")
    found = [
        (file.name, skip)
        for file in Path(everything.__file__).parent.rglob("*.py")
        for skip in skips.findall(file.read_text())
    ]
    assert len(found) > 5
    assert [skip for skip in found if re.search(r"environ|getenv|RAMPART_|_URL\b", skip[1])] == []


# Ceilings: what a caller asks for is no limit that it sets itself.

WISHES = {
    "timeout_seconds": 600, "timeout": 600, "max_retries": 99, "attempts": 99,
    "rate_limit": "9999/hour/user", "expires_at": "2099-01-01T00:00:00Z", "ttl": "9999d",
    "approval_ttl": 10**9, "limit": 10**9, "budget": 10**9, "execution_mode": "thread",
}  # fmt: skip


def wishing(path: Path, **arguments: Any) -> dict[str, Any]:
    """A call that asks for more in every place where something may be said."""
    return {"arguments": {"path": str(path), **arguments}, **WISHES, "metadata": dict(WISHES)}


def test_a_deadline_is_the_tools_whatever_the_caller_wishes(agent: Agent, trace: Path) -> None:
    agent.post("hangs_with_children", wishing(trace))
    work()
    row = Invocation.objects.get()
    assert (row.status, row.error) == ("timeout", "tool timed out after 1 seconds")
    assert row.attempts == 1


def test_a_limit_is_the_tools_whatever_the_caller_wishes(agent: Agent, trace: Path) -> None:
    codes = [agent.post("once_an_hour", wishing(trace)).status_code for _ in range(2)]
    assert codes == [202, 429]


def test_the_time_to_decide_is_the_operators_whatever_the_caller_wishes(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    approval_id = agent.post("guarded_trace", wishing(trace)).json()["approval_id"]
    approval = Approval.objects.get(pk=approval_id)
    assert approval.expires_at - approval.requested_at == settings.RAMPART_APPROVAL_TTL


@pytest.mark.parametrize("asked", ["wait=86400", 'wait="999999"', "WAIT = 61"])
def test_nobody_waits_longer_than_a_minute_however_it_is_asked(
    agent: Agent, monkeypatch: MonkeyPatch, asked: str
) -> None:
    patience: list[float] = []
    submit: Callable[..., Any] = pipeline.submit

    def note(call: Any, caller: Any, patient: Any) -> Any:
        patience.append(patient.seconds)
        return submit(call, caller, patient)

    monkeypatch.setattr(pipeline, "submit", note)
    answer = agent.invoke("echo", value=1, headers={"Prefer": asked})
    assert answer["Preference-Applied"] == "wait=60"
    assert patience == [60]


@pytest.mark.parametrize(("asked", "granted"), [("61", 60), ("9" * 5000, 60), ("60", 60)])
def test_nobody_waits_longer_than_a_minute_for_an_invocation(
    agent: Agent, monkeypatch: MonkeyPatch, asked: str, granted: int
) -> None:
    row = agent.invoke("echo", value=1).json()["invocation_id"]
    waited: list[float] = []
    when_moved: Callable[..., Any] = pipeline.when_moved

    def note(row: Any, seconds: float) -> Any:
        waited.append(seconds)
        return when_moved(row, 0)

    monkeypatch.setattr(pipeline, "when_moved", note)
    assert agent.get(f"invocations/{row}?wait={asked}").status_code == 200
    assert waited == [granted] == [bodies.LONGEST_WAIT]


def test_a_page_has_at_most_two_hundred_rows_however_many_are_asked_for(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    settings.RAMPART_MAX_PENDING_PER_KEY = 300
    for number in range(201):
        held(agent, trace, text=str(number))
    for rows in ("invocations", "approvals"):
        page = agent.get(f"{rows}?limit=1000000000").json()
        assert len(page[rows]) == 200
        assert page["next"]
