"""JSON that all readers would read alike, or none of it."""

import json
import math
from typing import Any, NoReturn

DEEPEST = 64
"""Arrays and objects within each other that a call may have."""


def is_deeper(value: Any, most: int) -> bool:
    """Whether there are more arrays and objects within each other than that."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return most <= 0 or any(is_deeper(item, most - 1) for item in items)


def parse(text: str) -> Any:
    """The JSON value that this is, else ValueError, or RecursionError where it is too deep.

    A name that comes twice, NaN, infinities and numbers too large for a float are refused.
    """
    return json.loads(
        text,
        parse_constant=_refuse,
        parse_float=_finite,
        object_pairs_hook=_each_name_once,
    )


def json_object(data: bytes) -> dict[str, object]:
    """The JSON object in UTF-8 that this is, else ValueError."""
    try:
        value = parse(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return members
