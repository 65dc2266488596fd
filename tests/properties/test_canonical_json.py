"""RFC 8785 text against the RFC's own rules, written down a second time."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.canonical import canonical_text, exact, recordable, value_of

pytestmark = pytest.mark.feature("AP2", "U4")

UNICODE = st.characters(exclude_categories=("Cs",))
TEXT = st.text(UNICODE, max_size=6) | st.sampled_from(
    ["", "\x00", "\x00int", "\u20ac", "\ufb33", "\U0001f600", "\u0080", "\u2028", '"\\/\b\f\n\r\t']
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
ONLY_EXACT = st.one_of(
    st.integers(), st.integers(min_value=2**53), st.sampled_from([2**53, -(2**53), 10**400])
)


def documents(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values with these numbers."""
    return st.recursive(
        st.none() | st.booleans() | numbers | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    )


SHARED = documents(SAFE_INTEGERS | FLOATS)
"""What every JSON reader can hold."""
JSON = documents(SAFE_INTEGERS | FLOATS | ONLY_EXACT)
"""What Python's JSON can hold."""


# The RFC, a second time.


def rfc_text(value: Any) -> str:
    """RFC 8785, section 3.2, rule by rule."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return rfc_string(value)
        case int() | float():
            return rfc_number(float(value))
        case list():
            return f"[{','.join(map(rfc_text, value))}]"
        case _:
            pairs = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
            return "{" + ",".join(f"{rfc_string(k)}:{rfc_text(v)}" for k, v in pairs) + "}"


def rfc_string(text: str) -> str:
    """3.2.2.2: two letters where JSON has them, \\u00xx for other controls, else as it is."""
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
             "\t": "\\t"}  # fmt: skip
    return '"' + "".join(
        short.get(sign) or (f"\\u{ord(sign):04x}" if sign < " " else sign) for sign in text
    ) + '"'  # fmt: skip


def rfc_number(number: float) -> str:
    """3.2.2.3: ECMAScript's Number::toString, over the shortest digits that come back alike."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    _, digits, exponent = Decimal(repr(abs(number))).as_tuple()
    figures = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)
    if len(figures) <= point <= 21:
        return sign + figures.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{figures[:point]}.{figures[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{figures}"
    mantissa = figures[0] + (f".{figures[1:]}" if figures[1:] else "")
    return f"{sign}{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


RFC_VECTORS = {  # RFC 8785, appendix B: the bits of a double, and its text.
    0x0000000000000000: "0", 0x8000000000000000: "0", 0x0000000000000001: "5e-324",
    0x8000000000000001: "-5e-324", 0x7FEFFFFFFFFFFFFF: "1.7976931348623157e+308",
    0xFFEFFFFFFFFFFFFF: "-1.7976931348623157e+308", 0x4340000000000000: "9007199254740992",
    0xC340000000000000: "-9007199254740992", 0x4430000000000000: "295147905179352830000",
    0x44B52D02C7E14AF5: "9.999999999999997e+22", 0x44B52D02C7E14AF6: "1e+23",
    0x44B52D02C7E14AF7: "1.0000000000000001e+23", 0x444B1AE4D6E2EF4E: "999999999999999700000",
    0x444B1AE4D6E2EF4F: "999999999999999900000", 0x444B1AE4D6E2EF50: "1e+21",
    0x3EB0C6F7A0B5ED8C: "9.999999999999997e-7", 0x3EB0C6F7A0B5ED8D: "0.000001",
    0x41B3DE4355555553: "333333333.3333332", 0x41B3DE4355555554: "333333333.33333325",
    0x41B3DE4355555555: "333333333.3333333", 0x41B3DE4355555556: "333333333.3333334",
    0x41B3DE4355555557: "333333333.33333343", 0xBECBF647612F3696: "-0.0000033333333333333333",
    0x43143FF3C1CB0959: "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize("bits", RFC_VECTORS)
def test_the_rfcs_numbers_come_out_as_it_prints_them(bits: int) -> None:
    number = float.fromhex(_hex(bits))
    assert canonical_text(number) == rfc_number(number) == RFC_VECTORS[bits]


def _hex(bits: int) -> str:
    """A double's bits as Python's hexadecimal notation of floats."""
    sign = "-" if bits >> 63 else ""
    exponent, fraction = bits >> 52 & 0x7FF, bits & (2**52 - 1)
    return f"{sign}0x{int(exponent > 0)}.{fraction:013x}p{max(exponent, 1) - 1023}"


def test_the_rfcs_keys_are_sorted_as_it_sorts_them() -> None:
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    text = canonical_text(dict.fromkeys(reversed(ordered), 0))
    assert list(json.loads(text)) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


@given(value=SHARED)
def test_a_text_is_the_one_that_the_rfc_prescribes(value: Any) -> None:
    assert canonical_text(value) == rfc_text(value)


# Same meaning, same text.


def meaning(value: Any) -> Any:
    """A value that equals another's exactly when both mean the same JSON."""
    match value:
        case bool() | None | str():
            return type(value).__name__, value
        case int() | float():
            return "number", Decimal(value)
        case list():
            return "list", tuple(map(meaning, value))
        case _:
            return "object", frozenset((key, meaning(item)) for key, item in value.items())


@given(value=SHARED)
def test_a_value_comes_back_from_its_text(value: Any) -> None:
    assert meaning(value_of(canonical_text(value))) == meaning(value)


@given(one=JSON, other=JSON)
@example(one=1, other=True)
@example(one=2**53, other=2.0**53)
@example(one={"\x00int": "9007199254740992"}, other=2**53)
@example(one={"\x00\x00int": "1"}, other={"\x00int": "1"})
@example(one=[[1], []], other=[[1, []]])
def test_texts_are_alike_only_where_meanings_are(one: Any, other: Any) -> None:
    if canonical_text(exact(one)) == canonical_text(exact(other)):
        assert meaning(one) == meaning(other)


@given(data=st.data(), value=JSON)
def test_meanings_are_alike_whatever_they_are_written_like(data: st.DataObject, value: Any) -> None:
    rewritten = _rewritten(value, data)
    assert meaning(rewritten) == meaning(value)
    assert canonical_text(exact(rewritten)) == canonical_text(exact(value))
    assert canonical_text(recordable(rewritten)) == canonical_text(recordable(value))


def _rewritten(value: Any, data: st.DataObject) -> Any:
    """Keys in another order, and now and then 1.0 for 1 or 1 for 1.0."""
    match value:
        case dict():
            keys = data.draw(st.permutations(sorted(value)))
            return {key: _rewritten(value[key], data) for key in keys}
        case list():
            return [_rewritten(item, data) for item in value]
        case bool():
            return value
        case int() if abs(value) < 2**53:
            return data.draw(st.sampled_from([value, float(value)]))
        case float() if value.is_integer() and abs(value) < 2**53:
            return data.draw(st.sampled_from([value, int(value)]))
        case _:
            return value


# What is no JSON.


class Odd:
    """No value at all."""


NO_JSON = st.sampled_from(
    [math.nan, math.inf, -math.inf, Decimal(1), b"", (), {1}, 1j, Odd(), {1: 2}, {None: 1}]
)


@given(value=st.recursive(NO_JSON, lambda inner: st.lists(inner, min_size=1) | st.dictionaries(
    TEXT, inner, min_size=1)))  # fmt: skip
@example(value={1: 2})
def test_what_is_no_json_has_no_exact_form(value: Any) -> None:
    with pytest.raises(ValueError, match="canonical form"):
        exact(value)


def _made_huge(value: Any) -> Any:
    """Hypothesis can't show such a number, so it is not given one."""
    return -(10**5000) if value == "huge" else value


HOSTILE = st.recursive(
    st.one_of(
        NO_JSON, ONLY_EXACT, st.text(st.characters(exclude_categories=())), st.floats(),
        st.decimals(), st.binary(), st.datetimes(timezones=st.timezones()),
        st.sampled_from(["huge", Decimal("1e999999"), Odd, len]).map(_made_huge),
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=())) | st.integers(), inner)
    | st.tuples(inner, inner),
    max_leaves=10,
)  # fmt: skip


@given(value=HOSTILE)
def test_whatever_is_recorded_is_storable_and_stays_as_it_is(value: Any) -> None:
    text = canonical_text(recordable(value))
    assert not any(sign == "\x00" or "\ud800" <= sign <= "\udfff" for sign in text)
    assert "\\u0000" not in text
    assert canonical_text(value_of(text)) == text == rfc_text(json.loads(text))
    assert canonical_text(recordable(value_of(text))) == text
