"""Counting calls, atomically, and refusing when they can't be counted.

With Redis, the calls of a bucket stand in a sorted set, which one script reads and writes. Without
it, they stand in one row, which is locked meanwhile. Both are exact: in no window of the limit's
length do more than its count pass, and a call under several limits is counted under all or none.
If the store fails, LimiterUnavailable is raised and the caller is refused: a limit that can't be
checked is reached.
"""

import hashlib
import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import redis
from django.conf import settings
from django.db import DatabaseError, transaction
from redis.connection import ConnectionInterface

from audit.models import local_now
from tools.errors import LimiterUnavailable
from tools.limits import LimitScope, RateLimit
from tools.models import RateWindow

SCRIPT = Path(__file__).with_name("rate_limits.lua").read_text()
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""The name by which Redis knows a script that it has run before."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Calls that are counted together under a limit."""

    limit: RateLimit
    name: str

    @classmethod
    def of(cls, limit: RateLimit, *, tool: str, actor: str, lineage: str) -> "Bucket":
        """The bucket that the limit's scope puts such a call in."""
        match limit.scope:
            case LimitScope.USER | LimitScope.ACTOR:
                return cls(limit, f"actor:{tool}:{actor}")
            case LimitScope.KEY:
                return cls(limit, f"key:{lineage}")
            case LimitScope.TOOL:
                return cls(limit, f"tool:{tool}")
            case LimitScope.GLOBAL:
                return cls(limit, "global")

    @property
    def place(self) -> str:
        """Where it is stored: its name if that fits its column, else a digest of it."""
        name = f"{self.name}:{self.limit.count}/{self.limit.seconds}"
        return name if len(name) <= 300 else hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Standing:
    """How full a bucket is, now that a call has been counted in it or refused."""

    limit: RateLimit
    used: int
    room_in: float
    """Seconds until the first of the calls that count falls out of the window."""

    @property
    def remaining(self) -> int:
        """How many more calls would pass now."""
        return max(0, self.limit.count - self.used)

    @property
    def whole_seconds(self) -> int:
        """`room_in` for a header: at least one."""
        return max(1, math.ceil(self.room_in))


@dataclass(frozen=True, slots=True)
class Count:
    """What came of counting a call: where it stands, and the limit that it has reached, if any."""

    standings: tuple[Standing, ...] = ()
    exceeded: Standing | None = None
    name: bytes | float = b""
    """What the store calls this call, should it be taken back."""


UNCOUNTED = Count()


def count(buckets: Sequence[Bucket]) -> Count:
    """Count one call in all buckets, or in none if one is full."""
    if not buckets:
        return UNCOUNTED
    in_store = _count_in_redis if settings.REDIS_URL else _count_in_rows
    passes, found, name = in_store(buckets)
    standings = [
        Standing(bucket.limit, used, room_in)
        for bucket, (used, room_in) in zip(buckets, found, strict=True)
    ]
    full = [standing for standing in standings if not standing.remaining]
    exceeded = None if passes else max(full, key=lambda standing: standing.room_in)
    return Count(tuple(standings), exceeded, name)


def take_back(buckets: Sequence[Bucket], count: Count) -> None:
    """Uncount a call that something else has refused; a store that fails leaves it counted."""
    if not buckets or count.exceeded:
        return
    with suppress(redis.RedisError, OSError, DatabaseError):
        if settings.REDIS_URL:
            for bucket in buckets:
                _sent(_connection(), "ZREM", _redis_key(bucket), count.name)
        else:
            _take_back_in_rows(buckets, count.name)


Found = tuple[bool, list[tuple[int, float]], bytes | float]
"""Whether the call passes; for each bucket the calls in its window, and seconds until room; and
what the store calls this call."""


# With Redis.

_of_thread = threading.local()


def _count_in_redis(buckets: Sequence[Bucket]) -> Found:
    places, name = [*map(_redis_key, buckets)], os.urandom(9)
    arguments: list[str | bytes | int] = [name]
    for bucket in buckets:
        arguments += bucket.limit.count, bucket.limit.seconds
    try:
        passes, *found = _run_script(len(places), *places, *arguments)
    except (redis.RedisError, OSError) as error:
        raise LimiterUnavailable from error
    pairs = zip(found[::2], found[1::2], strict=True)
    return bool(passes), [(used, microseconds / 1e6) for used, microseconds in pairs], name


def _redis_key(bucket: Bucket) -> str:
    return f"rampart:limit:{bucket.place}"


