"""Waiting for a call to move: woken by Redis where there is one, by looking again elsewhere.

A waiting caller holds one of the server's threads, so only so many may wait (see `places`).
Whoever finds no place is answered at once with what is known.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar
from uuid import UUID

import redis
from django.conf import settings
from redis.client import PubSub

from approvals import places

T = TypeVar("T")

log = logging.getLogger(__name__)

_of_thread = threading.local()

SHORTEST_LOOK = 0.02
LONGEST_LOOK = 0.25
ANSWER_WITHIN = 2.0
"""Seconds that Redis may take to answer."""
LONGEST_SILENCE = 5.0
"""Seconds after which a waiter looks for itself, in case a message was lost."""


def announce(invocation_id: UUID) -> None:
    """Tell whoever waits that the call has moved. A failure costs only time: they look again."""
    if not settings.REDIS_URL:
        return
    try:
        _redis().publish(_channel(invocation_id), b"moved")
    except redis.RedisError:
        log.warning("no announcement of %s: Redis does not answer", invocation_id)


def wait_until(look: Callable[[], T | None], invocation_id: UUID, seconds: float) -> T | None:
    """What `look` finds, looked for until it is there or the time is over; None then."""
    deadline = time.monotonic() + seconds
    if seconds <= 0:
        return look()
    with places.for_waiting() as has_place:
        if not has_place:
            return look()
        for _ in _wake_ups(invocation_id, deadline):
            if (found := look()) is not None:
                return found
    return None


def _wake_ups(invocation_id: UUID, deadline: float) -> Iterator[None]:
    """Yield when it is worth looking, until the deadline, and once more at it."""
    if settings.REDIS_URL:
        try:
            yield from _announcements(invocation_id, deadline)
            return
        except redis.RedisError:
            log.warning("waiting for %s without Redis, which does not answer", invocation_id)
    yield from _looks(deadline)


def _announcements(invocation_id: UUID, deadline: float) -> Iterator[None]:
    with _subscribed(_channel(invocation_id)) as subscription:
        yield  # What moved before the subscription stood is seen now.
        while (left := deadline - time.monotonic()) > 0:
            subscription.get_message(timeout=min(left, LONGEST_SILENCE))
            yield


@contextmanager
def _subscribed(channel: str) -> Iterator[PubSub]:
    """This thread's subscriber, which keeps its connection from one wait to the next."""
    subscriber: PubSub = getattr(_of_thread, "subscriber", None) or _redis().pubsub()  # type: ignore[no-untyped-call]
    _of_thread.subscriber = None
    _subscribe(subscriber, channel)
    works = True
    try:
        yield subscriber
    except redis.RedisError:
        works = False
        raise
    finally:
        if works:
            subscriber.unsubscribe(channel)  # type: ignore[no-untyped-call]
            _of_thread.subscriber = subscriber


def _subscribe(subscriber: PubSub, channel: str) -> None:
    """Return once the subscription stands; what was left of the one before is passed over."""
    subscriber.subscribe(channel)  # type: ignore[no-untyped-call]
    wanted = {"type": "subscribe", "channel": channel.encode()}
    while message := subscriber.get_message(timeout=ANSWER_WITHIN):
        if wanted.items() <= message.items():
            return
    raise redis.TimeoutError


def _looks(deadline: float) -> Iterator[None]:
    yield
    pause = SHORTEST_LOOK
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_LOOK)
        yield


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=2)


def _channel(invocation_id: UUID) -> str:
    return f"rampart:invocation:{invocation_id}"
