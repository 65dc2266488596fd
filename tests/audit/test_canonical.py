"""Two forms of a value: one that can be stored and read, one that can be compared."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit import ledger
from audit.canonical import canonical_text, exact, recordable, rfc3339, storable_text, value_of
from audit.events import EventName
from audit.models import Event

KEYS = st.one_of(st.text(max_size=4), st.sampled_from(["a", "\x00int", "\x00\x00int", "\x00"]))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**53 - 2, max_value=2**53 + 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 0.0, 1.0, -0.0, "1", "9007199254740993", "", True]),
    st.text(max_size=4),
)
JSON_VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values mean the same: 1 is 1.0 there, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, str) == isinstance(other, str)


@pytest.mark.feature("U4")
@given(one=JSON_VALUES, other=JSON_VALUES)
def test_values_that_differ_have_different_exact_texts(one: Any, other: Any) -> None:
    alike = canonical_text(exact(one)) == canonical_text(exact(other))
    assert not alike or same(one, other)


@given(value=JSON_VALUES)
def test_an_exact_text_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    turned = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: OrderedDict(pairs[::-1]))
    assert canonical_text(exact(dict_of(turned))) == canonical_text(exact(value))


def dict_of(value: Any) -> Any:
    """Plain dicts, in the order in which they are."""
    if isinstance(value, Mapping):
        return {key: dict_of(item) for key, item in value.items()}
    return [dict_of(item) for item in value] if isinstance(value, list) else value


def test_a_large_integer_and_its_imitation_stay_apart() -> None:
    large = 2**53 + 1
    texts = {
        canonical_text(exact(value))
        for value in (large, str(large), float(large), {"\x00int": str(large)}, 2**53 + 2)
    }
    assert len(texts) == 5


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, (1,), b"x", Decimal(1), {"a": object()}, {1: 2}],
)
def test_what_is_not_json_has_no_exact_form(value: Any) -> None:
    with pytest.raises(ValueError, match="has no canonical form"):
        exact(value)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_back_from_its_text_however_large_it_is(value: float) -> None:
    assert value_of(canonical_text(value)) == value
    assert canonical_text(value_of(canonical_text(value))) == canonical_text(value)


# Anything at all.


class Colour(StrEnum):
    """Text with a name."""

    RED = "red"


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Silent:
    """It can't even show itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, tuple[Any, Any]] = {
    "NUL": ("a\x00b", "a\u2400b"),
    "half a surrogate pair": ("a\ud800b", "a\ufffdb"),
    "a key of NUL": ({"\x00": 1}, {"\u2400": 1}),
    "a key that is no text": ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
    "a huge integer": (2**53, "9007199254740992"),
    "an integer beyond Python's digits": (10**5000, hex(10**5000)),
    "NaN": (float("nan"), "nan"),
    "infinity": (float("-inf"), "-inf"),
    "a decimal": (Decimal("1.50"), "1.50"),
    "a decimal NaN": (Decimal("sNaN"), "sNaN"),
    "a UUID": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "a date": (date(2026, 1, 31), "2026-01-31"),
    "a moment": (datetime(2026, 1, 31, tzinfo=timezone.utc), "2026-01-31T00:00:00.000000Z"),
    "the year one": (datetime(1, 1, 1, tzinfo=timezone.utc), "0001-01-01T00:00:00.000000Z"),
    "before the year one": (
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "0001-01-01T00:00:00+14:00",
    ),
    "an enumeration": (Level.HIGH, 3),
    "bytes": (b"\x00", "b'\\x00'"),
    "a path": (Path("/tmp"), "PosixPath('/tmp')"),
    "what cannot show itself": (Silent(), "[Silent]"),
    "a key that cannot show itself": ({Silent(): 1}, {"[Silent]": 1}),
    "a tuple": ((1, (2,)), [1, [2]]),
    "a set": ({1}, [1]),
}  # fmt: skip


@pytest.mark.feature("U4")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_become_plain_json(kind: str) -> None:
    value, expected = HOSTILE[kind]
    assert recordable(value) == expected
    assert json.loads(canonical_text(recordable(value))) == expected


def test_what_is_nested_too_deeply_is_cut_and_not_a_failure() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (nested(100_000), endless):
        assert "[nested too deeply]" in canonical_text(recordable(value))
    assert recordable(nested(64)) == nested(64)


def test_a_named_text_is_its_text() -> None:
    assert canonical_text(recordable([Colour.RED])) == '["red"]'


ODD_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\x00", "\ud800", "ä"])
ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), ODD_TEXT,
        st.binary(), st.datetimes(timezones=st.timezones()), st.dates(), st.times(), st.uuids(),
        st.complex_numbers(), st.fractions(), st.timedeltas(), st.sampled_from(Level),
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(ODD_TEXT | st.integers(), inner, max_size=3)
    | st.tuples(inner, inner),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.feature("U4")
@given(value=ANYTHING)
def test_whatever_python_holds_becomes_json_that_stays_as_it_is(value: Any) -> None:
    plain = recordable(value)
    text = canonical_text(plain)
    assert "\x00" not in text and text.encode().decode() == text
    assert canonical_text(recordable(value_of(text))) == text


@pytest.mark.feature("U4")
@pytest.mark.django_db
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=ANYTHING, text=ODD_TEXT)
def test_whatever_python_holds_can_be_stored_and_read_back(value: Any, text: str) -> None:
    written = ledger.record(
        EventName.INVOCATION_FINISHED, arguments=value, result=value, metadata={"value": value},
        error=text, actor=text, tool_name=text, request_id=text,
    )  # fmt: skip
    read = Event.objects.get(pk=written.pk)
    assert read.digest == read.computed_digest() == written.digest
    assert canonical_text(read.arguments) == canonical_text(recordable(value))


@pytest.mark.parametrize(
    ("text", "stored"),
    [("plain", "plain"), ("ä😀", "ä😀"), ("\x00", "\u2400"), ("\udfff", "\ufffd")],
)
def test_only_what_cannot_be_stored_is_replaced(text: str, stored: str) -> None:
    assert storable_text(text) == stored


def test_moments_are_written_in_utc_with_microseconds() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-01-31T12:00:00.000005Z"
