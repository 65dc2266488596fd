"""Of what an issuer publishes only sound public keys for signatures count."""

from typing import Any

import pytest

from tests.tools.tokens.provider import (
    ALGORITHMS,
    Json,
    jwk_of,
    key_for,
    published,
    rsa_key,
)
from tools.tokens.keysets import PUBLISHED, chosen_algorithms, fitting, parse_keys, secret_fault

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
OCT: Json = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "k1"}


def kinds(*keys: Any) -> list[set[str]]:
    """What each key that counts is good for."""
    return [set(key.algorithms) for key in parse_keys({"keys": list(keys)})]


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", sorted(PUBLISHED))
def test_a_key_is_good_for_its_kind(algorithm: str) -> None:
    assert kinds(jwk_of(algorithm)) == [RSA if algorithm in RSA else {algorithm}]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"alg": "RS256"}, [{"RS256"}]),
        ({"alg": "PS512", "use": "sig"}, [{"PS512"}]),
        ({"key_ops": ["verify"]}, [RSA]),
        ({"alg": "ES256"}, []),
        ({"alg": "HS256"}, []),
        ({"alg": "none"}, []),
        ({"alg": "RSA-OAEP"}, []),
        ({"alg": ["RS256"]}, []),
        ({"alg": None}, []),
        ({"use": "enc"}, []),
        ({"use": ["sig"]}, []),
        ({"key_ops": ["encrypt"]}, []),
        ({"key_ops": "verify"}, []),
        ({"kid": 5}, []),
        ({"kty": "EC"}, []),
        ({"kty": ["RSA"]}, []),
        ({"n": ""}, []),
        ({"n": 5}, []),
        ({"n": "é"}, []),
        ({"e": "AQ"}, []),
        ({"e": None}, []),
        ({"d": "AQAB"}, []),
    ],
    ids=str,
)
def test_a_key_counts_only_for_what_it_says(said: Json, left: list[set[str]]) -> None:
    assert kinds({**jwk_of("RS256"), **said}) == left


@pytest.mark.feature("I6")
def test_shared_secrets_and_private_keys_in_a_set_do_not_count() -> None:
    private: Json = ALGORITHMS["RS256"].to_jwk(key_for("RS256"), as_dict=True)
    assert kinds(OCT, {**OCT, "alg": "RS256"}, private, jwk_of("RS256")) == [RSA]


@pytest.mark.feature("I6")
@pytest.mark.parametrize(("bits", "counts"), [(1024, False), (2040, False), (2048, True)])
def test_small_rsa_keys_do_not_count(bits: int, counts: bool) -> None:
    assert bool(kinds(published("RS256", rsa_key(bits), "k1"))) is counts


@pytest.mark.parametrize(
    "broken",
    [
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": 5},
        {"x": "AAAA"},
        {"y": jwk_of("ES256")["x"]},
        {"y": None},
    ],
    ids=str,
)
def test_a_point_that_is_not_on_the_curve_does_not_count(broken: Json) -> None:
    assert kinds({**jwk_of("ES256"), **broken}) == []


@pytest.mark.parametrize("entry", [None, 5, "k", [], {}, {"kty": "new"}, {"kty": "RSA"}])
def test_what_is_no_key_does_not_hide_the_others(entry: Any) -> None:
    assert kinds(entry, jwk_of("EdDSA")) == [{"EdDSA"}]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": {}}, {"keys": "k"}, 5])
def test_what_is_no_set_is_not_taken_for_an_empty_one(document: Any) -> None:
    with pytest.raises(ValueError, match="not a JSON Web Key Set"):
        parse_keys(document)


@pytest.mark.feature("I6")
def test_a_token_without_a_name_of_its_key_means_the_only_one_that_fits() -> None:
    keys = parse_keys({"keys": [jwk_of("RS256", "a"), jwk_of("ES256", None), jwk_of("EdDSA", "c")]})
    assert fitting(keys, "ES256", None) is keys[1]
    assert fitting(keys, "RS256", None) is keys[0]
    two = parse_keys({"keys": [jwk_of("RS256", "a"), jwk_of("RS256", "b", name="other")]})
    assert fitting(two, "RS256", None) is None
    assert fitting(two, "RS256", "b") is two[1]


def test_a_name_that_two_keys_bear_means_the_one_that_fits_or_none() -> None:
    keys = parse_keys({"keys": [jwk_of("RS256"), jwk_of("ES256")]})
    assert fitting(keys, "ES256", "k1") is keys[1]
    twins = parse_keys({"keys": [jwk_of("RS256"), jwk_of("RS256", name="other")]})
    assert fitting(twins, "RS256", "k1") is None
    assert fitting(keys, "EdDSA", "k1") is None
    assert fitting(keys, "RS256", "K1") is None


# The settings' half.


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("text", "secret", "has_keys", "chosen"),
    [
        ("", "", False, []),
        ("", "s" * 32, False, ["HS256"]),
        ("", "", True, ["RS256", "ES256", "EdDSA"]),
        ("", "s" * 32, True, ["HS256", "RS256", "ES256", "EdDSA"]),
        ("PS256, ES512,PS256", "", True, ["PS256", "ES512"]),
        ("HS512", "s" * 64, False, ["HS512"]),
    ],
)
def test_algorithms_are_those_named_or_the_usual(
    text: str, secret: str, has_keys: bool, chosen: list[str]
) -> None:
    assert chosen_algorithms(text, secret, has_keys) == chosen


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("text", "secret", "has_keys", "says"),
    [
        ("none", "s" * 64, True, "'none' is not one of"),
        ("rs256", "s" * 64, True, "'rs256' is not one of"),
        ("RS256", "s" * 64, False, "RS256 needs a key set"),
        ("HS256", "", True, "HS256 needs a secret of at least 32 bytes"),
        ("HS384", "s" * 47, True, "HS384 needs a secret of at least 48 bytes"),
        ("HS256,HS512", "s" * 63, True, "HS512 needs a secret of at least 64 bytes"),
    ],
)
def test_an_algorithm_without_its_kind_of_key_cannot_be_chosen(
    text: str, secret: str, has_keys: bool, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        chosen_algorithms(text, secret, has_keys)


def test_a_secret_has_32_bytes_and_is_no_key() -> None:
    assert secret_fault("s" * 31) == "at least 32 bytes are needed"
    assert secret_fault("ü" * 16) is None
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    assert secret_fault(pem) == "it is a key or a certificate, not a secret"
    assert secret_fault('{"kty":"oct","k":"c2VjcmV0LXNlY3JldA"}') is not None
