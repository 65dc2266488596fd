"""Which call a worker takes: by priority, then the oldest; of a tool with a limit, so many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest import MonkeyPatch

from approvals import dispatch, execution, order, transitions, upkeep
from approvals.errors import NoPlace
from approvals.models import Invocation
from approvals.order import Passed
from audit.models import Event
from tests.conftest import Agent, as_person, effects, work
from tools import catalogue
from tools.models import EmergencyStop, Tool

pytestmark = [pytest.mark.django_db, pytest.mark.feature("X10")]

Ask = Callable[..., Invocation]


@pytest.fixture
def sent(monkeypatch: MonkeyPatch) -> list[str]:
    """The ids for which a worker was sent, by hand and in vain: no worker listens here."""
    ids: list[str] = []

    def send_task(name: str, args: list[str], **_: Any) -> None:
        ids.append(args[0])

    monkeypatch.setattr(dispatch.current_app, "send_task", send_task)
    return ids


@pytest.fixture
def ask(agent: Agent, trace: Path) -> Ask:
    """Makes a call that leaves its text as a trace, and returns its row."""

    def make(text: str, tool: str = "leave_trace") -> Invocation:
        answer = agent.invoke(tool, path=str(trace), text=text)
        assert answer.json()["status"] == "pending", answer.content
        return Invocation.objects.get(pk=answer.json()["invocation_id"])

    return make


def limit(name: str, running: int | None = None, priority: int = 0) -> None:
    """Set a tool's limits as an operator does."""
    tool = Tool.objects.get(name=name)
    assert catalogue.set_limits(tool, max_running=running, priority=priority, by="test")
    catalogue.forget()  # What a commit does.


def taken(row: Invocation) -> Invocation:
    """Claimed by a worker that goes on running it."""
    return transitions.claim(row, transitions.now(), is_limited=True)


# Order.


def test_a_message_takes_what_has_the_highest_priority_and_so_many_run_as_were_sent_for(
    ask: Ask, trace: Path
) -> None:
    rows = [ask("first"), ask("second"), ask("urgent", "leave_another")]
    limit("leave_another", priority=5)
    for row in rows:
        execution.run(row.pk)
    assert effects(trace) == ["urgent", "second", "first"]


def test_among_equals_a_message_takes_its_own_call(ask: Ask, trace: Path) -> None:
    ask("older")
    execution.run(ask("newer").pk)
    assert effects(trace) == ["newer"]


def test_a_low_priority_waits_for_the_usual_one(ask: Ask, trace: Path) -> None:
    low = ask("low", "leave_another")
    ask("usual")
    limit("leave_another", priority=-1)
    execution.run(low.pk)
    assert effects(trace) == ["usual"]


def test_a_message_takes_nothing_of_another_queue(ask: Ask, trace: Path, agent: Agent) -> None:
    """A worker that serves one queue need not be able to run what is in the others."""
    agent.invoke("may_repeat", path=str(trace), go=str(trace))
    limit("may_repeat", priority=9)
    execution.run(ask("default").pk)
    assert effects(trace) == ["default"]


def test_a_second_message_for_a_call_takes_the_one_that_was_passed_over(
    ask: Ask, trace: Path
) -> None:
    row, other = ask("asked"), ask("other")
    execution.run(row.pk)
    execution.run(row.pk)
    assert effects(trace) == ["asked", "other"]
    execution.run(other.pk)
    assert effects(trace) == ["asked", "other"]


def test_a_message_for_no_call_of_ours_is_put_aside(ask: Ask, trace: Path) -> None:
    row = ask("kept")
    execution.run(Event.objects.latest("id").pk)
    assert effects(trace) == []
    execution.run(row.pk)
    assert effects(trace) == ["kept"]


# Limits.


def test_the_third_call_waits_while_two_of_the_tool_run_and_its_place_is_told(
    ask: Ask, agent: Agent, trace: Path
) -> None:
    limit("leave_trace", running=2)
    first, second, third, fourth = (ask(text) for text in ("1", "2", "3", "4"))
    taken(first)
    taken(second)
    execution.run(third.pk)
    assert effects(trace) == []
    told = {
        call["invocation_id"]: (call["status"], call["queue_position"])
        for call in agent.get("invocations").json()["invocations"]
    }
    assert [told[str(row.pk)] for row in (first, second, third, fourth)] == [
        ("pending", None), ("pending", None), ("pending", 1), ("pending", 2),
    ]  # fmt: skip
    alone = agent.get(f"invocations/{fourth.pk}").json()
    assert (alone["status"], alone["queue_position"]) == ("pending", 2)


def test_a_full_tool_holds_up_no_other(ask: Ask, trace: Path) -> None:
    limit("leave_trace", running=1, priority=5)
    taken(ask("runs"))
    waits = ask("waits")
    ask("another", "leave_another")
    execution.run(waits.pk)
    assert effects(trace) == ["another"]
    waits.refresh_from_db()
    assert waits.status == "queued"


def test_of_a_tool_with_a_limit_the_oldest_goes_first(ask: Ask, trace: Path) -> None:
    limit("leave_trace", running=1)
    ask("older")
    execution.run(ask("newer").pk)
    assert effects(trace) == ["older"]


