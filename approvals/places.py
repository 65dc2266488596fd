"""The server's threads, shared out: a call may hold one for long only while there is a place.

Of a process's threads half may wait for calls to end, and one less may run read-only tools, so
that one is always left for whoever wants to approve something, or to throw the kill switch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from django.conf import settings

PATIENCE = 1.0
"""Seconds that a read-only call waits for a place before it goes to the workers instead."""


@contextmanager
def for_waiting() -> Iterator[bool]:
    """A place to wait for another process; whether there is one now."""
    with _held(_waiting(), 0.0) as has_place:
        yield has_place


@contextmanager
def for_running() -> Iterator[bool]:
    """A place to run a read-only tool; whether there is one within a second."""
    with _held(_running(), PATIENCE) as has_place:
        yield has_place


@contextmanager
def _held(places: BoundedSemaphore, patience: float) -> Iterator[bool]:
    got = places.acquire(timeout=patience) if patience else places.acquire(blocking=False)
    try:
        yield got
    finally:
        if got:
            places.release()


@cache
def _waiting() -> BoundedSemaphore:
    return BoundedSemaphore(settings.RAMPART_WEB_THREADS // 2)


@cache
def _running() -> BoundedSemaphore:
    return BoundedSemaphore(max(1, settings.RAMPART_WEB_THREADS // 2 - 1))
