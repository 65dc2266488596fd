"""When does a person have to look? Whoever cannot tell asks one."""

import math
import uuid
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.conditions import NUMERIC, Condition, Operator

NOTHING: Any = object()
VALUES: dict[Operator, Any] = {
    Operator.EQUAL: 5,
    Operator.NOT_EQUAL: 5,
    Operator.OVER: 5,
    Operator.AT_LEAST: 5,
    Operator.UNDER: 5,
    Operator.AT_MOST: 5,
    Operator.CONTAINS: "a",
    Operator.MATCHES: "^a",
    Operator.IN: [5, 6],
}


class Colour(Enum):
    """A word with a value behind it."""

    RED = "red"


def reason(operator: Operator, value: Any, actual: Any = NOTHING) -> str | None:
    """What a condition on `x` says of an argument."""
    return Condition("x", operator, value).reason({} if actual is NOTHING else {"x": actual})


CANNOT = "x cannot be compared"


@pytest.mark.feature("P2")
@pytest.mark.parametrize("operator", Operator)
@pytest.mark.parametrize(
    "actual",
    [
        pytest.param(NOTHING, id="missing"),
        pytest.param(None, id="None"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param(Decimal("NaN"), id="Decimal NaN"),
        pytest.param(Decimal("sNaN"), id="signalling NaN"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param({"a": 1}, id="an object"),
        pytest.param(True, id="a flag"),
    ],
)
def test_what_cannot_be_compared_asks_a_person(operator: Operator, actual: Any) -> None:
    assert reason(operator, VALUES[operator], actual) == CANNOT


@pytest.mark.feature("P2", "T15")
@pytest.mark.parametrize("operator", [Operator.EQUAL, Operator.NOT_EQUAL, Operator.IN])
@pytest.mark.parametrize("value", [5.0, Decimal(5), float("nan"), Decimal("NaN")])
@pytest.mark.parametrize("actual", [float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN")])
def test_nan_is_neither_equal_nor_unequal(operator: Operator, value: Any, actual: Any) -> None:
    assert reason(operator, [value] if operator is Operator.IN else value, actual) == CANNOT


@pytest.mark.feature("P2")
def test_a_signalling_nan_within_a_list_asks_a_person() -> None:
    nan = Decimal("sNaN")
    assert reason(Operator.EQUAL, [Decimal(1)], [nan]) == CANNOT
    assert reason(Operator.CONTAINS, Decimal(1), [nan]) == CANNOT


@pytest.mark.feature("P2")
@pytest.mark.parametrize("operator", sorted(NUMERIC | {Operator.EQUAL, Operator.NOT_EQUAL}))
@pytest.mark.parametrize("actual", ["1", "5", "1e3", "", "٣"])
def test_a_number_in_quotes_is_no_number(operator: Operator, actual: str) -> None:
    assert reason(operator, 5, actual) == CANNOT


@pytest.mark.feature("P2")
@pytest.mark.parametrize("number", [int, float, Decimal])
@pytest.mark.parametrize(
    ("operator", "held", "free"),
    [
        (Operator.OVER, (6, 7), (5, 4)),
        (Operator.AT_LEAST, (5, 6), (4, -9)),
        (Operator.UNDER, (4, -9), (5, 6)),
        (Operator.AT_MOST, (5, 4), (6, 7)),
        (Operator.EQUAL, (5, 5), (4, 6)),
        (Operator.NOT_EQUAL, (4, 6), (5, 5)),
        (Operator.IN, (5, 5), (4, 6)),
    ],
)
def test_numbers_compare_by_value_whatever_their_type(
    operator: Operator, held: tuple[int, int], free: tuple[int, int], number: Callable[[int], Any]
) -> None:
    value = [5] if operator is Operator.IN else 5
    assert all(reason(operator, value, number(actual)) for actual in held)
    assert not any(reason(operator, value, number(actual)) for actual in free)


@pytest.mark.feature("P2")
def test_a_decimal_and_a_float_of_one_text_are_equal() -> None:
    assert reason(Operator.OVER, 0.1, Decimal("0.1")) is None
    assert reason(Operator.OVER, Decimal("0.1"), 0.1) is None
    assert reason(Operator.EQUAL, 0.1, Decimal("0.1")) == "x matched 0.1"


@pytest.mark.feature("P2")
@pytest.mark.parametrize("actual", [10**400, Decimal("1e400"), Decimal(10) ** 5000])
def test_numbers_beyond_a_floats_range_still_compare(actual: Any) -> None:
    assert reason(Operator.OVER, 100, actual) == "x exceeds 100"
    assert reason(Operator.UNDER, 100, actual) is None
    assert Condition("x", Operator.OVER, actual).fault() is None


@pytest.mark.feature("P2")
@pytest.mark.parametrize(
    ("operator", "value", "actual", "held"),
    [
        (Operator.EQUAL, "USD", "USD", True),
        (Operator.EQUAL, "USD", "usd", False),
        (Operator.EQUAL, True, True, True),
        (Operator.EQUAL, True, False, False),
        (Operator.EQUAL, None, None, True),
        (Operator.EQUAL, None, 0, False),
        (Operator.EQUAL, "red", Colour.RED, True),
        (Operator.EQUAL, "2026-01-31", date(2026, 1, 31), True),
        (Operator.EQUAL, str(uuid.UUID(int=1)), uuid.UUID(int=1), True),
        (Operator.NOT_EQUAL, "USD", "EUR", True),
        (Operator.NOT_EQUAL, "USD", "USD", False),
        (Operator.CONTAINS, "prod", "in production", True),
        (Operator.CONTAINS, "prod", "in tests", False),
        (Operator.CONTAINS, "a", ["a", "b"], True),
        (Operator.CONTAINS, "a", {"b"}, False),
        (Operator.CONTAINS, 5, ["a", 5.0], True),
        (Operator.MATCHES, r"^DROP\b", "DROP TABLE", True),
        (Operator.MATCHES, r"^DROP\b", "drop", False),
        (Operator.IN, ["USD", "CHF"], "CHF", True),
        (Operator.IN, ["USD", "CHF"], "EUR", False),
    ],
)
def test_words_flags_and_lists_compare_as_they_read(
    operator: Operator, value: Any, actual: Any, held: bool
) -> None:
    found = reason(operator, value, actual)
    assert bool(found) is held and found != CANNOT


@pytest.mark.feature("P2")
@pytest.mark.parametrize(
    ("operator", "value", "actual"),
    [
        (Operator.EQUAL, "5", 5),
        (Operator.EQUAL, 1, True),
        (Operator.EQUAL, True, 1),
        (Operator.EQUAL, [1], (1,)),
        (Operator.CONTAINS, 5, "5"),
        (Operator.CONTAINS, "a", 5),
        (Operator.CONTAINS, ["a"], {"b"}),
        (Operator.CONTAINS, 1, [True]),
        (Operator.CONTAINS, 5, [float("nan")]),
        (Operator.CONTAINS, "a", ["b", None]),
        (Operator.MATCHES, "5", 5),
        (Operator.MATCHES, "a", "\ud800"),
        (Operator.IN, ["EUR", 5], "EUR"),
    ],
)
def test_things_of_different_kinds_ask_a_person(
    operator: Operator, value: Any, actual: Any
) -> None:
    assert reason(operator, value, actual) == CANNOT


@pytest.mark.feature("P2")
@pytest.mark.parametrize(
    ("operator", "phrase"),
    [
        (Operator.NOT_EQUAL, "x is not 5"),
        (Operator.UNDER, "x is below 5"),
        (Operator.AT_MOST, "x is at most 5"),
    ],
)
def test_a_reason_says_what_was_compared(operator: Operator, phrase: str) -> None:
    assert reason(operator, 5, 4) == phrase


@pytest.mark.feature("P2")
@pytest.mark.parametrize(
    ("operator", "value"),
    [
        *((operator, "5") for operator in sorted(NUMERIC)),
        *((operator, float("nan")) for operator in sorted(NUMERIC)),
        (Operator.OVER, True),
        (Operator.OVER, Decimal("sNaN")),
        (Operator.IN, "EUR"),
        (Operator.IN, []),
        (Operator.MATCHES, "("),
        (Operator.MATCHES, r"(a)\1"),
        (Operator.MATCHES, "\ud800"),
        (Operator.MATCHES, 5),
    ],
)
def test_a_condition_that_cannot_work_says_so_before_it_is_used(
    operator: Operator, value: Any
) -> None:
    assert Condition("x", operator, value).fault()


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(),
    st.integers(min_value=10**300, max_value=10**310),
)
ANYTHING = st.one_of(
    NUMBERS, st.text(), st.booleans(), st.none(), st.binary(), st.lists(NUMBERS, max_size=2)
)
MEANS: dict[Operator, Callable[[Decimal, Decimal], bool]] = {
    Operator.OVER: lambda left, right: left > right,
    Operator.AT_LEAST: lambda left, right: left >= right,
    Operator.UNDER: lambda left, right: left < right,
    Operator.AT_MOST: lambda left, right: left <= right,
}


def _exactly(number: Any) -> Decimal:
    """Floats as they are written, everything else as it is."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


@pytest.mark.feature("P2")
@given(operator=st.sampled_from(sorted(NUMERIC)), threshold=NUMBERS, actual=ANYTHING)
def test_no_argument_passes_a_numeric_condition_that_decimal_would_stop(
    operator: Operator, threshold: Any, actual: Any
) -> None:
    condition = Condition("x", operator, threshold)
    if condition.fault():
        assert not _exactly(threshold).is_finite()
        return
    passes = condition.reason({"x": actual}) is None
    number = isinstance(actual, int | float | Decimal) and not isinstance(actual, bool)
    if not number or not _exactly(actual).is_finite():
        assert not passes
    else:
        assert passes is not MEANS[operator](_exactly(actual), _exactly(threshold))


@pytest.mark.feature("P2")
@given(operator=st.sampled_from(list(Operator)), value=ANYTHING, actual=ANYTHING)
def test_a_sound_condition_never_fails_whatever_it_is_asked(
    operator: Operator, value: Any, actual: Any
) -> None:
    condition = Condition("x", operator, value)
    if condition.fault() is None:
        found = condition.reason({"x": actual})
        assert found is None or found.startswith("x ")
        if isinstance(actual, float) and math.isnan(actual) and operator in NUMERIC:
            assert found == CANNOT
