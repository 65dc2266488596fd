"""The same call again: replayed, refused, or run anew, and never run twice."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from approvals import transitions, upkeep
from approvals.models import Approval, Invocation
from audit.models import Event
from tests.approvals.test_deciding import decide
from tests.conftest import Agent, MakeAgent, effects, work

pytestmark = pytest.mark.django_db


def keyed(key: str) -> dict[str, str]:
    """The header."""
    return {"Idempotency-Key": key}


@pytest.mark.feature("X6", "E28")
def test_the_same_key_and_arguments_replay_the_outcome(agent: Agent, trace: Path) -> None:
    first = agent.invoke("leave_trace", path=str(trace), headers=keyed("k"))
    running = agent.invoke("leave_trace", path=str(trace), headers=keyed("k"))
    assert (running.status_code, running.json()["error_type"]) == (409, "IdempotencyInProgress")
    work()
    for key in ("k", '"k"'):
        again = agent.invoke("leave_trace", path=str(trace), headers=keyed(key))
        assert (again.status_code, again.json()["data"]) == (200, 1)
        assert again["Idempotency-Replayed"] == "true"
        assert again.json()["invocation_id"] == first.json()["invocation_id"]
    work()
    assert effects(trace) == ["ran"]
    assert Event.objects.filter(event="invocation:replayed").count() == 2


@pytest.mark.feature("X6", "E28")
def test_the_same_key_with_another_payload_is_a_conflict(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace), headers=keyed("k"))
    for tool, text in (("leave_trace", "other"), ("guarded_trace", "ran")):
        answer = agent.invoke(tool, path=str(trace), text=text, headers=keyed("k"))
        assert (answer.status_code, answer.json()["error_type"]) == (409, "IdempotencyConflict")


@pytest.mark.feature("X6", "E28")
def test_a_missing_key_is_400_where_the_tool_requires_one(agent: Agent, trace: Path) -> None:
    answer = agent.invoke("once", path=str(trace))
    assert (answer.status_code, answer.json()["error_type"]) == (400, "IdempotencyKeyRequired")
    assert agent.invoke("once", path=str(trace), headers=keyed("k")).status_code == 202


def test_keys_belong_to_their_caller(agent: Agent, make_agent: MakeAgent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace), headers=keyed("k"))
    make_agent("other").invoke("leave_trace", path=str(trace), headers=keyed("k"))
    work()
    assert effects(trace) == ["ran", "ran"]


@pytest.mark.feature("H7")
def test_the_header_beats_the_body_and_two_headers_must_agree(agent: Agent, trace: Path) -> None:
    body = {"arguments": {"path": str(trace)}, "idempotency_key": "body"}
    agent.post("leave_trace", body, headers={"X-Idempotency-Key": "header"})
    assert Invocation.objects.get().idempotency_key == "header"
    both = {"Idempotency-Key": "a", "X-Idempotency-Key": "b"}
    answer = agent.post("leave_trace", body, headers=both)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_mismatch")
    agent.post("leave_trace", body)
    assert {row.idempotency_key for row in Invocation.objects.all()} == {"header", "body"}


@pytest.mark.parametrize("key", ['""', "x" * 256])
def test_a_key_that_cannot_be_one_is_refused(agent: Agent, trace: Path, key: str) -> None:
    answer = agent.invoke("leave_trace", path=str(trace), headers=keyed(key))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


@pytest.mark.feature("X6", "T13")
def test_a_retry_while_held_gets_the_same_202_and_the_replay_precedes_the_gate(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    first = agent.invoke("guarded_trace", path=str(trace), headers=keyed("k"))
    again = agent.invoke("guarded_trace", path=str(trace), headers=keyed("k"))
    assert (again.status_code, again.json()["replayed"]) == (202, False)
    assert again.json()["approval_id"] == first.json()["approval_id"]
    decide(reviewer, Approval.objects.get())
    work()
    replay = agent.invoke("guarded_trace", path=str(trace), headers=keyed("k"))
    assert (replay.status_code, replay.json()["data"]) == (200, 1)
    assert (Approval.objects.count(), effects(trace)) == (1, ["ran"])


@pytest.mark.feature("X6")
def test_the_result_can_be_asked_for_with_key_and_approval_together(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    first = agent.invoke("guarded_trace", path=str(trace), headers=keyed("k"))
    decide(reviewer, Approval.objects.get())
    body = {"arguments": {"path": str(trace)}, "approval_id": first.json()["approval_id"]}
    waiting = agent.post("guarded_trace", body, headers=keyed("k"))
    assert (waiting.status_code, waiting.json()["status"]) == (202, "pending")
    work()
    assert agent.post("guarded_trace", body, headers=keyed("k")).json()["data"] == 1


@pytest.mark.feature("X6", "T13")
def test_a_refusal_at_the_door_frees_the_key(agent: Agent) -> None:
    refused = agent.invoke("on_weekdays", day="sunday", headers=keyed("k"))
    assert refused.status_code == 403
    assert agent.invoke("on_weekdays", day="monday", headers=keyed("k")).status_code == 200


@pytest.mark.feature("X6")
def test_a_started_tools_failure_is_final_for_its_key(agent: Agent, trace: Path) -> None:
    agent.invoke("writes_and_fails", path=str(trace), headers=keyed("k"))
    work()
    again = agent.invoke("writes_and_fails", path=str(trace), headers=keyed("k"))
    assert (again.status_code, again.json()["error_type"]) == (500, "ConnectionError")
    work()
    assert effects(trace) == ["effect"]


@pytest.mark.feature("X6", "T13")
def test_a_failed_call_that_may_run_again_frees_its_key(agent: Agent) -> None:
    first = agent.invoke("fails", pin="1234", headers=keyed("k"))
    assert (first.status_code, first.json()["replayed"]) == (500, False)
    # `fails` is read only, so that a second try does no harm and is made.
    second = agent.invoke("fails", pin="1234", headers=keyed("k"))
    assert second.json()["replayed"] is False
    assert second.json()["invocation_id"] != first.json()["invocation_id"]


@pytest.mark.feature("X6", "T13")
def test_a_crash_releases_the_key_by_the_lease(agent: Agent) -> None:
    agent.invoke("echo", value=1, headers=keyed("k"))
    Invocation.objects.update(
        status="running", finished_at=None, lease_expires_at=transitions.now()
    )
    stuck = agent.invoke("echo", value=1, headers=keyed("k"))
    assert stuck.json()["error_type"] == "IdempotencyInProgress"
    assert upkeep.settle_lost(transitions.now()) == 1
    assert agent.invoke("echo", value=1, headers=keyed("k")).json()["status"] == "success"


@pytest.mark.feature("X6", "T13")
def test_what_is_stored_for_a_replay_is_encrypted(agent: Agent, trace: Path) -> None:
    card = "4111222233334444"
    agent.invoke("pay", path=str(trace), amount=1, card_number=card, headers=keyed("k"))
    work()
    replay = agent.invoke("pay", path=str(trace), amount=1, card_number=card, headers=keyed("k"))
    assert replay.json()["data"]["card"] == card
    row = Invocation.objects.get()
    assert card not in str(row.__dict__)
    assert card.encode() not in bytes(row.result_sealed or b"")
    assert row.arguments_sealed is None
