"""Whatever a header or a payload says, its end is a known refusal, or exactly what was signed."""

import json
import string
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tools.tokens.provider import (
    AUDIENCE,
    ISSUER,
    SECRET,
    claims,
    compose,
    jwk_of,
    signed,
    token,
)
from tools.identity import BadCredentials
from tools.tokens.checking import checked, claims_of
from tools.tokens.claims import Service
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.introspection import Introspection
from tools.tokens.issuers import Issuer
from tools.tokens.jwks import KeySource
from tools.tokens.keysets import PUBLISHED, SHORTEST_SECRETS, parse_keys
from tools.tokens.reading import read

CODES = {
    "invalid_credentials", "malformed_credentials", "token_expired", "token_incomplete",
    "token_inactive", "token_not_yet_valid", "unknown_signing_key", "wrong_algorithm",
    "wrong_audience", "wrong_issuer",
}  # fmt: skip
KEYS = parse_keys({"keys": [jwk_of(name, name) for name in ("RS256", "ES256", "EdDSA")]})
TRUSTED = Issuer(
    name=ISSUER,
    audiences=frozenset({AUDIENCE}),
    algorithms=frozenset({*SHORTEST_SECRETS, *PUBLISHED}),
    secret=SECRET.encode(),
    keys=KeySource("test", lambda: KEYS),
    required=frozenset({"exp", "iss", "aud"}),
)

NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, 10**12, 10**400, 1e300, -0.0])
WORDS = st.text(max_size=8) | st.sampled_from([AUDIENCE, ISSUER])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
HEADER_NAMES = st.sampled_from(
    ["alg", "kid", "typ", "cty", "crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "other"]
)
ALGORITHM_NAMES = st.sampled_from([*SHORTEST_SECRETS, *sorted(PUBLISHED), "none", "ES256K", "dir"])
HEADERS = st.dictionaries(HEADER_NAMES, JSON | ALGORITHM_NAMES, max_size=4)
CLAIM_NAMES = st.sampled_from(
    ["exp", "nbf", "iat", "iss", "aud", "sub", "scope", "scopes", "scp", "cnf", "jti", "other"]
)
CLAIMS = st.dictionaries(CLAIM_NAMES, JSON, max_size=5)


def outcome(text: str) -> Service | None:
    """The service, or None if it was refused as it should be; anything else fails the test."""
    try:
        return claims_of(read(text), TRUSTED).service("sub")
    except BadCredentials as bad:
        assert bad.code in CODES
        assert bad.status == 401
        return None


@pytest.mark.feature("I6")
@given(text=st.text() | st.text(string.ascii_letters + string.digits + "-_.=", max_size=60))
@example("..")
@example("e30.e30.")
def test_no_text_is_a_token(text: str) -> None:
    assert outcome(text) is None


@pytest.mark.feature("I6")
@given(parts=st.lists(st.binary(max_size=30) | st.just(b'{"alg":"none"}'), min_size=3, max_size=3))
def test_no_three_parts_are_a_token(parts: list[bytes]) -> None:
    assert outcome(compose(parts[0], parts[1], lambda _: parts[2])) is None


@pytest.mark.feature("I6")
@given(header=HEADERS, by=st.sampled_from(["HS256", "RS256", "ES256", "EdDSA"]))
def test_any_header_over_good_claims_is_refused_or_was_signed_as_it_says(
    header: dict[str, Any], by: str
) -> None:
    found = outcome(signed(header, claims(), by))
    if found is not None:
        assert header["alg"] == by and "crit" not in header
        assert by == "HS256" or header.get("kid", by) == by


@pytest.mark.feature("I6")
@given(header=HEADERS)
def test_any_header_with_nobodys_signature_is_refused(header: dict[str, Any]) -> None:
    assert outcome(compose(header, claims(), lambda signed: signed[:64])) is None


@pytest.mark.feature("I6", "T22")
@given(changed=CLAIMS)
@example({"exp": 1e400})
@example({"exp": float("nan")})
@example({"exp": -(10**400)})
def test_any_payload_is_refused_or_is_what_was_signed(changed: dict[str, Any]) -> None:
    payload = claims() | changed
    found = outcome(signed({"alg": "HS256"}, payload, "HS256"))
    if found is not None:
        assert (found.issuer, found.subject) == (ISSUER, payload["sub"])
        assert AUDIENCE in ([payload["aud"]] if isinstance(payload["aud"], str) else payload["aud"])
        assert all(word.isprintable() and word.split() == [word] for word in found.scopes)
        said = json.dumps([payload.get(name) for name in ("scope", "scopes", "scp")])
        assert all(json.dumps(word)[1:-1] in said for word in found.scopes)
        assert found.good_until is not None
        assert found.good_until.timestamp() == pytest.approx(payload["exp"] + TRUSTED.leeway)


@pytest.mark.feature("I6")
@given(payload=JSON | st.binary(max_size=40))
def test_a_payload_of_any_form_is_refused(payload: Any) -> None:
    assert outcome(signed({"alg": "HS256"}, payload, "HS256")) is None


GOOD = token("ES256", kid="ES256", exp=int(time.time()) + 86_400)
SPARE_BITS = "AQgw"
"""How a part of 64 bytes can end; any other letter there says the same in another way."""


@pytest.mark.feature("I6")
@given(
    place=st.integers(0, len(GOOD) - 1),
    letter=st.sampled_from(string.ascii_letters + string.digits + "-_."),
)
def test_a_token_with_one_letter_changed_is_refused(place: int, letter: str) -> None:
    changed = GOOD[:place] + letter + GOOD[place + 1 :]
    assert (outcome(changed) is None) == (changed != GOOD)


@pytest.mark.feature("I6")
def test_another_spelling_of_a_signature_is_another_text_and_refused() -> None:
    spellings = [GOOD[:-1] + letter for letter in string.ascii_letters + string.digits + "-_"]
    assert GOOD[-1] in SPARE_BITS
    assert [text for text in spellings if outcome(text) is not None] == [GOOD]


@pytest.mark.feature("I6", "R23")
@given(answer=CLAIMS, active=st.sampled_from([True, False, None, 1, "true", 0, ""]))
def test_any_answer_about_a_token_is_a_refusal_or_an_active_service(
    answer: dict[str, Any], active: Any
) -> None:
    said = claims() | answer | {"active": active}
    asking = Introspection("http://127.0.0.1:1/", "id", "secret", TRUSTED)
    try:
        verdict = asking._judged(said)
    except BadCredentials as bad:
        assert bad.code in CODES
    else:
        assert active is True and verdict.service is not None
        assert verdict.service.subject == said["sub"]
        assert checked(said, TRUSTED).issuer == ISSUER


MEMBERS = st.sampled_from(
    ["kty", "n", "e", "crv", "x", "y", "d", "k", "alg", "use", "kid", "key_ops"]
)
VALUES = JSON | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "sig"])


@pytest.mark.feature("I6")
@given(entries=st.lists(st.dictionaries(MEMBERS, VALUES) | JSON, max_size=4))
def test_any_set_of_keys_can_be_read(entries: list[Any]) -> None:
    for key in parse_keys({"keys": [*entries, jwk_of("ES256")]}):
        assert key.algorithms <= PUBLISHED
    with suppress(BadCredentials, IssuerUnavailable):
        KeySource("test", lambda: parse_keys({"keys": entries})).key_for("RS256", None)