def _run_script(*arguments: str | bytes | int) -> list[int]:
    """The script's answer, on a connection of this thread's own; a broken one is replaced once.

    The client's own way takes a connection from a pool and asks it whether it lives, which
    takes as long as the script itself.
    """
    try:
        return _answer(_connection(), *arguments)
    except (redis.ConnectionError, OSError):
        _of_thread.connection = None
        return _answer(_connection(), *arguments)


def _connection() -> ConnectionInterface:
    url, connection = getattr(_of_thread, "connection", None) or ("", None)
    if connection is None or url != settings.REDIS_URL:
        pool: redis.ConnectionPool = redis.ConnectionPool.from_url(
            settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=1
        )
        connection = pool.make_connection()
        _of_thread.connection = settings.REDIS_URL, connection
    return connection


def _answer(connection: ConnectionInterface, *arguments: str | bytes | int) -> list[int]:
    try:
        return _sent(connection, "EVALSHA", SCRIPT_SHA, *arguments)
    except redis.exceptions.NoScriptError:
        return _sent(connection, "EVAL", SCRIPT, *arguments)


def _sent(connection: ConnectionInterface, *command: str | bytes | float) -> list[int]:
    connection.send_command(*command)  # type: ignore[no-untyped-call]
    return cast("list[int]", connection.read_response())  # type: ignore[no-untyped-call]


# Without.


def _count_in_rows(buckets: Sequence[Bucket]) -> Found:
    try:
        with transaction.atomic():
            return _count_locked(buckets)
    except DatabaseError as error:
        raise LimiterUnavailable from error


def _count_locked(buckets: Sequence[Bucket]) -> Found:
    if full := _full_already(buckets):
        return full
    places = sorted({bucket.place for bucket in buckets})  # In one order: no two wait crosswise.
    RateWindow.objects.bulk_create(
        [RateWindow(bucket=place, expires_at=local_now()) for place in places],
        ignore_conflicts=True,
    )
    locked = RateWindow.objects.select_for_update().filter(bucket__in=places).order_by("bucket")
    rows = {row.bucket: row for row in locked}
    now = time.time()
    recent = [_recent(rows[bucket.place], bucket.limit, now) for bucket in buckets]
    passes = _all_have_room(buckets, recent)
    if passes:
        for bucket, hits in zip(buckets, recent, strict=True):
            hits.append(now)
            row = rows[bucket.place]
            row.hits, row.expires_at = hits, local_now() + timedelta(seconds=bucket.limit.seconds)
            row.save(update_fields=["hits", "expires_at"])
    return passes, _standings(buckets, recent, now), now


@transaction.atomic
def _take_back_in_rows(buckets: Sequence[Bucket], name: bytes | float) -> None:
    places = [bucket.place for bucket in buckets]
    rows = RateWindow.objects.select_for_update().filter(bucket__in=places).order_by("bucket")
    for row in rows:
        if name in row.hits:
            row.hits.remove(name)
            row.save(update_fields=["hits"])


def forget_old(now: datetime) -> None:
    """Drop what has stopped counting a day ago; later than that nobody can still be locking it."""
    RateWindow.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()


def _full_already(buckets: Sequence[Bucket]) -> Found | None:
    """The answer, if one is full as it stands: then nothing is written and nobody waits."""
    rows = RateWindow.objects.in_bulk([bucket.place for bucket in buckets])
    now = time.time()
    recent = [
        _recent(rows[bucket.place], bucket.limit, now) if bucket.place in rows else []
        for bucket in buckets
    ]
    if _all_have_room(buckets, recent):
        return None
    return False, _standings(buckets, recent, now), now


def _all_have_room(buckets: Sequence[Bucket], recent: list[list[float]]) -> bool:
    return all(len(hits) < bucket.limit.count for bucket, hits in zip(buckets, recent, strict=True))


def _standings(
    buckets: Sequence[Bucket], recent: list[list[float]], now: float
) -> list[tuple[int, float]]:
    return [
        (len(hits), _room_in(hits, bucket.limit, now))
        for bucket, hits in zip(buckets, recent, strict=True)
    ]


def _recent(row: RateWindow, limit: RateLimit, now: float) -> list[float]:
    return [hit for hit in row.hits if hit > now - limit.seconds]


def _room_in(hits: list[float], limit: RateLimit, now: float) -> float:
    return hits[max(0, len(hits) - limit.count)] + limit.seconds - now if hits else 0.0
