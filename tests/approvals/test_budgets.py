"""Budgets: what a call costs its session, when it is refused, and what closing does."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from approvals import execution
from approvals.models import Approval, Invocation
from audit.models import Event
from audit.verification import verify
from tests.conftest import Agent, MakeAgent, as_person, effects, work
from tests.session_kit import call, close, now, open_one, report_of
from tools.models import Session

pytestmark = pytest.mark.django_db

K = {"Idempotency-Key": "k"}


def refused(answer: Any) -> tuple[int, str, str, str]:
    """A budget's refusal: its status, word, type and sentence."""
    body = answer.json()
    return answer.status_code, body["status"], body["error_type"], body["error"]


def out_of_time(session: Session, seconds: float) -> None:
    """Let so much time go by for it."""
    gone = timedelta(seconds=seconds)
    Session.objects.filter(pk=session.pk).update(
        created_at=session.created_at - gone, ends_at=session.ends_at - gone
    )


# What is refused.


@pytest.mark.feature("B1", "B5")
def test_the_call_after_the_last_is_refused_in_the_words_that_clients_know(agent: Agent) -> None:
    session = open_one(agent, max_tool_calls=2)
    assert [call(agent, session, value=n).status_code for n in range(2)] == [200, 200]
    answer = call(agent, session, value=3)
    assert refused(answer) == (
        429, "rate_limited", "BudgetExceeded", "Tool call budget exceeded: 2 >= 2",
    )  # fmt: skip
    assert 60 <= int(answer["Retry-After"]) <= 300
    assert answer.json()["invocation_id"] is None
    assert answer.json()["session_id"] == str(session.pk)
    assert now(session.pk).tool_calls == 2
    told = Event.objects.get(event="invocation:refused")
    assert (told.reason, told.session_id) == ("budget_exceeded", session.pk)


@pytest.mark.feature("B1", "B5")
def test_results_are_counted_as_the_bytes_that_the_caller_gets(agent: Agent) -> None:
    session = open_one(agent, max_output_bytes=39)
    value = {"word": "schön", "n": [1, 2.5, None, True]}
    answer = call(agent, session, value=value)
    size = len(
        json.dumps(answer.json()["data"], ensure_ascii=False, separators=(",", ":")).encode()
    )
    assert now(session.pk).output_bytes == size == 39
    assert refused(call(agent, session, value=1)) == (
        429, "rate_limited", "BudgetExceeded", "Output budget exceeded: 39 >= 39",
    )  # fmt: skip


@pytest.mark.feature("B1", "B5")
def test_secrets_count_as_they_are_and_not_as_they_are_shown(agent: Agent, trace: Path) -> None:
    session, card = open_one(agent), "4000-0000-0000-0000-0000"
    call(agent, session, "pay", path=str(trace), amount=1, card_number=card)
    work()
    row = Invocation.objects.get()
    assert card not in json.dumps(row.result)
    assert row.output_bytes == now(session.pk).output_bytes == len('{"count":1,"card":""}') + 24


@pytest.mark.feature("B1", "B5")
def test_after_its_time_a_session_takes_no_call(agent: Agent) -> None:
    session = open_one(agent, timeout_ms=1000)
    out_of_time(session, 90)
    answer = call(agent, session)
    status, word, error_type, sentence = refused(answer)
    assert (status, word, error_type) == (429, "rate_limited", "BudgetExceeded")
    elapsed = int(sentence.removeprefix("Timeout exceeded: ").partition("ms >= 1000ms")[0])
    assert 90_000 <= elapsed < 150_000
    assert now(session.pk).tool_calls == 0


@pytest.mark.feature("B6")
def test_a_closed_session_is_not_found_by_calls(agent: Agent) -> None:
    session = open_one(agent)
    close(agent, session)
    answer = call(agent, session)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Session not found")
    assert now(session.pk).tool_calls == 0


def test_two_sessions_for_one_call_are_refused(agent: Agent) -> None:
    one, other = open_one(agent), open_one(agent)
    both = {"arguments": {"session_id": str(one.pk)}, "session_id": str(other.pk)}
    answer = agent.post("of_session", both)
    assert (answer.status_code, answer.json()["error_type"]) == (422, "InputValidationError")
    (fault,) = answer.json()["fields"]
    assert (fault["path"], fault["type"]) == ("session_id", "session_mismatch")
    both["session_id"] = str(one.pk).upper()
    assert agent.post("of_session", both).status_code == 200
    assert (now(one.pk).tool_calls, now(other.pk).tool_calls) == (1, 0)


