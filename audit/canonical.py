"""Canonical JSON (RFC 8785): one value, one sequence of bytes, on every machine.

Digests are taken over these bytes. RFC 8785 covers only what every JSON reader can hold, so
two forms of the same value are made here first: `recordable`, to be read by people, and
`exact`, to be compared; the second keeps apart what the first may write alike.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import rfc8785

JSON = Any
"""None, bool, int, float, str, or lists and string-keyed dicts of these."""

LARGEST_EXACT_INTEGER = 2**53 - 1
TAG = "\x00"
DEEPEST_RECORDED = 100
"""Levels of nesting that the ledger keeps; deeper values are only said to be there."""
PLAIN_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
)
NEEDS_RFC_8785 = re.compile(r'(?:^|":|[\[,])(?:-?\d+(?:[.eE]|\d{15})|-?[NI])')
"""A float, a number too large for one, or NaN and infinities, which have no canonical text."""
SURROGATE = re.compile("[\ud800-\udfff]")


def canonical_text(value: JSON) -> str:
    """The canonical text of a value that `recordable` or `exact` has made.

    Python's own encoder writes the same text, and much sooner, unless there are numbers with a
    fraction (which RFC 8785 writes like ECMAScript) or characters beyond ASCII (it sorts UTF-16).
    """
    text = PLAIN_ENCODER.encode(value)
    if text.isascii() and not NEEDS_RFC_8785.search(text):
        return text
    return rfc8785.dumps(value).decode()


def is_recorded_as(value: JSON, recorded: JSON) -> bool:
    """Whether what was recorded for the JSON value reads back as that value, digit for digit."""
    return canonical_text(recorded) == PLAIN_ENCODER.encode(value)


def short_digest(value: JSON) -> str:
    """Half a SHA-256 of a JSON value: to tell definitions apart, not to hide what they hold."""
    return hashlib.sha256(canonical_text(exact(value)).encode()).hexdigest()[:32]


def value_of(text: str) -> JSON:
    """The value of a canonical text. An integer beyond 2**53 - 1 can only have been a float."""
    return json.loads(text, parse_int=_integer)


def recordable(value: Any, depth: int = 0) -> JSON:
    """The value as the ledger keeps it: any Python value becomes plain, storable JSON.

    NUL and lone surrogates can be stored by no database and are shown as U+2400 and U+FFFD;
    integers beyond 2**53 - 1, decimals and non-finite floats are written as strings. Nothing
    that a tool may come up with makes it fail.
    """
    if depth > DEEPEST_RECORDED:
        return "[nested too deeply]"
    match value:
        case None | bool():
            return value
        case str():
            return storable_text(value)
        case int():
            return int(value) if abs(value) <= LARGEST_EXACT_INTEGER else _digits(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case dict() | Mapping():
            return {_shown(key, str): recordable(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [recordable(item, depth + 1) for item in value]
        case datetime():
            return rfc3339(value)
        case Decimal() | UUID() | date() | time():
            return str(value)
        case _:
            return _shown(value, repr)


def exact(value: JSON) -> JSON:
    """The JSON value with large integers tagged, so that no two actions share a digest.

    Raises ValueError on NaN, infinities and anything that is not JSON.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= LARGEST_EXACT_INTEGER else {f"{TAG}int": str(value)}
        case float() if math.isfinite(value):
            return value
        case list():
            return [exact(item) for item in value]
        case dict():
            return {_escaped(key): exact(item) for key, item in value.items()}
        case _:
            raise ValueError(f"a {type(value).__name__} of this value has no canonical form")


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    try:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:
        return moment.isoformat()  # The first or last day of all: it has no form in UTC.
    return f"{moment.isoformat(timespec='microseconds')}Z"


def storable_text(text: str) -> str:
    """The text without what PostgreSQL and SQLite cannot store."""
    if text.isascii() and "\x00" not in text:
        return text
    return SURROGATE.sub("\ufffd", text.replace("\x00", "\u2400"))


def _shown(value: Any, show: Callable[[Any], str]) -> str:
    """What Python shows for a value; its class where it can't even show itself."""
    try:
        return storable_text(show(value))
    except Exception:
        return f"[{type(value).__name__}]"


def _digits(number: int) -> str:
    """In hex where Python refuses decimal digits, above 4300 of them."""
    try:
        return str(number)
    except ValueError:
        return hex(number)


def _integer(text: str) -> int | float:
    number = int(text)
    return number if abs(number) <= LARGEST_EXACT_INTEGER else float(number)


def _escaped(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a key that is a {type(key).__name__} has no canonical form")
    return TAG + key if key.startswith(TAG) else key
