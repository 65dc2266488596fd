"""Conditions on a call's arguments: when does a person have to look at it?

A condition can be met, not met, or impossible to tell: the field is missing or None, is NaN, or
is of a kind that cannot be compared. Whoever cannot tell asks a person.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import re2
from pydantic import BaseModel

Number = int | float | Decimal


class Operator(StrEnum):
    """How a field is compared with the condition's value."""

    EQUAL = "="
    NOT_EQUAL = "≠"
    OVER = ">"
    AT_LEAST = "≥"
    UNDER = "<"
    AT_MOST = "≤"
    CONTAINS = "contains"
    MATCHES = "matches"
    IN = "in"


NUMERIC = {Operator.OVER, Operator.AT_LEAST, Operator.UNDER, Operator.AT_MOST}

PHRASES = {
    Operator.EQUAL: "{field} matched {value!r}",
    Operator.NOT_EQUAL: "{field} is not {value!r}",
    Operator.OVER: "{field} exceeds {value}",
    Operator.AT_LEAST: "{field} is at least {value}",
    Operator.UNDER: "{field} is below {value}",
    Operator.AT_MOST: "{field} is at most {value}",
    Operator.CONTAINS: "{field} contains {value!r}",
    Operator.MATCHES: "{field} matches the pattern {value!r}",
    Operator.IN: "{field} is one of {value}",
}

_REGEX_OPTIONS = re2.Options()
_REGEX_OPTIONS.log_errors = False


class Incomparable(Exception):
    """The field's value cannot be compared with the condition's."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of one field; `value` has been checked by `fault` before it is used."""

    field: str
    operator: Operator
    value: Any

    def reason(self, arguments: Mapping[str, Any]) -> str | None:
        """Why these arguments need a person, or None when they don't."""
        try:
            return self.why_met(arguments)
        except Incomparable as unclear:
            return str(unclear)

    def why_met(self, arguments: Mapping[str, Any]) -> str | None:
        """How the condition is met, or None when it isn't; Incomparable if nobody can tell."""
        try:
            met = self._met(_plain(_value(arguments, self.field)))
        except (Incomparable, ArithmeticError):  # Decimal's signalling NaN raises when compared.
            raise Incomparable(f"{self.field} cannot be compared") from None
        return self.phrase if met else None

    @property
    def phrase(self) -> str:
        """What it says where it is met: `amount exceeds 500`."""
        value = self.value
        if self.operator is Operator.IN:
            value = ", ".join(map(repr, value))
        return PHRASES[self.operator].format(field=self.field, value=value)

    def fault(self) -> str | None:
        """What is wrong with the condition itself, or None."""
        if self.operator in NUMERIC and not _is_number(self.value):
            return f"{self.field}: the threshold {self.value!r} is not a finite number"
        if self.operator is Operator.IN and not (
            self.value and isinstance(self.value, list | tuple)
        ):
            return f"{self.field}: 'in' takes a list of at least one value"
        if self.operator is Operator.MATCHES and not _compiles(self.value):
            return f"{self.field}: {self.value!r} is not a pattern that can be matched safely"
        return None

    def _met(self, actual: Any) -> bool:
        if self.operator in NUMERIC:
            return _compare_numbers(self.operator, actual, self.value)
        match self.operator:
            case Operator.EQUAL:
                return _equal(actual, self.value)
            case Operator.NOT_EQUAL:
                return not _equal(actual, self.value)
            case Operator.IN:
                # A list, not a generator: what can't be compared must be found in any place.
                return any([_equal(actual, choice) for choice in self.value])  # noqa: C419
            case Operator.CONTAINS:
                return _contains(actual, self.value)
            case _:
                return _matches(actual, self.value)


def _value(arguments: Mapping[str, Any], field: str) -> Any:
    """The argument of this name, or what a dotted name finds inside one: `money.amount`."""
    if field in arguments:
        return arguments[field]
    found: Any = arguments
    for part in field.split("."):
        found = _member(found, part)
    return found


def _member(whole: Any, part: str) -> Any:
    """What the whole has under this name; Incomparable if there is nothing."""
    if isinstance(whole, Mapping) and part in whole:
        return whole[part]
    if isinstance(whole, BaseModel) and part in type(whole).model_fields:
        return getattr(whole, part)
    raise Incomparable


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _is_number(value: Any) -> bool:
    """A finite number; `math.isfinite` fails on integers and decimals beyond a float's range."""
    match value:
        case bool():
            return False
        case int():
            return True
        case float():
            return math.isfinite(value)
        case Decimal():
            return value.is_finite()
        case _:
            return False


def _compare_numbers(operator: Operator, actual: Any, threshold: Number) -> bool:
    if not _is_number(actual):
        raise Incomparable
    left, right = _decimal(actual), _decimal(threshold)
    match operator:
        case Operator.OVER:
            return left > right
        case Operator.AT_LEAST:
            return left >= right
        case Operator.UNDER:
            return left < right
        case _:
            return left <= right


def _decimal(number: Number) -> Decimal:
    """Floats by their shortest text, so that 0.1 the float equals 0.1 the Decimal."""
    return Decimal(str(number)) if isinstance(number, float) else Decimal(number)


def _equal(actual: Any, expected: Any) -> bool:
    if expected is None:
        return actual is None
    if _is_number(actual) and _is_number(expected):
        return _decimal(actual) == _decimal(expected)
    if isinstance(actual, float | Decimal) or isinstance(expected, float | Decimal):
        raise Incomparable  # NaN, an infinity, or a number and something else.
    if isinstance(expected, str) and not isinstance(actual, str):
        actual = _text_of(actual)
    if type(actual) is not type(expected):
        raise Incomparable
    return bool(actual == expected)


_NO_USUAL_TEXT = (
    int, float, Decimal, Mapping, list, tuple, set, frozenset, bytes, datetime, timedelta,
    BaseModel,
)  # fmt: skip
"""Numbers are not text, and what JSON writes otherwise than `str` nobody could name in a rule."""


def _text_of(value: Any) -> str:
    """Dates, UUIDs and the like compare with a string by their usual text; numbers don't."""
    if value is None or isinstance(value, _NO_USUAL_TEXT):
        raise Incomparable
    return str(value)


def _contains(actual: Any, part: Any) -> bool:
    if isinstance(actual, str) and isinstance(part, str):
        return part in actual
    if isinstance(actual, list | tuple | set | frozenset):
        return _is_among(part, actual)
    raise Incomparable


def _is_among(part: Any, items: Iterable[Any]) -> bool:
    """Whether one of the items is the part; Incomparable if none is and some can't be compared."""
    is_clear = True
    for item in items:
        try:
            if _equal(_plain(item), part):
                return True
        except (Incomparable, ArithmeticError):
            is_clear = False
    if not is_clear:
        raise Incomparable
    return False


def _matches(actual: Any, pattern: str) -> bool:
    if not isinstance(actual, str):
        raise Incomparable
    try:
        return re2.search(pattern, actual, options=_REGEX_OPTIONS) is not None
    except UnicodeEncodeError:
        raise Incomparable from None


def _compiles(pattern: Any) -> bool:
    try:
        re2.compile(pattern, options=_REGEX_OPTIONS)
    except (re2.error, TypeError, UnicodeEncodeError):
        return False
    return True
