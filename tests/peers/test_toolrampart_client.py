"""A stranger's client works: ToolRampart 0.2.0's own, as published, against our API.

A user of theirs changes `base_url` and the key. What their client makes of each answer is said
here in their words: a result with a status, or the error that it raises.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.peers.conftest import MakeUser, TheirClient, User, decide, reviewer_of, users_of
from tests.stack import Stack, until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def make_user(their_client: TheirClient, stack: Stack) -> MakeUser:
    """Makes users of their client."""
    return users_of(their_client, stack)


@pytest.fixture(scope="module")
def user(make_user: MakeUser) -> User:
    """A user whose key may do everything."""
    return make_user()


@pytest.fixture(scope="module")
def person(stack: Stack) -> requests.Session:
    """A person who may decide."""
    return reviewer_of(stack)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file in which tools leave a line for each effect."""
    path = tmp_path / "trace"
    path.touch()
    return path


# Reading.


def test_health_is_read_without_a_key(user: User) -> None:
    assert user.ask_as({}, "health") == {"returned": {"status": "ok"}}


@pytest.mark.feature("TD2", "TD5")
def test_tools_are_listed_both_ways_and_only_those_that_the_key_may_call(
    user: User, make_user: MakeUser
) -> None:
    tools = {tool["name"]: tool for tool in user.get("tools")}
    assert tools["guarded_trace"]["policies"]["approval"] == {"conditions": [], "always": True}
    exported = {tool["name"]: tool for tool in user.get("mcp_tools")}
    assert exported["guarded_trace"]["x-toolrampart"]["approval_required"] is True
    assert set(exported) == set(tools)
    reader = {tool["name"] for tool in make_user("kit.read").get("tools")}
    assert "echo" in reader
    assert "guarded_trace" not in reader


def test_a_key_may_stand_in_any_place_where_they_put_one(user: User) -> None:
    ways = (
        {"api_key": user.key},
        {"bearer_token": user.key},
        {"headers": {"X-ToolRampart-Key": user.key}},
    )
    for way in ways:
        assert user.ask_as(way, "invoke", "echo", {"value": 1})["returned"]["ok"] is True


# Results.


def test_success_is_a_result_with_every_field_of_theirs(user: User) -> None:
    result = user.invoke("echo", {"value": {"deep": [1, None]}})
    assert result.pop("audit_id")
    assert result == {
        "status": "success", "tool_name": "echo", "data": {"deep": [1, None]}, "error": None,
        "error_type": None, "approval_required": False, "approval_id": None, "message": None,
        "attempts": 1, "replayed": False, "ok": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "error_type", "error"),
    [
        ("echo", {"x": 1}, "validation_error", "InputValidationError",
         "tool arguments failed validation"),
        ("on_weekdays", {"day": "sunday"}, "denied", "PolicyDenied",
         "policy denied: weekdays_only"),
        ("fails", {"pin": "9876-5432"}, "error", "ValueError", "the pin [REDACTED] was refused"),
        ("wrong_result", {"secret": "s"}, "error", "OutputValidationError",
         "the result does not match its type at the top"),
    ],
)  # fmt: skip
def test_a_failure_is_a_result_with_their_words(
    user: User, tool: str, arguments: dict[str, Any], status: str, error_type: str, error: str
) -> None:
    result = user.invoke(tool, arguments)
    assert (result["status"], result["error_type"], result["error"]) == (status, error_type, error)
    assert result["ok"] is False
    assert result["audit_id"]


def test_a_missing_scope_is_denied_in_their_words(make_user: MakeUser, trace: Path) -> None:
    result = make_user("kit.read").invoke("leave_trace", {"path": str(trace)})
    assert (result["status"], result["error_type"]) == ("denied", "ScopeDenied")
    assert result["error"] == "missing required scope: kit.write"


def test_a_tool_that_hangs_is_a_timeout(user: User, trace: Path) -> None:
    result = user.invoke("hangs_with_children", {"path": str(trace)})
    assert (result["status"], result["error_type"]) == ("timeout", "TimeoutError")
    assert result["error"] == "tool timed out after 1 seconds"


def test_one_call_too_many_is_rate_limited(user: User, trace: Path) -> None:
    first = user.invoke("once_an_hour", {"path": str(trace)})
    second = user.invoke("once_an_hour", {"path": str(trace)})
    assert (first["status"], second["status"]) == ("success", "rate_limited")
    assert second["error"] == "rate limit exceeded: 1/hour/user"


