"""What an attack on the hall once found, and must not find again."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest import MonkeyPatch

from approvals import deciding, execution, transitions, upkeep
from approvals.door import Refusal
from approvals.errors import StaleTransition
from approvals.models import Approval, Invocation
from approvals.records import Ending
from audit.models import Event
from audit.redaction import MOST_SECRETS, REDACTED, Redactor
from sandbox.errors import SandboxUnavailable
from tests.approvals.test_deciding import decide, run_out
from tests.conftest import Agent, MakeAgent, as_person, effects, held, work
from tools.key_cabinet import create_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("body", ["[]", "0", "false", '""', "null", '"x"'])
def test_a_body_that_is_no_object_runs_nothing(agent: Agent, body: str) -> None:
    url = "/api/v1/tools/echo/invoke"
    answer = agent.client.generic("POST", url, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert Invocation.objects.count() == 0


@pytest.mark.feature("U4")
def test_more_secrets_than_can_be_looked_for_hide_all_text() -> None:
    many = {"password": [f"secret-{n}" for n in range(MOST_SECRETS + 1)], "x": ["b", 5], "n": None}
    hidden = Redactor.over(many)(many)
    assert hidden == {"password": REDACTED, "x": [REDACTED, REDACTED], "n": None}


@pytest.mark.feature("U4")
@pytest.mark.parametrize("tool", ["once", "pay", "leave_trace"])
def test_a_secret_under_a_misspelt_name_is_recorded_nowhere(
    make_agent: MakeAgent, trace: Path, tool: str
) -> None:
    reader = make_agent("reader", ("kit.read",))
    reader.invoke(tool, path=str(trace), passwrd="HUNTER2-SECRET")
    assert "HUNTER2" not in json.dumps(list(Event.objects.values()), default=str)


@pytest.mark.feature("U4")
def test_a_nul_in_an_error_message_loses_no_outcome(agent: Agent) -> None:
    answer = agent.invoke("fails", pin="a\x00b\ud7ff-long-enough")
    assert (answer.status_code, answer.json()["status"]) == (500, "error")
    assert Event.objects.newest_first()[0].status == "error"


@pytest.mark.feature("AP6")
def test_who_made_a_key_does_not_decide_its_calls(
    make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    row, key = create_key(actor="own-agent", scopes=["kit.*"], by=reviewer)
    approval = held(Agent(row, key), trace)
    assert row.owner != reviewer
    assert decide(reviewer, approval).json()["code"] == "self_approval"
    shown = as_person(reviewer).get(f"/api/v1/approvals/{approval.pk}").json()
    assert (shown["eligible"], shown["may_decide"]) == ([], False)


@pytest.mark.feature("X5")
@pytest.mark.parametrize(
    ("tool", "settle"), [("waits_for", transitions.lose), ("may_repeat", transitions.requeue)]
)
def test_a_worker_that_comes_back_in_time_keeps_its_call(
    agent: Agent, trace: Path, tool: str, settle: Any
) -> None:
    agent.invoke(tool, path=str(trace), go=str(trace))
    row = transitions.claim(Invocation.objects.get(), transitions.now())
    Invocation.objects.update(lease_expires_at=transitions.now())
    (lost,) = Invocation.objects.lost(transitions.now())
    assert transitions.renew_lease(row)
    with pytest.raises(StaleTransition):
        settle(lost)
    assert Invocation.objects.get().status == "running"


@pytest.mark.feature("X5")
def test_a_call_ended_by_somebody_else_while_it_ran_here_is_answered_as_it_stands(
    agent: Agent, monkeypatch: MonkeyPatch
) -> None:
    inline = execution.run_inline

    def stalled(*arguments: Any) -> Any:
        Invocation.objects.update(lease_expires_at=transitions.now())
        upkeep.settle_lost(transitions.now())
        return inline(*arguments)

    monkeypatch.setattr(execution, "run_inline", stalled)
    answer = agent.invoke("echo", value=1, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error_type"]) == (500, "OutcomeUnknown")


def no_sandbox(*_: Any, **__: Any) -> None:
    """A workshop that can't be started."""
    raise SandboxUnavailable("no zygote")


