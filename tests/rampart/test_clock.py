"""Upkeep goes on beside beat, whatever happens in one round."""

import threading

import pytest
from django.db import OperationalError
from pytest import MonkeyPatch

from rampart import clock


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [OperationalError("gone"), RuntimeError("a bug")])
def test_a_round_that_fails_does_not_end_the_clock(
    monkeypatch: MonkeyPatch, fault: Exception
) -> None:
    rounds, stop = iter([fault, None, None]), threading.Event()

    def upkeep() -> None:
        error = next(rounds, StopIteration)
        if error is StopIteration:
            stop.set()
        elif error is not None:
            raise error  # type: ignore[misc]

    monkeypatch.setattr(clock, "upkeep", upkeep)
    monkeypatch.setattr(clock, "close_old_connections", lambda: None)
    monkeypatch.setattr(clock, "SECONDS_BETWEEN_ROUNDS", 0.001)
    clock.run(stop)
    assert next(rounds, None) is None