def test_a_call_that_takes_its_time_is_pending_and_fetched_by_its_idempotency_key(
    user: User, trace: Path
) -> None:
    go = trace.with_name("go")
    call = ("waits_for", {"path": str(trace), "go": str(go)})
    hurried = {"api_key": user.key, "headers": {"Prefer": "respond-async"}}
    pending = user.ask_as(hurried, "invoke", *call, idempotency_key="long")["returned"]
    assert (pending["status"], pending["ok"], pending["error"]) == ("pending", False, None)

    busy = user.invoke(*call, idempotency_key="long")
    assert (busy["status"], busy["error_type"]) == ("idempotency_conflict", "IdempotencyInProgress")
    assert busy["error"] == "idempotency key is already in progress"

    go.touch()
    ended = until(lambda: _ended(user.invoke(*call, idempotency_key="long")), 30)
    assert (ended["status"], ended["data"], ended["replayed"]) == ("success", "done", True)


def _ended(result: dict[str, Any]) -> dict[str, Any] | None:
    return None if result["status"] == "idempotency_conflict" else result


# Idempotency.


@pytest.mark.feature("X6")
def test_the_same_key_replays_and_another_payload_conflicts(user: User, trace: Path) -> None:
    call = {"path": str(trace)}
    first = user.invoke("leave_trace", call, idempotency_key="same")
    again = user.invoke("leave_trace", call, idempotency_key="same")
    assert (first["data"], first["replayed"]) == (1, False)
    assert (again["data"], again["replayed"], again["ok"]) == (1, True, True)
    other = user.invoke("leave_trace", {**call, "text": "other"}, idempotency_key="same")
    assert (other["status"], other["error_type"]) == ("idempotency_conflict", "IdempotencyConflict")
    assert other["error"] == "idempotency key was already used with different arguments"
    assert trace.read_text() == "ran\n"


# Approval.


@pytest.mark.feature("T1", "T3", "I8")
def test_a_held_call_is_not_approved_by_its_caller_but_by_a_person_and_runs_once(
    stack: Stack, user: User, trace: Path, person: requests.Session
) -> None:
    """Their docs show `if result.approval_required: client.approve(…)`: here it is refused."""
    call = ("guarded_trace", {"path": str(trace)})
    held = user.invoke(*call)
    assert (held["status"], held["approval_required"]) == ("requires_approval", True)
    assert (held["error_type"], held["message"]) == ("ApprovalRequired", "approval is required")

    for verb in ("approve", "reject"):
        refused = user.ask(verb, held["approval_id"], actor="alice", note="I say so")
        assert refused["raised"] == "ToolRampartHTTPError"
        assert refused["text"] == "ToolRampart request failed: HTTP 403"
        answer = json.loads(refused["answer"])
        assert (answer["code"], answer["detail"]) == (
            "machine_cannot_approve", "an API key can't decide",
        )  # fmt: skip

    still = user.invoke(*call, approval_id=held["approval_id"])
    assert (still["status"], trace.read_text()) == ("requires_approval", "")

    decide(stack, person, held["approval_id"])
    results = [user.invoke(*call, approval_id=held["approval_id"]) for _ in range(3)]
    assert [(result["status"], result["data"]) for result in results] == [("success", 1)] * 3
    assert results[-1]["replayed"] is True
    assert trace.read_text() == "ran\n"


def test_a_rejected_call_is_told_so_when_it_is_posted_again(
    stack: Stack, user: User, trace: Path, person: requests.Session
) -> None:
    call = ("guarded_trace", {"path": str(trace)})
    held = user.invoke(*call)
    decide(stack, person, held["approval_id"], "reject")
    result = user.invoke(*call, approval_id=held["approval_id"])
    assert (result["status"], result["error_type"]) == ("rejected", "ApprovalRejected")
    assert result["error"] == "approval request was rejected"
    assert (result["approval_required"], trace.read_text()) == (False, "")


@pytest.mark.feature("T2")
def test_an_approval_of_somebody_else_or_of_another_call_is_denied(
    stack: Stack, user: User, make_user: MakeUser, trace: Path, person: requests.Session
) -> None:
    held = user.invoke("guarded_trace", {"path": str(trace)})
    decide(stack, person, held["approval_id"])
    other = {"path": str(trace), "text": "another"}
    altered = user.invoke("guarded_trace", other, approval_id=held["approval_id"])
    assert (altered["status"], altered["error_type"]) == ("denied", "ActionMismatch")
    stolen = make_user().invoke(
        "guarded_trace", {"path": str(trace)}, approval_id=held["approval_id"]
    )
    assert (stolen["status"], stolen["error_type"]) == ("denied", "NotYours")


