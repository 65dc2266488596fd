"""Bodies and cursors: what is let in, what is refused, and nothing that fails."""

import json
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from audit.models import Event
from rampart.pagination import BadCursor, _decoded, _encoded
from rampart.parsers import DEEPEST, LARGEST_BODY, BodyTooLarge, StrictJSONParser
from tests.conftest import Agent, MakeAgent

# Bodies.

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
SPACE = st.text(" \t\r\n", max_size=2)


def read(body: str | bytes) -> Any:
    """What the parser makes of a body."""
    return StrictJSONParser().parse(BytesIO(body.encode() if isinstance(body, str) else body))


def refused(body: str | bytes) -> bool:
    """Whether the parser refuses it, with the one error that it may refuse with."""
    try:
        read(body)
    except ParseError as error:
        assert error.get_codes() == "malformed_json"
        return True
    return False


def depth(value: Any) -> int:
    """How many arrays and objects lie within each other."""
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


@pytest.mark.feature("H2", "E27")
@given(value=DOCUMENTS, before=SPACE, after=SPACE, ascii_only=st.booleans())
def test_every_document_arrives_as_it_was_meant(
    value: Any, before: str, after: str, ascii_only: bool
) -> None:
    body = f"{before}{json.dumps(value, ensure_ascii=ascii_only)}{after}"
    arrived = read(body)
    assert repr(arrived) == repr(value)


@pytest.mark.feature("H2", "E27")
@given(
    value=DOCUMENTS, levels=st.integers(DEEPEST - 6, DEEPEST + 6), as_object=st.booleans(),
)  # fmt: skip
def test_the_depth_decides_and_nothing_else(value: Any, levels: int, as_object: bool) -> None:
    for _ in range(levels - depth(value)):
        value = {"a": value, "b": 1} if as_object else [1, value]
    assert refused(json.dumps(value)) == (depth(value) > DEEPEST)


WRONG = st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"\\ud800"', '{"\\udc00": 1}', '"\n"', "01",
     "1.", ".5", "+1", "0x1", "'a'", "[1,]", '{"a":1,}', '{"a" 1}', "{a: 1}", "tru", "[1 2]", "//",
     '{"a": 1, "a": 1}', '{"a": 1, "b": 2, "\\u0061": 3}', '{"": 1, "": 1}', "\ufeff1"]
)  # fmt: skip


@pytest.mark.feature("H2", "E27")
@given(
    wrong=WRONG, frames=st.lists(st.sampled_from(["[{}]", '[1, {}]', '{"k": {}}'])),
)  # fmt: skip
def test_what_is_wrong_is_found_at_any_depth(wrong: str, frames: list[str]) -> None:
    for frame in frames[:20]:
        wrong = frame.replace("{}", wrong, 1)
    assert refused(wrong)


@pytest.mark.feature("H2", "E27")
@given(pairs=st.lists(st.tuples(st.text("ab", max_size=1), LEAVES), max_size=4))
def test_an_object_is_taken_if_each_key_is_there_once(pairs: list[tuple[str, Any]]) -> None:
    body = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(item)}" for key, item in pairs) + "}"
    doubled = len({key for key, _ in pairs}) < len(pairs)
    assert refused(body) == doubled
    if not doubled:
        assert repr(read(body)) == repr(dict(pairs))


@pytest.mark.feature("H2", "E27")
@given(
    body=st.binary(max_size=40) | st.text('[]{}",:\\u1e0.-+ntrfalse', max_size=30).map(str.encode)
)
@example(body=b"[" * 200_000)
@example(body=b'{"a":' * 200_000)
@example(body=b'"\\ud83d\\ude00"')
def test_any_bytes_are_read_as_python_reads_them_or_refused(body: bytes) -> None:
    if refused(body):
        return
    arrived = read(body)
    assert repr(arrived) == repr(json.loads(body.decode()))
    json.dumps(arrived, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.feature("H2")
@given(more=st.integers(-3, 3))
def test_a_body_of_more_than_a_mebibyte_is_too_large(more: int) -> None:
    body = b'"' + b"x" * (LARGEST_BODY + more - 2) + b'"'
    if more > 0:
        with pytest.raises(BodyTooLarge):
            read(body)
    else:
        assert len(read(body)) == len(body) - 2


# Cursors.

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.feature("E31")
@given(key=st.uuids() | st.sampled_from([UUID(int=0), UUID(int=2**128 - 1)]))
def test_a_cursor_leads_back_to_where_it_was_given_out(key: UUID) -> None:
    cursor = _encoded(key)
    assert _decoded(cursor) == key
    assert set(cursor) <= set(ALPHABET)


@pytest.mark.feature("E31")
@given(
    key=st.uuids(), at=st.integers(0, 22), length=st.integers(0, 3),
    instead=st.text(ALPHABET + "+/= \n\x00é٣", max_size=3),
)  # fmt: skip
def test_a_tampered_cursor_is_refused_or_is_another_that_could_have_been_given_out(
    key: UUID, at: int, length: int, instead: str
) -> None:
    given_out = _encoded(key)
    tampered = given_out[:at] + instead + given_out[at + length :]
    try:
        found = _decoded(tampered)
    except BadCursor:
        assert tampered != given_out
    else:
        assert _encoded(found) == tampered


@pytest.mark.feature("E31")
@pytest.mark.django_db
@given(
    cursor=st.text(max_size=30) | st.text(ALPHABET, min_size=20, max_size=24),
    limit=st.none() | st.integers(-3, 10**30).map(str) | st.text("019٣²-+. e\x00", max_size=5),
)
def test_no_cursor_and_no_limit_makes_a_list_fail(
    auditor: Agent, cursor: str, limit: str | None
) -> None:
    params = {"cursor": cursor} | ({} if limit is None else {"limit": limit})
    answer = auditor.client.get("/api/v1/audit", params)
    fits = limit is None or (limit.isascii() and limit.isdigit() and int(limit) > 0)
    if answer.status_code == 200:
        assert fits and (not cursor or _encoded(_decoded(cursor)) == cursor)
        assert len(answer.json()["events"]) <= Event.objects.count()
    else:
        assert answer.status_code == 400
        assert answer.json()["code"] in ("invalid_cursor", *(() if fits else ("invalid_limit",)))


@pytest.fixture
def auditor(make_agent: MakeAgent) -> Agent:
    """A key that may read the ledger."""
    return make_agent("auditor", scopes=("audit.read_all",))