@pytest.mark.feature("X5")
def test_what_could_not_be_started_says_that_nothing_ran(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    monkeypatch.setattr(execution, "run_tool", no_sandbox)
    work()
    row = Invocation.objects.get()
    assert (row.status, row.error_type, row.attempts) == ("killed", "SandboxUnavailable", 0)
    assert (row.error or "").startswith("nothing was run")
    assert effects(trace) == []


def test_a_missing_sandbox_refuses_reads_and_leaves_their_key_free(
    agent: Agent, monkeypatch: MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(execution, "run_tool", no_sandbox)
        plain = agent.invoke("echo", value=1)
        assert (plain.status_code, plain.json()["error_type"]) == (503, "SandboxUnavailable")
        keyed = agent.invoke("echo", value=1, headers={"Idempotency-Key": "k"})
        assert keyed.json()["error_type"] == "SandboxUnavailable"
    again = agent.invoke("echo", value=1, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["data"]) == (200, 1)


@pytest.mark.feature("U1", "I8", "T18")
def test_refused_deciders_and_unknown_tools_are_told_in_the_ledger(
    agent: Agent, trace: Path, stranger: User
) -> None:
    approval = held(agent, trace)
    agent.client.post(f"/api/v1/approvals/{approval.pk}/approve", {}, format="json")
    event = Event.objects.newest_first()[0]
    assert (event.event, event.reason, event.actor) == (
        "approval:refused", "machine_cannot_approve", "agent",
    )  # fmt: skip
    decide(stranger, approval)
    event = Event.objects.newest_first()[0]
    assert (event.reason, event.actor) == ("permission_denied", "stranger")
    agent.invoke("nothing", secret="x")
    event = Event.objects.newest_first()[0]
    assert (event.reason, event.tool_name, event.arguments) == ("unknown_tool", "nothing", None)


@pytest.mark.feature("I7")
def test_a_keys_tier_and_a_tools_limit_are_counted_apart(make_agent: MakeAgent) -> None:
    slow = make_agent("slow", rate_tier="12/hour")
    codes = [slow.invoke("ten_an_hour").status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    assert [slow.invoke("echo", value=n).status_code for n in range(3)] == [200, 200, 429]


@pytest.mark.feature("AP5", "AP8")
def test_a_held_call_that_ran_out_is_not_handed_out_again(agent: Agent, trace: Path) -> None:
    first = held(agent, trace)
    run_out(first)
    second = held(agent, trace)
    assert second.pk != first.pk
    first.refresh_from_db()
    assert (first.status, second.status) == ("expired", "pending")


@pytest.mark.feature("X6")
def test_a_failed_calls_key_is_free_only_once_the_next_call_is_written(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "k"}
    agent.invoke("fails", pin="1234", headers=key)
    with monkeypatch.context() as refusing:
        refusing.setattr(
            "approvals.door.too_many",
            lambda visit: Refusal("rate_limited", "RateLimited", "no"),
        )
        assert agent.invoke("fails", pin="1234", headers=key).status_code == 429
    other = agent.invoke("leave_trace", path=str(trace), headers=key)
    assert other.json()["error_type"] == "IdempotencyConflict"


def test_large_results_end_a_page_early(agent: Agent) -> None:
    for _ in range(7):
        agent.invoke("echo", value="x" * 1_000_000)
    seen, cursor = [], ""
    while cursor is not None:
        page = agent.get(f"invocations?limit=200{cursor and f'&cursor={cursor}'}").json()
        assert len(page["invocations"]) < 7
        seen += [row["invocation_id"] for row in page["invocations"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 7


def test_arguments_that_grow_beyond_measure_with_their_defaults_are_refused(
    agent: Agent, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.door.LARGEST_ACTION", 100)
    answer = agent.invoke("echo", value="x" * 200)
    assert (answer.status_code, answer.json()["fields"][0]["type"]) == (422, "too_large")


def test_an_ending_is_not_written_over_another(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    outcome = deciding.approve(approval, reviewer)
    assert isinstance(outcome, deciding.Decided)
    row = transitions.claim(Invocation.objects.select_related("approval").get(), transitions.now())
    transitions.finish(row, Ending("success", 1), Redactor.over({}), 1)
    with pytest.raises(StaleTransition):
        transitions.finish(row, Ending("error"), Redactor.over({}), 1)
    assert Approval.objects.get().status == "consumed"


@pytest.mark.feature("U1")
def test_the_same_held_call_again_is_told_in_the_ledger(agent: Agent, trace: Path) -> None:
    first = held(agent, trace)
    held(agent, trace)
    event = Event.objects.newest_first()[0]
    assert (event.event, event.reason) == ("invocation:replayed", "not_ended_yet")
    assert event.invocation_id == first.invocation_id


@pytest.mark.feature("H7")
def test_a_header_that_was_given_twice_is_no_key(agent: Agent, trace: Path) -> None:
    twice = agent.invoke("leave_trace", path=str(trace), headers={"Idempotency-Key": "a1,b1"})
    assert (twice.status_code, twice.json()["code"]) == (400, "idempotency_key_mismatch")
    quoted = agent.invoke("leave_trace", path=str(trace), headers={"Idempotency-Key": '"a1,b1"'})
    assert quoted.status_code == 202


@pytest.mark.feature("AP7", "AP18")
def test_a_call_cancelled_while_its_approval_is_judged_is_a_conflict_and_no_failure(
    agent: Agent, trace: Path, reviewer: User, monkeypatch: MonkeyPatch
) -> None:
    approval = held(agent, trace)

    def meanwhile(row: Invocation) -> str:
        transitions.cancel(row, by="agent")
        return "tool_changed"

    monkeypatch.setattr(execution, "authority_lost", meanwhile)
    assert decide(reviewer, approval).status_code == 409
    assert Invocation.objects.get().status == "cancelled"
