"""Scopes, conditions, limits and durations: what each is written like, and what it then means."""

import re
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.conditions import Condition, Operator
from tools.durations import parse_duration
from tools.limits import LimitScope, RateLimit
from tools.scopes import allows

# Scopes: exact, `*`, and `prefix.*`, which grants the prefix too.

SCOPES = st.lists(st.sampled_from(["a", "A", "ab", "b", "*", ""]), min_size=1, max_size=4).map(
    ".".join
) | st.text("a.*", max_size=6)


def covers(held: str, needed: str) -> bool:
    """The rule as a pattern of the scopes that it grants."""
    if held == "*":
        return True
    if held.endswith(".*"):
        return re.fullmatch(re.escape(held[:-2]) + r"(\..*)?", needed) is not None
    return held == needed


@pytest.mark.feature("I7")
@given(held=st.lists(SCOPES, max_size=4), needed=SCOPES | st.none())
def test_scopes_cover_what_the_rule_says(held: list[str], needed: str | None) -> None:
    expected = needed is None or any(covers(one, needed) or one == needed for one in held)
    assert allows(held, needed) is expected


@pytest.mark.feature("I7")
@given(held=st.lists(SCOPES, max_size=3), more=SCOPES, needed=SCOPES)
def test_another_scope_never_takes_anything_away(held: list[str], more: str, needed: str) -> None:
    assert allows([*held, more], needed) >= allows(held, needed)


# Conditions: met, not met, or impossible to tell, and then a person looks.

NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(), st.floats(), st.decimals(allow_nan=True), st.booleans(),
    st.sampled_from([0.1, Decimal("0.1"), 10**400, Decimal("1e400"), -0.0, 5.0, Decimal("5.00")]),
)  # fmt: skip
WORDS = st.text("ab", max_size=3)
VALUES = st.one_of(
    NUMBERS, WORDS, st.none(), st.lists(WORDS | st.integers(0, 3), max_size=3),
    st.dictionaries(WORDS, WORDS, max_size=1),
)  # fmt: skip
ORDERS = {
    Operator.OVER: (False, False, True), Operator.AT_LEAST: (False, True, True),
    Operator.UNDER: (True, False, False), Operator.AT_MOST: (True, True, False),
}  # fmt: skip
"""Whether the operator holds below, at and above its threshold."""