def test_the_argument_of_a_tool_names_the_session_in_any_spelling(agent: Agent) -> None:
    session = open_one(agent)
    answer = agent.invoke("of_session", session_id=session.pk.hex.upper(), value="x")
    assert (answer.status_code, answer.json()["session_id"]) == (200, str(session.pk))
    assert now(session.pk).tool_calls == 1
    assert agent.invoke("of_session", session_id=7).status_code == 422
    assert agent.invoke("of_session", session_id=None).json()["session_id"] is None


# What a call costs.


@pytest.mark.feature("B4", "S8", "R6")
@pytest.mark.parametrize(
    ("tool", "arguments", "status"),
    [("fails", {"pin": "1234"}, "error"), ("wrong_result", {"secret": "abcd"}, "error")],
)
def test_a_run_that_fails_counts_and_is_reported(
    agent: Agent, tool: str, arguments: dict[str, Any], status: str
) -> None:
    session = open_one(agent, max_tool_calls=1)
    assert call(agent, session, tool, **arguments).json()["status"] == status
    assert now(session.pk).tool_calls == 1
    assert refused(call(agent, session))[3] == "Tool call budget exceeded: 1 >= 1"
    (told,) = report_of(agent, session)["calls"]
    assert (told["tool_name"], told["status"], told["output_bytes"]) == (tool, "error", 0)
    assert told["error_type"] in ("ValueError", "OutputValidationError")


@pytest.mark.feature("S8", "R6")
def test_a_run_that_is_killed_counts_and_is_reported(agent: Agent, trace: Path) -> None:
    session = open_one(agent)
    call(agent, session, "hangs_with_children", path=str(trace))
    work()
    (told,) = report_of(agent, session)["calls"]
    assert (told["status"], told["error_type"]) == ("timeout", "TimeoutError")
    assert now(session.pk).tool_calls == 1


@pytest.mark.feature("S8", "R6", "R19")
def test_code_that_fails_counts_and_is_reported_with_its_hash(make_agent: MakeAgent) -> None:
    agent = make_agent(scopes=("rlm.exec",))
    session, code = open_one(agent, max_tool_calls=1), "1 / 0"
    arguments = {"session_id": str(session.pk), "code": code}
    assert agent.post("rlm.exec.run", {"arguments": arguments}).status_code == 202
    work()
    (told,) = report_of(agent, session)["calls"]
    row = Invocation.objects.get()
    assert (row.result["success"], "division by zero" in row.result["error"]) == (False, True)
    assert told["code_hash"] == hashlib.sha256(code.encode()).hexdigest()[:16]
    assert told["output_bytes"] == now(session.pk).output_bytes > 0
    again = agent.post("rlm.exec.run", {"arguments": arguments})
    assert refused(again)[3] == "Tool call budget exceeded: 1 >= 1"


@pytest.mark.feature("B4")
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("echo", {"x": 1}), ("on_weekdays", {"day": "sunday"}), ("never_judged", {"day": "monday"}),
        ("lookup_order", {"order_id": "A-1"}), ("once", {"path": "x"}),
    ],
)  # fmt: skip
def test_a_call_that_is_refused_at_the_door_costs_nothing(
    agent: Agent, tool: str, arguments: dict[str, Any]
) -> None:
    session = open_one(agent)
    assert call(agent, session, tool, **arguments).status_code in (400, 403, 422)
    assert now(session.pk).tool_calls == 0


@pytest.mark.feature("B4")
def test_a_full_limit_costs_the_session_nothing(agent: Agent, trace: Path, store: str) -> None:
    session = open_one(agent)
    codes = [call(agent, session, "once_an_hour", path=str(trace)).status_code for _ in range(3)]
    assert (codes, now(session.pk).tool_calls) == ([202, 429, 429], 1)


