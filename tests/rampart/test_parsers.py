"""JSON on which all readers agree, within bounds, and nothing else."""

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rampart.parsers import DEEPEST, LARGEST_BODY, StrictJSONParser
from tests.conftest import Agent
from tests.rampart.test_problems import INVOKE, check

pytestmark = pytest.mark.django_db


def post(agent: Agent, body: bytes | str) -> Any:
    """Post these very bytes."""
    return agent.client.generic("POST", INVOKE, body, content_type="application/json")


def nested(depth: int, bottom: str = "") -> str:
    """A body of so many arrays and objects within each other."""
    inner = "[" * (depth - 2) + bottom + "]" * (depth - 2)
    return f'{{"arguments": {{"value": {inner}}}}}'


WRONG = {
    "cut short": '{"arguments": {"value": "hush"',
    "nothing but a brace": "{",
    "two documents": "{} {}",
    "a comment": '{"a": 1 /* hush */}',
    "a comma too many": '{"a": "hush",}',
    "single quotes": "{'a': 'hush'}",
    "NaN": '{"arguments": {"value": NaN}}',
    "Infinity": '{"arguments": {"value": Infinity}}',
    "minus Infinity": '{"arguments": {"value": -Infinity}}',
    "a float beyond all": '{"arguments": {"value": 1e999}}',
    "and below": '{"arguments": {"value": -1e999}}',
    "a key twice": '{"arguments": {"value": "hush", "value": 2}}',
    "a key twice at the top": '{"arguments": {}, "arguments": {"value": "hush"}}',
    "a key twice by another spelling": '{"arguments": {"value": 1, "v\\u0061lue": 2}}',
    "not UTF-8": b'{"arguments": {"value": "hush\xff"}}',
    "UTF-16": '{"a": "hush"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "half a surrogate pair": '{"arguments": {"value": "hush\\ud800"}}',
    "half a pair in a key": '{"arguments": {"\\udfff": 1}}',
    "an encoded surrogate": b'{"arguments": {"value": "\xed\xa0\x80"}}',
    "too many digits": '{"arguments": {"value": ' + "7" * 5000 + "}}",
    "a raw control character": '{"a": "hush\n"}',
    "nested 65 deep": nested(65),
    "nested 65 deep with a bottom": nested(65, '"hush"'),
    "nested 65 deep by objects": '{"a":' * 65 + "1" + "}" * 65,
    "nested for ever": "[" * 300_000,
}


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("kind", WRONG)
def test_what_readers_disagree_on_is_400(agent: Agent, kind: str) -> None:
    answer = post(agent, WRONG[kind])
    body = check(answer, 400, "malformed_json")
    assert "hush" not in answer.content.decode()
    assert body["detail"].startswith("not acceptable JSON: ")


@pytest.mark.feature("H2")
@pytest.mark.parametrize("body", [nested(DEEPEST), nested(DEEPEST, "1"), nested(DEEPEST, '"x"')])
def test_sixty_four_levels_are_taken(agent: Agent, body: str) -> None:
    answer = post(agent, body)
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    assert answer.json()["data"] == json.loads(body)["arguments"]["value"]


@pytest.mark.feature("H2")
@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
def test_a_mebibyte_is_taken_and_a_byte_more_is_413(agent: Agent, extra: int, status: int) -> None:
    frame = '{"arguments": {"value": 1}, "metadata": {"pad": ""}}'
    pad = "x" * (LARGEST_BODY - len(frame) + extra)
    body = frame.replace('""', f'"{pad}"')
    assert len(body) == LARGEST_BODY + extra
    answer = post(agent, body)
    assert answer.status_code == status
    if status == 413:
        check(answer, 413, "body_too_large")


@pytest.mark.feature("H2")
def test_a_body_beyond_what_django_buffers_is_413_too(agent: Agent) -> None:
    check(post(agent, b" " * (3 * LARGEST_BODY)), 413, "body_too_large")


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_an_empty_body_is_a_call_without_arguments(agent: Agent, body: bytes) -> None:
    assert post(agent, body).json()["status"] == "success"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e30", 1e30),
        ("9007199254740993", 9007199254740993),
        ("-0.0", -0.0),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\u0000"', "\x00"),
    ],
)
def test_what_all_readers_agree_on_arrives_as_it_is(agent: Agent, written: str, value: Any) -> None:
    answer = post(agent, f'{{"arguments": {{"value": {written}}}}}')
    assert answer.json()["data"] == value


@given(value=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
))  # fmt: skip
def test_every_json_document_is_read_as_python_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert StrictJSONParser().parse(BytesIO(text.encode())) == json.loads(text)