def number(value: Any) -> Fraction | None:
    """Exactly the number that is written; flags, texts, NaN and infinities are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    written = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return Fraction(written) if written.is_finite() else None


def answer(operator: Operator, value: Any, actual: Any) -> bool | None:
    """Whether a condition says that a person is needed; None: it cannot tell, so one is."""
    condition = Condition("x", operator, value)
    assert condition.fault() is None
    reason = condition.reason({"x": actual})
    return None if reason == "x cannot be compared" else reason is not None


@pytest.mark.feature("P2")
@given(operator=st.sampled_from(sorted(ORDERS)), value=NUMBERS, actual=VALUES)
def test_numbers_are_compared_by_what_they_are_and_nothing_else_is(
    operator: Operator, value: Any, actual: Any
) -> None:
    threshold, given = number(value), number(actual)
    if threshold is None:
        assert Condition("x", operator, value).fault() is not None
    elif given is None:
        assert answer(operator, value, actual) is None
    else:
        below, at, above = ORDERS[operator]
        expected = below if given < threshold else at if given == threshold else above
        assert answer(operator, value, actual) is expected


@pytest.mark.feature("P2")
@given(value=VALUES, actual=VALUES)
def test_equal_and_unequal_are_opposites_or_neither_can_tell(value: Any, actual: Any) -> None:
    equal = answer(Operator.EQUAL, value, actual)
    unequal = answer(Operator.NOT_EQUAL, value, actual)
    assert (equal is None) == (unequal is None) == (answer(Operator.IN, [value], actual) is None)
    assert equal is None or equal is not unequal
    assert answer(Operator.IN, [value], actual) is equal


@pytest.mark.feature("P2")
@given(value=NUMBERS | WORDS, actual=VALUES)
def test_equality_is_of_number_with_number_and_word_with_word(value: Any, actual: Any) -> None:
    found = answer(Operator.EQUAL, value, actual)
    if number(value) is not None and number(actual) is not None:
        assert found is (number(value) == number(actual))
    elif isinstance(value, str) and isinstance(actual, str):
        assert found is (value == actual)
    elif isinstance(value, bool) and isinstance(actual, bool):
        assert found is (value is actual)
    else:
        assert found is None


@pytest.mark.feature("P2")
@given(choices=st.lists(WORDS, min_size=1, max_size=4), actual=WORDS)
def test_in_is_equality_with_one_of_them(choices: list[str], actual: str) -> None:
    assert answer(Operator.IN, choices, actual) is any(one == actual for one in choices)


@pytest.mark.feature("P2")
@given(part=WORDS, actual=VALUES)
def test_a_text_or_a_list_contains_a_word_or_not(part: str, actual: Any) -> None:
    found = answer(Operator.CONTAINS, part, actual)
    if isinstance(actual, str):
        assert found is (part in actual)
    elif isinstance(actual, list) and part not in actual:
        assert found is (False if all(isinstance(item, str) for item in actual) else None)
    else:
        assert found is (True if isinstance(actual, list) else None)


PATTERNS = st.text("ab.*^$|", max_size=5) | st.sampled_from(["(", "(a)\\1", "(?=a)", "[b-a]"])


@pytest.mark.feature("P2")
@given(pattern=PATTERNS, actual=VALUES)
def test_patterns_that_python_has_too_match_as_there(pattern: str, actual: Any) -> None:
    if Condition("x", Operator.MATCHES, pattern).fault() is not None:
        return
    found = answer(Operator.MATCHES, pattern, actual)
    if not isinstance(actual, str):
        assert found is None
        return
    with suppress(re.error):  # `a**` is a pattern for RE2 only.
        assert found is (re.search(pattern, actual) is not None)


@pytest.mark.feature("P2")
@given(operator=st.sampled_from(Operator), value=VALUES)
def test_what_is_not_there_asks_a_person(operator: Operator, value: Any) -> None:
    condition = Condition("x", operator, value)
    if condition.fault() is None:
        said = condition.reason({"y": value})
        told = None not in (value, *value) if isinstance(value, list) else value is not None
        assert said or not told


# Rate limits, `count/window/scope`.

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
LONGEST = 366 * 86400


@pytest.mark.feature("P4")
@given(
    count=st.integers(0, 10**6), times=st.none() | st.integers(0, 10**8),
    unit=st.sampled_from(sorted(UNITS)), plural=st.booleans(), scope=st.sampled_from(LimitScope),
)  # fmt: skip
def test_a_limit_means_what_it_says_or_is_refused(
    count: int, times: int | None, unit: str, plural: bool, scope: LimitScope
) -> None:
    window = f"{'' if times is None else f'{times} '}{unit}{'s' * plural}"
    text = f"{count}/{window}/{scope}"
    seconds = (1 if times is None else times) * UNITS[unit]
    if count < 1 or not 1 <= seconds <= LONGEST:
        with pytest.raises(ValueError, match="rate limit"):
            RateLimit.parse(text)
    else:
        limit = RateLimit.parse(text)
        assert (limit.count, limit.seconds, limit.scope) == (count, seconds, scope)
        assert RateLimit.parse(limit.text) == limit


LIMIT = re.compile(
    r"0*[1-9][0-9]*/([0-9]+ )?(second|minute|hour|day)s?/(user|actor|key|tool|global)"
)


@pytest.mark.feature("P4")
@given(text=st.text("15/ minutesoracky٣\n", max_size=16) | st.text(max_size=16) | st.none())
def test_whatever_else_is_written_is_no_limit(text: Any) -> None:
    try:
        limit = RateLimit.parse(text)
    except ValueError:
        return
    assert LIMIT.fullmatch(text) and limit.count >= 1 and 1 <= limit.seconds <= LONGEST


# Durations, a number and a unit.


@pytest.mark.feature("I2")
@given(amount=st.integers(0, 999_999), unit=st.sampled_from("dhms"))
def test_a_duration_is_as_long_as_it_says(amount: int, unit: str) -> None:
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit] * amount
    assert parse_duration(f"{amount}{unit}") == timedelta(seconds=seconds)


@pytest.mark.feature("I2")
@given(text=st.from_regex(r"\A\s*[+-]?\w{0,9}[dhmsDw ]?\s*\Z") | st.text("0d h-.٣\n", max_size=9))
def test_whatever_else_is_written_is_no_duration(text: str) -> None:
    is_one = re.fullmatch("[0-9]{1,6}[dhms]", text) is not None
    try:
        parse_duration(text)
    except ValueError:
        assert not is_one
    else:
        assert is_one
