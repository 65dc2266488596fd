"""Counting calls, atomically, and refusing when they can't be counted.

With Redis, `limits` keeps a moving window in one Lua script. Without it, the calls of a bucket
stand in one row, which is locked while it is read and written. Both are exact: in no window of
the limit's length do more than its count pass. If the store fails, LimiterUnavailable is raised
and the caller is refused: a limit that can't be checked is reached.
"""

import hashlib
import math
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import limits.errors
import redis.exceptions
from django.conf import settings
from django.db import DatabaseError, transaction
from limits import RateLimitItemPerSecond
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from audit.models import local_now
from tools.errors import LimiterUnavailable
from tools.limits import LimitScope, RateLimit
from tools.models import RateWindow


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The limit that a call has reached, and when the next one may pass, in whole seconds."""

    limit: RateLimit
    retry_after: int


def bucket_of(limit: RateLimit, *, tool: str, actor: str, lineage: str) -> str:
    """Whose calls are counted together under this limit."""
    match limit.scope:
        case LimitScope.USER | LimitScope.ACTOR:
            return f"actor:{tool}:{actor}"
        case LimitScope.KEY:
            return f"key:{lineage}"
        case LimitScope.TOOL:
            return f"tool:{tool}"
        case LimitScope.GLOBAL:
            return "global"


def take(limit: RateLimit, bucket: str) -> Exceeded | None:
    """Count one call, or say why it may not pass. A refused call is not counted."""
    where = _short(f"{bucket}:{limit.count}/{limit.seconds}")
    retry_at = (
        _take_from_redis(limit, where) if settings.REDIS_URL else _take_from_row(limit, where)
    )
    if retry_at is None:
        return None
    return Exceeded(limit, max(1, math.ceil(retry_at - time.time())))


def _short(bucket: str) -> str:
    """The bucket's name if it fits its column, else a digest of it."""
    return bucket if len(bucket) <= 300 else hashlib.sha256(bucket.encode()).hexdigest()


@cache
def _redis_limiter() -> MovingWindowRateLimiter:
    storage = storage_from_string(
        settings.REDIS_URL, key_prefix="rampart", socket_timeout=2, socket_connect_timeout=1
    )
    return MovingWindowRateLimiter(storage)


def _take_from_redis(limit: RateLimit, where: str) -> float | None:
    item = RateLimitItemPerSecond(limit.count, limit.seconds)
    try:
        if _redis_limiter().hit(item, where):
            return None
        return _redis_limiter().get_window_stats(item, where).reset_time
    except (redis.exceptions.RedisError, limits.errors.StorageError, OSError) as error:
        raise LimiterUnavailable from error


def _take_from_row(limit: RateLimit, where: str) -> float | None:
    try:
        with transaction.atomic():
            RateWindow.objects.bulk_create(
                [RateWindow(bucket=where, expires_at=local_now())], ignore_conflicts=True
            )
            return _take_locked(limit, where)
    except DatabaseError as error:
        raise LimiterUnavailable from error


def _take_locked(limit: RateLimit, where: str) -> float | None:
    row = RateWindow.objects.select_for_update().get(bucket=where)
    now = time.time()
    recent = [hit for hit in row.hits if hit > now - limit.seconds]
    if len(recent) >= limit.count:
        return float(recent[-limit.count] + limit.seconds)
    row.hits = [*recent, now]
    row.expires_at = local_now() + timedelta(seconds=limit.seconds)
    row.save(update_fields=["hits", "expires_at"])
    return None
