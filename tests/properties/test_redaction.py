"""A secret that lies anywhere under a redacted name is nowhere in what is written down."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.canonical import canonical_text, recordable, value_of
from audit.redaction import ALWAYS_SECRET, REDACTED, SHORTEST_SECRET, Redactor

pytestmark = pytest.mark.feature("U4")

SECRETS = st.text("§¶\"'\\\n\té€😀x7", min_size=SHORTEST_SECRET, max_size=9).filter(
    lambda text: text == text.strip("\"'")
)
"""Texts of signs that the innocent ones below and the word for what is hidden don't have."""
INNOCENT = st.one_of(
    st.none(), st.booleans(), st.integers(-99, 99), st.sampled_from([0.5, 2.5]),
    st.text("abc .", max_size=5),
)  # fmt: skip

SECRET_NAMES = st.builds(
    lambda name, spell: spell(name),
    st.sampled_from(["card", "Pin", "straße", *sorted(ALWAYS_SECRET)]),
    st.sampled_from([str, str.upper, str.title, str.casefold]),
)
HERE = "the secret stands here"
BELOW = st.recursive(
    st.just(HERE),
    lambda inner: (
        st.tuples(inner, INNOCENT).map(list)
        | st.fixed_dictionaries({"deep": inner, "b": INNOCENT})
        | st.just({HERE: 1})
    ),
    max_leaves=3,
)
"""What lies below a secret name."""
PLANTED = st.recursive(
    st.dictionaries(SECRET_NAMES, BELOW, min_size=1, max_size=2),
    lambda inner: (
        st.tuples(INNOCENT, inner).map(list) | st.fixed_dictionaries({"in": inner, "b": INNOCENT})
    ),
    max_leaves=3,
)
REPEATED = (
    str, "<{}>".format, "{0}{0}".format, repr, json.dumps, canonical_text,
    lambda secret: {secret: 1}, lambda secret: {f"a{secret}b": [secret]}, lambda secret: {secret},
    lambda secret: (secret, {"a": secret}), lambda secret: str(KeyError(secret)),
    lambda secret: str([secret]), lambda secret: json.dumps({"a": secret}, ensure_ascii=False),
)  # fmt: skip
"""How a secret may turn up once more, in a result or in the message of an error."""


def filled(value: Any, secret: str) -> Any:
    """The value with the secret in its place."""
    match value:
        case str():
            return value.replace(HERE, secret)
        case list():
            return [filled(item, secret) for item in value]
        case dict():
            return {filled(key, secret): filled(item, secret) for key, item in value.items()}
        case _:
            return value


CALLS = st.builds(
    lambda secret, arguments, repeat, more: (
        secret, filled(arguments, secret), [repeat(secret), filled(more, secret)],
    ),
    SECRETS, PLANTED, st.sampled_from(REPEATED), PLANTED | INNOCENT,
)  # fmt: skip
"""A secret, arguments that hold it, and what came of them."""


def texts_of(value: Any) -> Iterator[str]:
    """Every key and string of a JSON value."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from texts_of(item)
        case dict():
            for key, item in value.items():
                yield key
                yield from texts_of(item)


def redactor_of(arguments: Any) -> Redactor:
    return Redactor.over(arguments, ["card", "pin", "Straße"])


@given(call=CALLS)
@example(call=('§"é€', {"card": '§"é€'}, '{"a":"§\\"é€"}'))
def test_a_planted_secret_is_in_no_text_that_is_written(call: tuple[str, Any, Any]) -> None:
    secret, arguments, outcome = call
    redactor = redactor_of(arguments)
    forms = {
        secret, json.dumps(secret)[1:-1], canonical_text(secret)[1:-1], repr(secret)[1:-1],
    }  # fmt: skip
    for value in (arguments, outcome, {"again": [arguments, outcome]}):
        kept = redactor(value)
        assert not [text for text in texts_of(kept) for form in forms if form in text]
        assert not [form for form in forms if form in canonical_text(kept)]


@given(call=CALLS)
def test_what_is_redacted_can_be_stored_and_is_redacted_once(call: tuple[str, Any, Any]) -> None:
    _, arguments, outcome = call
    redactor = redactor_of(arguments)
    for value in (arguments, outcome):
        kept = redactor(value)
        assert redactor(kept) == kept
        assert value_of(canonical_text(kept)) == kept


@given(call=CALLS, name=SECRET_NAMES)
def test_everything_else_keeps_its_place_and_its_value(
    call: tuple[str, Any, Any], name: str
) -> None:
    _, arguments, outcome = call
    redactor = redactor_of(arguments)
    for value in (arguments, {name: outcome, "a": outcome}):
        _compare(recordable(value), redactor(value), redactor)


def _compare(plain: Any, kept: Any, redactor: Redactor) -> None:
    if isinstance(plain, dict):
        for key, item in plain.items():
            shown = redactor.text(key)
            if key.casefold() in redactor.names:
                assert kept[shown] == REDACTED
            else:
                _compare(item, kept[shown], redactor)
    elif isinstance(plain, list):
        assert len(plain) == len(kept)
        for one, other in zip(plain, kept, strict=True):
            _compare(one, other, redactor)
    elif isinstance(plain, str):
        assert kept == redactor.text(plain)
    else:
        assert kept == plain and type(kept) is type(plain)


@given(secrets=st.lists(st.text("[REDACTED]", min_size=1, max_size=10), max_size=90),
       text=st.text("[REDACTED]", max_size=200))  # fmt: skip
@example(secrets=["REDA", "CTED", "[RED", "DACT"], text="REDA" * 50)
def test_what_is_written_is_at_most_so_much_longer_than_what_was_said(
    secrets: list[str], text: str
) -> None:
    """However the secrets are chosen: no secret is looked for in what hides another."""
    kept = redactor_of({"card": secrets})([text])
    longest = max(len(REDACTED), len(text) * len(REDACTED) / SHORTEST_SECRET)
    assert len(kept[0]) <= longest


@given(secrets=st.sets(SECRETS, min_size=2, max_size=40), data=st.data())
def test_what_is_hidden_does_not_depend_on_the_order_of_the_secrets(
    secrets: set[str], data: st.DataObject
) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(sorted(secrets)) | SECRETS, max_size=6)))
    one, other = (data.draw(st.permutations(sorted(secrets))) for _ in range(2))
    assert redactor_of({"card": one})([text]) == redactor_of({"card": other})([text])
