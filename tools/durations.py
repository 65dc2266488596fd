"""Durations as people write them: `90d`, `24h`, `30m`, `4s`, `0d`."""

import re
from datetime import timedelta

DURATION = re.compile(r"(\d{1,6})([dhms])", re.ASCII)
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def parse_duration(text: str) -> timedelta:
    """The duration; ValueError says how one is written."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90d, 24h, 30m or 4s")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