@pytest.mark.feature("T20")
def test_a_user_lists_its_own_approvals_and_nobody_elses(make_user: MakeUser, trace: Path) -> None:
    user = make_user()
    held = user.invoke("guarded_trace", {"path": str(trace)})
    (listed,) = user.get("approvals", status="pending")
    assert listed["id"] == held["approval_id"]
    assert set(listed) >= {
        "id", "tool_name", "actor", "status", "reason", "arguments", "arguments_hash",
        "requested_at", "resolved_at", "resolved_by", "resolution_note", "metadata",
    }  # fmt: skip
    assert user.get("approvals", status="approved", limit=500) == []
    assert make_user().get("approvals") == []


# What is never trusted.


@pytest.mark.feature("T6", "T8", "I4")
def test_what_the_client_says_of_itself_is_believed_by_nobody(user: User, trace: Path) -> None:
    held = user.invoke(
        "guarded_trace", {"path": str(trace)}, actor="ceo", scopes=["*"], approved=True,
        approved_by="ceo", metadata={"approved_by": "ceo", "source": "console"},
    )  # fmt: skip
    assert (held["status"], trace.read_text()) == ("requires_approval", "")
    (event, *_) = user.get("audit", limit=1)
    assert (event["actor"], event["source"], event["status"]) == (
        user.actor, "rest", "requires_approval",
    )  # fmt: skip
    assert "approved_by" not in event["metadata"]


# The ledger and the numbers.


@pytest.mark.feature("T20", "H4")
def test_a_users_audit_is_its_own_with_their_keys(user: User, make_user: MakeUser) -> None:
    reader = make_user("kit.read", "audit.read")
    user.invoke("echo", {"value": 1})
    reader.invoke("echo", {"value": 2})
    (event,) = reader.get("audit")
    assert set(event) >= {
        "id", "tool_name", "actor", "status", "arguments", "result", "error", "started_at",
        "ended_at", "metadata",
    }  # fmt: skip
    assert (event["actor"], event["arguments"]) == (reader.actor, {"value": 2})
    refused = make_user("kit.read").ask("audit")
    assert (refused["raised"], json.loads(refused["answer"])["code"]) == (
        "ToolRampartHTTPError", "scope_denied",
    )  # fmt: skip


@pytest.mark.feature("H1", "O1")
def test_their_metrics_are_prometheus_text(user: User) -> None:
    user.invoke("echo", {"value": 1})
    assert 'rampart_calls_total{status="success",tool="echo"}' in user.get("metrics")


# Errors that are no results.


@pytest.mark.feature("T29")
def test_reading_with_a_bad_key_raises_their_typed_error(user: User) -> None:
    bad = {"api_key": "trp_an-old-key-of-theirs"}
    for method in ("tools", "mcp_tools", "approvals", "audit"):
        refused = user.ask_as(bad, method)
        assert refused["raised"] == "ToolRampartHTTPError"
        assert refused["text"] == "ToolRampart request failed: HTTP 401"
        assert json.loads(refused["answer"])["code"] == "invalid_credentials"


OUTSIDE_RESULTS: dict[str, tuple[dict[str, str], str, dict[str, Any], int]] = {
    "invalid_credentials": ({"api_key": "trp_an-old-key-of-theirs"}, "echo", {}, 401),
    "unknown_tool": ({}, "no_such_tool", {}, 404),
    "body_too_large": ({}, "echo", {"value": "x" * 2**20}, 413),
}


@pytest.mark.feature("T29")
@pytest.mark.parametrize("code", OUTSIDE_RESULTS)
def test_an_invoke_that_has_no_result_fails_to_be_read_but_names_the_status(
    user: User, code: str
) -> None:
    """Their `invoke` reads every answer as a result, and fails on problems as pydantic does.

    That is in their client. Ours is that each problem is JSON, so that no error of decoding hides
    the status.
    """
    options, tool, arguments, status = OUTSIDE_RESULTS[code]
    refused = user.ask_as({"api_key": user.key, **options}, "invoke", tool, arguments)
    assert refused["raised"] == "ValidationError"
    assert f"input_value={status}" in refused["text"]


@pytest.mark.feature("T29")
@pytest.mark.parametrize("code", OUTSIDE_RESULTS)
def test_with_a_hook_that_knows_problems_it_raises_their_typed_error(user: User, code: str) -> None:
    options, tool, arguments, status = OUTSIDE_RESULTS[code]
    hooked = {"api_key": user.key, "hooked": True, **options}
    refused = user.ask_as(hooked, "invoke", tool, arguments)
    assert refused["raised"] == "ToolRampartHTTPError"
    assert refused["text"] == f"ToolRampart request failed: HTTP {status}"
    assert json.loads(refused["answer"])["code"] == code
    assert user.ask_as(hooked | {"api_key": user.key}, "health")["returned"] == {"status": "ok"}
