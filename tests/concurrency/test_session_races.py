"""Many calls of one session at the same instant, each in a thread with a connection of its own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from approvals import execution
from approvals.models import Approval, Invocation
from audit.models import Event
from audit.verification import verify
from tests.conftest import Agent, at_once, effects, work
from tests.session_kit import ask_for, call, close, now, open_one
from tools import sessions
from tools.models import Session

pytestmark = pytest.mark.django_db(transaction=True)


def outcome(answer: Any) -> str:
    """The error's type, or the status."""
    body = answer.json()
    return str(body.get("error_type") or body["status"])


@pytest.mark.feature("B4")
@pytest.mark.parametrize("tool", ["trace_read", "leave_trace"])
def test_of_thirty_calls_with_ten_left_exactly_ten_are_made(
    agent: Agent, trace: Path, tool: str
) -> None:
    session = open_one(agent, max_tool_calls=12)
    for _ in range(2):
        call(agent, session)
    answers = Counter(at_once(30, lambda _: outcome(call(agent, session, tool, path=str(trace)))))
    work()
    assert answers["BudgetExceeded"] == 20
    assert answers["success"] + answers["pending"] == 10
    assert len(effects(trace)) == 10
    assert (now(session.pk).tool_calls, Invocation.objects.count()) == (12, 12)
    assert Event.objects.filter(reason="budget_exceeded").count() == 20


@pytest.mark.feature("B4")
def test_held_calls_are_charged_exactly_as_well(agent: Agent, trace: Path) -> None:
    session = open_one(agent, max_tool_calls=10)

    def hold(number: int) -> int:
        text = str(number)
        return call(agent, session, "guarded_trace", path=str(trace), text=text).status_code

    assert Counter(at_once(30, hold)) == {202: 10, 429: 20}
    assert (now(session.pk).tool_calls, Approval.objects.count()) == (10, 10)


@pytest.mark.feature("B4", "AP8")
def test_identical_calls_with_one_left_wait_as_one_and_none_is_refused(
    agent: Agent, trace: Path
) -> None:
    session = open_one(agent, max_tool_calls=1)

    def hold(number: int) -> Any:
        return call(agent, session, "guarded_trace", path=str(trace)).json()["approval_id"]

    assert set(at_once(20, hold)) == {str(Approval.objects.get().pk)}
    assert now(session.pk).tool_calls == 1


@pytest.mark.feature("B4", "X6")
def test_one_idempotency_key_at_once_is_charged_once(agent: Agent, trace: Path) -> None:
    session = open_one(agent)
    body = {"arguments": {"path": str(trace)}, "session_id": str(session.pk)}

    def post(number: int) -> str:
        return outcome(agent.post("leave_trace", body, headers={"Idempotency-Key": "k"}))

    assert set(at_once(20, post)) <= {"pending", "IdempotencyInProgress"}
    assert (now(session.pk).tool_calls, Invocation.objects.count()) == (1, 1)


@pytest.mark.feature("B4", "P4")
def test_limit_and_budget_together_count_only_what_was_made(agent: Agent, store: str) -> None:
    """The limit has room for ten; whoever the session refuses takes none of it."""
    session, other = open_one(agent, max_tool_calls=4), open_one(agent)
    first = Counter(at_once(8, lambda _: outcome(call(agent, session, "ten_an_hour"))))
    assert (first["BudgetExceeded"], now(session.pk).tool_calls) == (4, 4)
    second = Counter(at_once(12, lambda _: outcome(call(agent, other, "ten_an_hour"))))
    assert (second["RateLimited"], now(other.pk).tool_calls) == (6, 6)


@pytest.mark.feature("B1", "B4")
def test_results_that_come_at_once_are_all_counted(agent: Agent) -> None:
    session = open_one(agent)
    at_once(20, lambda number: call(agent, session, value="x" * (number + 1)))
    work()
    rows = Invocation.objects.filter(session_id=session.pk)
    assert sorted(row.output_bytes or 0 for row in rows) == [number + 3 for number in range(20)]
    assert now(session.pk).output_bytes == sum(row.output_bytes or 0 for row in rows)


@pytest.mark.feature("B6")
def test_closing_leaves_nothing_under_way_whoever_calls_meanwhile(
    agent: Agent, trace: Path
) -> None:
    for number in range(4):
        trace.write_text("")
        session = open_one(agent)

        def act(which: int, session: Session = session) -> int:
            if which == 5:
                return close(agent, session).status_code
            return call(agent, session, "leave_trace", path=str(trace)).status_code

        codes = at_once(10, act)
        charged = now(session.pk)
        rows = Invocation.objects.filter(session_id=session.pk)
        assert {row.status for row in rows} <= {"cancelled"}, number
        assert charged.tool_calls == rows.count() == codes.count(202)
        assert codes.count(404) == 9 - rows.count()
        work()
        assert effects(trace) == []
    assert verify().finding is None


@pytest.mark.feature("B6")
def test_closing_and_running_at_once_end_each_call_once(agent: Agent, trace: Path) -> None:
    for _ in range(4):
        trace.write_text("")
        session = open_one(agent)
        call(agent, session, "leave_trace", path=str(trace))
        row = Invocation.objects.get(session_id=session.pk)
        acts = [lambda: close(agent, session), lambda: execution.run(row.pk)]
        at_once(2, lambda which: acts[which]())
        row.refresh_from_db()
        ran = len(effects(trace))
        assert (row.status, ran) in {("cancelled", 0), ("cancelled", 1), ("success", 1)}
        assert now(session.pk).tool_calls == 1


@pytest.mark.feature("B1")
def test_the_number_of_sessions_cannot_be_raced(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_OPEN", 5)
    codes = Counter(at_once(20, lambda _: ask_for(agent).status_code))
    assert codes == {201: 5, 429: 15}


@pytest.mark.feature("B4", "AP8")
def test_calls_that_wait_for_people_and_calls_that_do_not_get_along_in_one_session(
    agent: Agent, trace: Path
) -> None:
    session = open_one(agent)

    def act(number: int) -> set[int]:
        tool = ("guarded_trace", "leave_trace")[number % 2]
        each = (f"{number} {turn}" for turn in range(6))
        return {call(agent, session, tool, path=str(trace), text=it).status_code for it in each}

    assert at_once(8, act) == [{202}] * 8
    assert now(session.pk).tool_calls == 48