def test_the_next_is_sent_for_when_one_ends(ask: Ask, trace: Path, sent: list[str]) -> None:
    limit("leave_trace", running=1)
    first, second, third = (ask(text) for text in ("1", "2", "3"))
    sent.clear()
    for expected in ([second], [second, third], [second, third]):
        execution.run(first.pk)
        assert sent == [str(row.pk) for row in expected]
    assert effects(trace) == ["1", "2", "3"]


def test_the_next_is_sent_for_when_one_is_void(ask: Ask, trace: Path, sent: list[str]) -> None:
    limit("leave_trace", running=1)
    first, second = ask("1"), ask("2")
    catalogue.set_enabled(Tool.objects.get(name="leave_trace"), False, by="test")
    sent.clear()
    execution.run(first.pk)
    assert sent == [str(second.pk)]
    first.refresh_from_db()
    assert (first.status, first.reason) == ("void", "tool_disabled")


def test_upkeep_sends_for_as_many_as_have_a_place(ask: Ask, sent: list[str]) -> None:
    limit("leave_trace", running=2)
    rows = [ask(text) for text in ("1", "2", "3", "4")]
    free = ask("free", "leave_another")
    taken(rows[0])
    Invocation.objects.update(dispatch_after=transitions.now())
    sent.clear()
    assert upkeep.send_unsent(transitions.now()) == 2
    assert sorted(sent) == sorted([str(rows[1].pk), str(free.pk)])


def test_a_raised_limit_is_felt_at_the_next_round_of_upkeep(ask: Ask, sent: list[str]) -> None:
    """What waits behind a limit is not put off ever further, as what nobody comes for is."""
    limit("leave_trace", running=1)
    rows = [ask(text) for text in ("1", "2", "3")]
    taken(rows[0])
    Invocation.objects.update(dispatch_after=transitions.now())
    for _ in range(5):
        assert upkeep.send_unsent(transitions.now()) == 0
    limit("leave_trace", running=3)
    sent.clear()
    assert upkeep.send_unsent(transitions.now()) == 2
    assert sent == [str(row.pk) for row in rows[1:]]


def test_a_lost_call_frees_its_place(ask: Ask) -> None:
    limit("leave_trace", running=1)
    first, second = ask("1"), ask("2")
    taken(first)
    with pytest.raises(NoPlace):
        taken(second)
    Invocation.objects.filter(pk=first.pk).update(lease_expires_at=transitions.now())
    upkeep.settle_lost(transitions.now())
    assert taken(second).status == "running"


def test_a_claim_without_a_place_changes_nothing(ask: Ask) -> None:
    limit("leave_trace", running=1)
    first, second = ask("1"), ask("2")
    taken(first)
    lines = Event.objects.count()
    with pytest.raises(NoPlace):
        taken(second)
    second.refresh_from_db()
    assert (second.status, second.claims, Event.objects.count()) == ("queued", 0, lines)


def test_a_tool_without_a_limit_is_claimed_as_cheaply_as_ever(
    ask: Ask, django_assert_num_queries: Any
) -> None:
    """The switches are read once, and nothing is asked about an order that nobody has set."""
    row, board = ask("quick"), catalogue.switchboard(fresh=True)
    with django_assert_num_queries(0):
        assert order.next_call(row, board, Passed()) is row


def test_who_ran_it_is_on_the_row(ask: Ask) -> None:
    row = ask("1")
    work()
    row.refresh_from_db()
    assert row.worker == transitions.this_process()


# Telling.


def test_a_limit_is_told_in_the_ledger_once(agent: Agent) -> None:
    tool = Tool.objects.get(name="leave_trace")
    assert catalogue.set_limits(tool, max_running=2, priority=1, by="ops")
    assert not catalogue.set_limits(tool, max_running=2, priority=1, by="ops")
    (line,) = Event.objects.filter(event="tool:limited")
    assert (line.actor, line.tool_name, line.metadata) == (
        "ops", "leave_trace",
        {
            "before": {"max_running": None, "priority": 0},
            "after": {"max_running": 2, "priority": 1},
        },
    )  # fmt: skip


def test_a_list_of_waiting_calls_asks_for_their_places_once(
    ask: Ask, agent: Agent, reviewer: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        ask(str(number))
    with django_assert_max_num_queries(12):
        found = agent.get("invocations").json()["invocations"]
    assert [call["queue_position"] for call in found] == list(range(12, 0, -1))
    seen = as_person(reviewer).get("/api/v1/invocations").json()["invocations"]
    assert len({call["queue_position"] for call in seen}) == 12


def test_a_database_that_goes_away_costs_the_place_and_not_the_answer(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(order, "_line", away)
    answer = agent.invoke("leave_trace", path=str(trace))
    assert (answer.status_code, answer.json()["queue_position"]) == (202, None)


@pytest.mark.feature("TD7")
@pytest.mark.parametrize("how", ["switch", "stop"])
def test_neither_switch_lets_a_waiting_call_start(ask: Ask, trace: Path, how: str) -> None:
    rows = [ask(text) for text in ("1", "2")]
    if how == "switch":
        catalogue.set_enabled(Tool.objects.get(name="leave_trace"), False, by="test")
    else:
        EmergencyStop.objects.create(reason="drill", engaged_by="test")
    for row in rows:
        execution.run(row.pk)
    assert effects(trace) == []
    assert set(Invocation.objects.values_list("status", "reason")) == {("void", "tool_disabled")}