@pytest.mark.feature("B4", "P4")
def test_a_used_up_session_costs_the_limit_nothing(agent: Agent, store: str) -> None:
    used_up, other = open_one(agent, max_tool_calls=1), open_one(agent)
    assert call(agent, used_up, "ten_an_hour").status_code == 200
    for _ in range(12):
        assert refused(call(agent, used_up, "ten_an_hour"))[2] == "BudgetExceeded"
    codes = [call(agent, other, "ten_an_hour").status_code for _ in range(10)]
    assert codes == [200] * 9 + [429]


@pytest.mark.feature("B4", "P4")
def test_a_session_closed_meanwhile_costs_the_limit_nothing(agent: Agent, store: str) -> None:
    closed, other = open_one(agent), open_one(agent)
    close(agent, closed)
    for _ in range(12):
        assert call(agent, closed, "ten_an_hour").status_code == 404
    answer = call(agent, other, "ten_an_hour")
    assert answer["RateLimit"].startswith('"user";r=9;')


@pytest.mark.feature("B4", "X6")
@pytest.mark.parametrize("tool", ["leave_trace", "trace_read"])
def test_a_replay_costs_nothing_even_if_the_session_is_used_up(
    agent: Agent, trace: Path, tool: str
) -> None:
    session = open_one(agent, max_tool_calls=1)
    body = {"arguments": {"path": str(trace)}, "session_id": str(session.pk)}
    agent.post(tool, body, headers=K)
    work()
    for _ in range(3):
        answer = agent.post(tool, body, headers=K)
        assert (answer.status_code, answer.json()["replayed"]) == (200, True)
    assert (now(session.pk).tool_calls, len(effects(trace))) == (1, 1)


@pytest.mark.feature("B4", "AP8")
def test_the_same_call_again_while_it_waits_costs_nothing(agent: Agent, trace: Path) -> None:
    session = open_one(agent, max_tool_calls=1)
    answers = [call(agent, session, "guarded_trace", path=str(trace)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.json()["approval_id"] for answer in answers}) == 1
    assert now(session.pk).tool_calls == 1
    other = call(agent, session, "guarded_trace", path=str(trace), text="other")
    assert refused(other)[2] == "BudgetExceeded"
    assert Approval.objects.count() == 1


@pytest.mark.feature("B4", "AP8")
def test_one_held_call_too_many_costs_nothing(agent: Agent, trace: Path, settings: Any) -> None:
    settings.RAMPART_MAX_PENDING_PER_KEY = 1
    session = open_one(agent)
    codes = [
        call(agent, session, "guarded_trace", path=str(trace), text=text).status_code
        for text in ("a", "b")
    ]
    assert (codes, now(session.pk).tool_calls) == ([202, 429], 1)


@pytest.mark.feature("B4")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_held_call_is_charged_once_whatever_becomes_of_it(
    agent: Agent, trace: Path, reviewer: User, verb: str
) -> None:
    session = open_one(agent)
    held = call(agent, session, "guarded_trace", path=str(trace)).json()
    out_of_time(session, 400)
    url = f"/api/v1/approvals/{held['approval_id']}/{verb}"
    assert as_person(reviewer).post(url, {}, format="json").status_code == 200
    work()
    body = {
        "arguments": {"path": str(trace)},
        "approval_id": held["approval_id"],
        "session_id": str(session.pk),
    }
    again = agent.post("guarded_trace", body)
    assert again.json()["status"] == ("success" if verb == "approve" else "rejected")
    assert now(session.pk).tool_calls == 1


@pytest.mark.feature("B4")
def test_attempts_are_one_call(agent: Agent, trace: Path) -> None:
    session = open_one(agent)
    assert call(agent, session, "fails_twice", path=str(trace)).json()["attempts"] == 3
    assert now(session.pk).tool_calls == 1


def test_a_call_of_no_session_is_charged_nowhere(agent: Agent) -> None:
    session = open_one(agent)
    assert agent.invoke("echo", value="x").json()["session_id"] is None
    assert now(session.pk).tool_calls == 0
    assert Invocation.objects.get().output_bytes is None


# Closing.


