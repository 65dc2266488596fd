"""What beat's process does goes on, whatever happens in one round, and each kind on its own."""

import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, connections, transaction
from pytest import LogCaptureFixture, MonkeyPatch

from approvals import upkeep
from audit.models import Checkpoint, Unsealed
from audit.sealing import hold_tree, the_tree
from rampart import clock
from rampart.clock import CLOCKS, Clock, seal_what_is_new
from tests.audit.whole_tree import assert_all_is_sealed_once, tell
from tests.conftest import at_once


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: MonkeyPatch) -> None:
    """A test's connection is not the clock's to close."""
    monkeypatch.setattr(clock, "close_old_connections", lambda: None)


def a_clock(*rounds: Exception | None) -> tuple[Clock, threading.Event, list[Exception | None]]:
    """A clock that does this in its rounds, one after the other, and is then to stop."""
    stop, left = threading.Event(), list(rounds)

    def act() -> None:
        error = left.pop(0)
        if not left:
            stop.set()
        if error is not None:
            raise error

    return Clock("thing", 0.001, act), stop, left


@pytest.mark.parametrize("fault", [OperationalError("gone"), RuntimeError("a bug")])
def test_a_round_that_fails_does_not_end_the_clock(fault: Exception) -> None:
    clock, stop, left = a_clock(fault, None, fault, None)
    clock.run(stop)
    assert left == []


def test_a_database_that_is_away_is_one_line_without_a_traceback(caplog: LogCaptureFixture) -> None:
    clock, stop, _ = a_clock(OperationalError("server closed the connection\nand so on"))
    clock.run(stop)
    (line,) = caplog.records
    assert line.getMessage() == "thing waits for the database: OperationalError"
    assert line.exc_info is None


def test_a_fault_of_ours_is_logged_with_its_traceback(caplog: LogCaptureFixture) -> None:
    clock, stop, _ = a_clock(RuntimeError("a bug"))
    clock.run(stop)
    (line,) = caplog.records
    assert (line.getMessage(), line.levelname) == ("thing failed", "ERROR") and line.exc_info


def test_a_clock_that_hangs_keeps_no_other_waiting(monkeypatch: MonkeyPatch) -> None:
    hangs, goes_on, did_not_wait, stop = (threading.Event() for _ in range(4))

    def hang() -> None:
        hangs.set()
        if goes_on.wait(10):
            did_not_wait.set()

    def go_on() -> None:
        if hangs.is_set():
            goes_on.set()

    monkeypatch.setattr(
        clock, "CLOCKS", [Clock("hangs", 0.001, hang), Clock("goes on", 0.001, go_on)]
    )
    clock.start(stop=stop)
    try:
        assert did_not_wait.wait(15)
    finally:
        stop.set()


def test_beat_keeps_up_and_seals() -> None:
    assert {(one.name, one.seconds) for one in CLOCKS} >= {("upkeep", 2.0), ("sealing", 1.0)}


# Sealing.


@pytest.mark.feature("U2")
@pytest.mark.django_db
def test_a_round_seals_what_is_new_and_signs_when_it_is_due() -> None:
    tell(3)
    seal_what_is_new()
    assert assert_all_is_sealed_once() == 4
    tell()
    seal_what_is_new()
    assert (assert_all_is_sealed_once(), Checkpoint.objects.count()) == (5, 1)


@pytest.mark.feature("U2")
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_round_that_finds_another_sealer_leaves_it_to_that(caplog: LogCaptureFixture) -> None:
    tell()
    the_tree()
    with transaction.atomic():
        hold_tree()
        at_once(1, lambda _: Clock("sealing", 1.0, seal_what_is_new).tick())
    assert Unsealed.objects.exists()
    assert caplog.records == []


# Upkeep.

STEPS = ("expire_due", "send_unsent", "settle_lost", "void_ruled_otherwise")


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.django_db
@pytest.mark.parametrize("failing_step", STEPS)
def test_a_step_of_upkeep_that_fails_keeps_no_other_waiting(
    monkeypatch: MonkeyPatch, failing_step: str
) -> None:
    done = []
    for step in STEPS:
        monkeypatch.setattr(upkeep, step, lambda *_, step=step: done.append(step))
    monkeypatch.setattr(upkeep, failing_step, failing(RuntimeError("a bug")))
    monkeypatch.setattr(upkeep.deliver, "catch_up", lambda _: done.append("catch_up"))
    with pytest.raises(ExceptionGroup, match="upkeep") as failed:
        upkeep.upkeep()
    assert [str(error) for error in failed.value.exceptions] == ["a bug"]
    assert done == [step for step in (*STEPS, "catch_up") if step != failing_step]


@pytest.mark.django_db
def test_what_the_database_refuses_one_step_is_raised_after_the_others(
    monkeypatch: MonkeyPatch,
) -> None:
    done = []
    monkeypatch.setattr(upkeep, "expire_due", failing(OperationalError("deadlock")))
    monkeypatch.setattr(upkeep.deliver, "catch_up", lambda _: done.append("catch_up"))
    with pytest.raises(OperationalError, match="deadlock"):
        upkeep.upkeep()
    assert done == ["catch_up"]


@pytest.mark.django_db
def test_a_database_that_cannot_be_reached_is_tried_once_a_round(monkeypatch: MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(upkeep, "expire_due", failing(OperationalError("no route to host")))
    monkeypatch.setattr(upkeep, "send_unsent", done.append)
    with monkeypatch.context() as away:
        away.setattr(connections["default"], "connection", None)
        away.setattr(upkeep.transitions, "now", lambda: None)
        with pytest.raises(OperationalError, match="no route"):
            upkeep.upkeep()
    assert done == []
