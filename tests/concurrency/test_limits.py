"""A tool's limit, with many workers that claim at the same instant."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest
from pytest import MonkeyPatch

from approvals import dispatch, execution, transitions
from approvals.errors import NoPlace
from approvals.models import Invocation
from audit.models import Event
from audit.verification import verify
from tests.conftest import Agent, at_once, effects
from tests.stack import until
from tools import catalogue
from tools.models import Tool

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.feature("X10")]

WORKERS = 8
LIMIT = 2


@pytest.fixture
def waiting(agent: Agent, trace: Path) -> Callable[[int], list[Invocation]]:
    """Calls of a tool of which two may run at once."""

    def make(count: int) -> list[Invocation]:
        tool = Tool.objects.get(name="leave_trace")
        catalogue.set_limits(tool, max_running=LIMIT, priority=0, by="test")
        for number in range(count):
            agent.invoke("leave_trace", path=str(trace), text=str(number))
        return list(Invocation.objects.order_by("pk"))

    return make


def test_of_eight_claims_at_once_exactly_two_get_a_place(
    waiting: Callable[[int], list[Invocation]],
) -> None:
    rows = waiting(WORKERS)

    def claim(number: int) -> str:
        try:
            return transitions.claim(rows[number], transitions.now(), is_limited=True).status
        except NoPlace:
            return "no place"

    assert Counter(at_once(WORKERS, claim)) == {"running": LIMIT, "no place": WORKERS - LIMIT}
    assert Event.objects.filter(event="invocation:started").count() == LIMIT


def test_eight_workers_run_two_at_once_never_three_and_leave_none_behind(
    agent: Agent, trace: Path, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    go = tmp_path / "go"
    tool = Tool.objects.get(name="waits_for")
    catalogue.set_limits(tool, max_running=LIMIT, priority=0, by="test")
    sent: list[Invocation] = []
    monkeypatch.setattr(dispatch, "send", lambda row: sent.append(row) or True)
    for _ in range(WORKERS):
        agent.invoke("waits_for", path=str(trace), go=str(go))
    rows, turned_away = list(Invocation.objects.order_by("pk")), Semaphore(0)
    sent.clear()
    seen: list[int] = []

    def serve(number: int) -> None:
        if number < WORKERS:
            execution.run(rows[number].pk)
            turned_away.release()
            return
        try:
            until(lambda: len(effects(trace)) == LIMIT, 60)
            for _ in range(WORKERS - LIMIT):
                assert turned_away.acquire(timeout=60)
            seen.append(Invocation.objects.running().count())
        finally:
            go.touch()

    at_once(WORKERS + 1, serve)
    assert seen == [LIMIT]
    while sent:
        execution.run(sent.pop().pk)
    assert Counter(Invocation.objects.values_list("status", flat=True)) == {"success": WORKERS}
    assert verify().finding is None


def test_a_crowd_of_short_calls_never_exceeds_its_limit(
    waiting: Callable[[int], list[Invocation]], trace: Path, monkeypatch: MonkeyPatch
) -> None:
    """Each worker looks how many run while its own does; what is sent for is run by somebody."""
    rows = waiting(WORKERS * 3)
    sent: list[Invocation] = []
    seen: list[int] = []
    run_tool = execution.run_tool

    def counted(*given: Any, **options: Any) -> Any:
        seen.append(Invocation.objects.running().count())
        return run_tool(*given, **options)

    monkeypatch.setattr(execution, "run_tool", counted)
    monkeypatch.setattr(dispatch, "send", lambda row: sent.append(row) or True)

    def serve(number: int) -> None:
        for row in rows[number::WORKERS]:
            execution.run(row.pk)

    at_once(WORKERS, serve)
    while sent:
        execution.run(sent.pop().pk)
    assert max(seen) <= LIMIT
    assert Counter(Invocation.objects.values_list("status", flat=True)) == {"success": len(rows)}
    assert sorted(effects(trace), key=int) == [str(number) for number in range(len(rows))]


def test_a_limit_that_is_set_while_calls_are_claimed_holds_for_those_after_it(
    waiting: Callable[[int], list[Invocation]],
) -> None:
    rows = waiting(WORKERS)
    tool = Tool.objects.get(name="leave_trace")

    def act(number: int) -> None:
        if number == 0:
            catalogue.set_limits(tool, max_running=1, priority=0, by="test")
            return
        try:
            transitions.claim(rows[number], transitions.now(), is_limited=True)
        except NoPlace:
            return

    at_once(WORKERS, act)
    assert 1 <= Invocation.objects.running().count() <= LIMIT
    with pytest.raises(NoPlace):
        transitions.claim(rows[0], transitions.now(), is_limited=True)
