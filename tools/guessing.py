"""Refused credentials are counted, so that guessing and flooding end.

Guesses, where a secret was wrong or unknown, are counted per address and per visible start of a
key; other refusals per address, more generously. Only what was refused is counted, and only what
would be refused is turned away: a right key is let in, however often others have guessed.
"""

from datetime import timedelta
from math import ceil

from django.conf import settings

from tools import rate_limits
from tools.addresses import neighbourhood
from tools.errors import LimiterUnavailable
from tools.limits import LimitScope, RateLimit
from tools.rate_limits import Bucket

WINDOW = timedelta(minutes=1)
GUESSES = {"invalid_credentials"}
"""The refusals by which a guesser would learn something."""


def seconds_to_wait(code: str, address: str, prefix: str) -> int | None:
    """Count a refusal; None while there may be more, else the seconds until there may.

    A count that can't be taken turns nobody away: the credentials are refused as they are.
    """
    try:
        count = rate_limits.count(_buckets(code, _place(address), prefix))
    except LimiterUnavailable:
        return None
    return None if count.exceeded is None else max(1, ceil(count.exceeded.room_in))


def is_first_told(address: str) -> bool:
    """Whether nobody was told within the window that this address is turned away."""
    once = Bucket(_limit(1), f"refused:told:{_place(address)}")
    try:
        return rate_limits.count([once]).exceeded is None
    except LimiterUnavailable:
        return False


def may_try_slowly(address: str) -> bool:
    """Whether the address may make us compute another slow hash; not if that can't be counted."""
    tries = Bucket(_limit(settings.RAMPART_GUESSES_PER_MINUTE), f"slow:{_place(address)}")
    try:
        return rate_limits.count([tries]).exceeded is None
    except LimiterUnavailable:
        return False


def _buckets(code: str, place: str, prefix: str) -> list[Bucket]:
    refusals = _limit(settings.RAMPART_REFUSALS_PER_MINUTE)
    if prefix and code not in GUESSES:  # The secret was right: nobody else can fill this.
        return [Bucket(refusals, f"refused:key:{prefix}")]
    buckets = [Bucket(refusals, f"refused:address:{place}")]
    if code in GUESSES:
        guesses = _limit(settings.RAMPART_GUESSES_PER_MINUTE)
        buckets.append(Bucket(guesses, f"guess:address:{place}"))
        if prefix:
            buckets.append(Bucket(guesses, f"guess:prefix:{prefix}"))
    return buckets


def _place(address: str) -> str:
    return neighbourhood(address) or "unknown"


def _limit(count: int) -> RateLimit:
    return RateLimit(count, int(WINDOW.total_seconds()), LimitScope.GLOBAL, f"{count}/minute")