@pytest.mark.feature("B6")
def test_closing_cancels_what_waits_and_leaves_what_has_ended(agent: Agent, trace: Path) -> None:
    session, other = open_one(agent), open_one(agent)
    ended = call(agent, session, value=1).json()["invocation_id"]
    held = call(agent, session, "guarded_trace", path=str(trace)).json()["invocation_id"]
    queued = call(agent, session, "leave_trace", path=str(trace)).json()["invocation_id"]
    others = call(agent, other, "leave_trace", path=str(trace)).json()["invocation_id"]
    assert close(agent, session).json() == {"success": True}
    stand = {str(row.pk): row.status for row in Invocation.objects.all()}
    told = {one["invocation_id"]: one["error_type"] for one in report_of(agent, session)["calls"]}
    assert told == {ended: None, held: "Cancelled", queued: "Cancelled"}
    assert stand == {ended: "success", held: "cancelled", queued: "cancelled", others: "queued"}
    assert Approval.objects.get().status == "cancelled"
    work()
    assert effects(trace) == ["ran"]
    assert verify().finding is None


@pytest.mark.feature("B6")
def test_closing_asks_what_runs_to_stop(agent: Agent, trace: Path) -> None:
    session = open_one(agent)
    answer = call(agent, session, "leave_trace", path=str(trace)).json()
    row = Invocation.objects.get(pk=answer["invocation_id"])
    execution.transitions.claim(row, execution.transitions.now())
    close(agent, session)
    row.refresh_from_db()
    assert (row.status, row.cancel_requested_at is not None) == ("running", True)


@pytest.mark.feature("B6")
def test_closing_again_cancels_what_a_dead_process_left(
    agent: Agent, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_one(agent)
    call(agent, session, "leave_trace", path=str(trace))
    Session.objects.filter(pk=session.pk).update(closed_at=session.created_at)
    assert close(agent, session).json() == {"success": True}
    assert Invocation.objects.get().status == "cancelled"
    assert now(session.pk).closed_at == session.created_at


# The report.


@pytest.mark.feature("B6", "R19", "U7")
@pytest.mark.parametrize("is_closed", [False, True])
def test_the_report_tells_of_every_call_and_outlives_the_session(
    agent: Agent, trace: Path, is_closed: bool
) -> None:
    session = open_one(agent)
    call(agent, session, "pay", path=str(trace), amount=5, card_number="4000123412341234")
    work()
    provenance = {"code_hash": "ab" * 32, "inputs": [], "outputs": []}
    call(agent, session, value={"stdout": "x", "provenance": provenance})
    call(agent, session, "fails", pin="1234")
    if is_closed:
        close(agent, session)
    told = report_of(agent, session)
    paid, ran, failed = told["calls"]
    assert [one["status"] for one in told["calls"]] == ["success", "success", "error"]
    assert (ran["code_hash"], paid["code_hash"]) == ("ab" * 32, None)
    rows = {str(row.pk): row for row in Invocation.objects.all()}
    for one in (paid, ran, failed):
        row = rows[one["invocation_id"]]
        assert one["digest"] == row.digest
        assert Event.objects.filter(pk=one["audit_id"], invocation_id=row.pk).exists()
    graph = told["provenance_graph"]
    assert graph == {
        "spans": [
            {"invocation_id": ran["invocation_id"], "tool_name": "echo", "provenance": provenance}
        ],
        "session_id": str(session.pk),
        "tool_calls": 3,
        "output_bytes": sum(one["output_bytes"] for one in told["calls"]),
        "file_access_stats": {},
    }
    assert (told["label"], told["export_payload"]) == ("DATA", None)
    assert "4000123412341234" not in json.dumps(told)


@pytest.mark.feature("B6", "U7")
def test_a_hash_that_is_no_text_is_not_taken_for_one(agent: Agent) -> None:
    session = open_one(agent)
    for told in ("ab12", {"a": 1}, 5):
        call(agent, session, value={"provenance": {"code_hash": told}})
    calls = report_of(agent, session)["calls"]
    assert [each["code_hash"] for each in calls] == ["ab12", None, None]


@pytest.mark.feature("B6")
def test_the_report_is_given_as_one_text_on_demand(agent: Agent) -> None:
    session = open_one(agent)
    call(agent, session, value="ü")
    told = report_of(agent, session, "?export_json=true")
    exported = json.loads(told.pop("export_payload"))
    assert exported["provenance_graph"] == told["provenance_graph"]
    assert [one["digest"] for one in exported["calls"]] == [told["calls"][0]["digest"]]
    answer = agent.get(f"sessions/{session.pk}/provenance?export_json=perhaps")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
