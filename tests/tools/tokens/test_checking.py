"""Good tokens are believed, and each that is not is refused by the name of its fault."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_encode

from tests.tools.tokens.conftest import code_of
from tests.tools.tokens.provider import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    SECRET,
    Json,
    claims,
    compose,
    jwk_of,
    rsa_key,
    signed,
    token,
)
from tools.identity import BadCredentials
from tools.tokens.checking import claims_of
from tools.tokens.claims import Claims
from tools.tokens.issuers import Issuer
from tools.tokens.jwks import KeySource
from tools.tokens.keysets import PUBLISHED, SHORTEST_SECRETS, parse_keys
from tools.tokens.reading import read

ALL = [*SHORTEST_SECRETS, *sorted(PUBLISHED)]
YEAR_10000 = 253_402_300_800


def issuer(*keys: Json, **changed: Any) -> Issuer:
    """Ours, with these published keys; all algorithms unless it is said which."""
    parsed = parse_keys({"keys": list(keys)})
    usual: dict[str, Any] = {
        "name": ISSUER, "audiences": frozenset({AUDIENCE}), "algorithms": frozenset(ALL),
        "secret": SECRET.encode(), "keys": KeySource("test", lambda: parsed),
        "required": frozenset({"exp", "iss", "aud"}),
    }  # fmt: skip
    return Issuer(**(usual | changed))


def check(text: str, by: Issuer | None = None) -> Claims:
    """What the token says."""
    return claims_of(read(text), by or issuer(jwk_of("RS256")))


def refusal(text: str, by: Issuer | None = None) -> str:
    """Why it says nothing."""
    return code_of(check, text, by)


# Good.


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", ALL)
def test_a_good_token_of_each_algorithm_is_believed(algorithm: str) -> None:
    keys = [jwk_of(algorithm)] if algorithm in PUBLISHED else []
    said = check(token(algorithm), issuer(*keys))
    assert (said.issuer, said.name("sub")) == (ISSUER, "billing-agent")
    assert said.scopes() == ("orders.read", "refunds.write")


def test_ed448_is_eddsa_too() -> None:
    text = token("EdDSA", name="448")
    assert check(text, issuer(jwk_of("EdDSA", name="448"))).name("sub") == "billing-agent"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_a_token_may_say_that_it_is_one_for_access(kind: str) -> None:
    assert check(token(header={"typ": kind}))


@pytest.mark.parametrize(
    "audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE], ["other", "another", AUDIENCE]]
)
def test_one_of_the_audiences_is_enough(audience: Any) -> None:
    assert check(token(aud=audience))


def test_what_is_not_configured_is_not_asked_for() -> None:
    open_to_all = issuer(
        jwk_of("RS256"), name="", audiences=frozenset(), required=frozenset({"exp"})
    )
    assert check(token(iss=None, aud=None), open_to_all).issuer == "urn:rampart:unnamed-issuer"
    assert check(token(iss="https://b.example", aud="x"), open_to_all).issuer == "https://b.example"


def test_times_may_have_a_fraction_and_differ_by_the_leeway() -> None:
    now = time.time()
    assert check(token(exp=now + 5.5, nbf=now - 0.5))
    assert check(token(exp=now - 25, nbf=now + 25, iat=now + 25))


# Who signed.


@pytest.mark.feature("I6")
def test_another_key_of_the_same_name_is_a_bad_signature() -> None:
    assert refusal(token(name="stranger")) == "invalid_credentials"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", ALL)
def test_a_changed_payload_is_a_bad_signature(algorithm: str) -> None:
    by = issuer(*([jwk_of(algorithm)] if algorithm in PUBLISHED else []))
    head, _, signature = token(algorithm).split(".")
    other = base64url_encode(json.dumps(claims(sub="admin")).encode()).decode()
    assert refusal(f"{head}.{other}.{signature}", by) == "invalid_credentials"


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("signature", [b"", b"\0", b"\0" * 64, b"\xff" * 256, b"\0" * 5000])
def test_a_signature_of_any_length_is_a_bad_one(algorithm: str, signature: bytes) -> None:
    by = issuer(*([jwk_of(algorithm)] if algorithm in PUBLISHED else []))
    head = {"alg": algorithm, "kid": "k1"}
    assert refusal(compose(head, claims(), lambda _: signature), by) == "invalid_credentials"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS1", "ES256K", "rs256"])
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_no_algorithm_and_unknown_ones_are_refused(name: str, signature: bytes) -> None:
    text = compose({"alg": name, "kid": "k1"}, claims(), lambda _: signature)
    assert refusal(text) == "wrong_algorithm"


@pytest.mark.parametrize("name", [None, 1, True, ["RS256"], {"RS256": 1}])
def test_an_algorithm_that_is_no_word_is_refused(name: Any) -> None:
    assert refusal(signed({"alg": name, "kid": "k1"}, claims())) == "wrong_algorithm"


def test_a_header_without_an_algorithm_is_refused() -> None:
    assert refusal(signed({"kid": "k1"}, claims())) == "wrong_algorithm"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", ["HS256", "RS384", "PS256", "ES256", "EdDSA"])
def test_a_right_signature_by_an_algorithm_that_is_not_allowed_is_refused(algorithm: str) -> None:
    by = issuer(
        *([jwk_of(algorithm)] if algorithm in PUBLISHED else []), algorithms=frozenset({"RS256"})
    )
    assert refusal(token(algorithm), by) == "wrong_algorithm"


PUBLIC_FORMS: list[Callable[[], bytes]] = [
    lambda: rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    lambda: rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    lambda: rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    lambda: rsa_key().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    lambda: json.dumps(jwk_of("RS256")).encode(),
    lambda: json.dumps(jwk_of("RS256"), separators=(",", ":")).encode(),
    lambda: jwk_of("RS256")["n"].encode(),
    lambda: b"",
]


@pytest.mark.feature("I6")
@pytest.mark.parametrize("secret", PUBLIC_FORMS)
@pytest.mark.parametrize("algorithms", [ALL, ["RS256"], ["HS256"]])
@pytest.mark.parametrize("shared", [SECRET, ""])
def test_a_published_key_is_never_a_secret(
    secret: Callable[[], bytes], algorithms: list[str], shared: str
) -> None:
    """The classic: sign by HMAC with the issuer's public key, and say so in the header."""
    text = compose(
        {"alg": "HS256", "kid": "k1"}, claims(),
        lambda signed: hmac.new(secret(), signed, hashlib.sha256).digest(),
    )  # fmt: skip
    by = issuer(jwk_of("RS256"), algorithms=frozenset(algorithms), secret=shared.encode())
    assert refusal(text, by) in ("invalid_credentials", "wrong_algorithm")


@pytest.mark.feature("I6")
def test_an_issuer_whose_secret_is_its_public_key_is_not_believed_at_all() -> None:
    public = PUBLIC_FORMS[0]()
    text = compose(
        {"alg": "HS256"}, claims(),
        lambda signed: hmac.new(public, signed, hashlib.sha256).digest(),
    )  # fmt: skip
    assert refusal(text, issuer(secret=public)) == "invalid_credentials"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_key_that_the_token_brings_along_is_not_used(algorithm: str) -> None:
    own = {**jwk_of(algorithm, kid="mine"), "use": "sig"}
    header = {"jwk": own, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": []}
    text = token(algorithm, kid="mine", header=header)
    assert refusal(text, issuer(jwk_of("RS256"))) == "unknown_signing_key"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_secret_too_short_for_the_algorithm_is_no_secret(algorithm: str) -> None:
    short = b"x" * 32
    text = compose(
        {"alg": algorithm}, claims(), lambda signed: ALGORITHMS[algorithm].sign(signed, short)
    )
    assert refusal(text, issuer(secret=short)) == "invalid_credentials"


# What it says.

WRONG_CLAIMS: list[tuple[Json, str]] = [
    ({"exp": None}, "token_incomplete"),
    ({"exp": "soon"}, "token_incomplete"),
    ({"exp": "99999999999"}, "token_incomplete"),
    ({"exp": True}, "token_incomplete"),
    ({"exp": [1]}, "token_incomplete"),
    ({"exp": {}}, "token_incomplete"),
    ({"exp": ""}, "token_incomplete"),
    ({"exp": 10**12}, "token_incomplete"),
    ({"exp": 10**400}, "token_incomplete"),
    ({"exp": 1e300}, "token_incomplete"),
    ({"exp": YEAR_10000}, "token_incomplete"),
    ({"exp": 0}, "token_expired"),
    ({"exp": -1}, "token_expired"),
    ({"exp": -1.5}, "token_expired"),
    ({"exp": 1.5}, "token_expired"),
    ({"exp": time.time() - 31}, "token_expired"),
    ({"nbf": time.time() + 1000}, "token_not_yet_valid"),
    ({"nbf": 200_000_000_000}, "token_not_yet_valid"),
    ({"nbf": "now"}, "token_incomplete"),
    ({"nbf": True}, "token_incomplete"),
    ({"iat": time.time() + 1000}, "token_not_yet_valid"),
    ({"iat": "now"}, "token_incomplete"),
    ({"iat": []}, "token_incomplete"),
    ({"iss": None}, "token_incomplete"),
    ({"iss": ISSUER.rstrip("/")}, "wrong_issuer"),
    ({"iss": ISSUER.upper()}, "wrong_issuer"),
    ({"iss": "urn:rampart:trusted-proxy"}, "wrong_issuer"),
    ({"iss": [ISSUER]}, "token_incomplete"),
    ({"iss": 5}, "token_incomplete"),
    ({"iss": ""}, "token_incomplete"),
    ({"iss": "x" * 401}, "token_incomplete"),
    ({"iss": f"{ISSUER}\n"}, "token_incomplete"),
    ({"aud": None}, "token_incomplete"),
    ({"aud": "somebody-else"}, "wrong_audience"),
    ({"aud": f" {AUDIENCE}"}, "wrong_audience"),
    ({"aud": ["a", "b"]}, "wrong_audience"),
    ({"aud": []}, "wrong_audience"),
    ({"aud": ""}, "wrong_audience"),
    ({"aud": [AUDIENCE, 5]}, "token_incomplete"),
    ({"aud": [[AUDIENCE]]}, "token_incomplete"),
    ({"aud": {AUDIENCE: 1}}, "token_incomplete"),
    ({"aud": 5}, "token_incomplete"),
    ({"cnf": {"jkt": "x"}}, "token_incomplete"),
]


@pytest.mark.feature("I6", "T22")
@pytest.mark.parametrize(("wrong", "code"), WRONG_CLAIMS, ids=lambda value: str(value)[:40])
def test_a_wrong_claim_is_refused_by_its_fault(wrong: Json, code: str) -> None:
    assert refusal(token(**wrong)) == code


@pytest.mark.feature("I6")
@pytest.mark.parametrize(("wrong", "code"), WRONG_CLAIMS[::6], ids=lambda value: str(value)[:40])
def test_of_what_nobody_signed_nothing_is_told(wrong: Json, code: str) -> None:
    assert refusal(token(name="stranger", **wrong)) == "invalid_credentials"


@pytest.mark.feature("T22")
@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize("claim", [b"exp", b"nbf", b"other"])
def test_a_number_that_no_reader_holds_cannot_be_read(claim: bytes, number: bytes) -> None:
    payload = json.dumps(claims(exp=None)).encode()[:-1] + b',"%s":%s}' % (claim, number)
    assert refusal(signed({"alg": "RS256", "kid": "k1"}, payload)) == "malformed_credentials"


@pytest.mark.feature("T22")
def test_a_number_with_more_digits_than_python_reads_cannot_be_read() -> None:
    payload = b'{"exp":%s}' % (b"9" * 5000)
    assert refusal(signed({"alg": "RS256", "kid": "k1"}, payload)) == "malformed_credentials"


@pytest.mark.parametrize(
    "said",
    [
        {"iss": "urn:rampart:trusted-proxy"},
        {"iss": "urn:rampart:unnamed-issuer"},
    ],
)
def test_no_token_speaks_in_ramparts_own_name(said: Json) -> None:
    open_to_all = issuer(jwk_of("RS256"), name="", required=frozenset({"exp"}))
    assert refusal(token(**said), open_to_all) == "wrong_issuer"


# Names and scopes.


@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "a ", "a\n", "\x00", "a\u202eb", "\ud800", "x" * 201, 5, None, ["a"], {}],
)
def test_an_actor_that_is_no_name_is_refused(name: Any) -> None:
    said = check(token(sub=name))
    with pytest.raises(BadCredentials, match="token_incomplete"):
        said.service("sub")


@pytest.mark.parametrize("name", ["a", "x" * 200, "Überweiser", "a b", "a@clients", "42"])
def test_an_actor_is_taken_as_it_is_written(name: str) -> None:
    assert check(token(sub=name)).service("sub").actor == name


def test_the_actor_is_in_the_claim_that_is_configured() -> None:
    said = check(token(client_id="robot")).service("client_id")
    assert (said.actor, said.subject) == ("robot", "billing-agent")
    assert check(token(sub=None, client_id="robot")).service("client_id").subject == "robot"
    assert code_of(check(token()).service, "client_id") == "token_incomplete"


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ({"scope": None}, ()),
        ({"scope": ""}, ()),
        ({"scope": "a b"}, ("a", "b")),
        ({"scope": " a  b a "}, ("a", "b")),
        ({"scope": ["a", "b"]}, ("a", "b")),
        ({"scope": None, "scopes": ["a", "b"]}, ("a", "b")),
        ({"scope": None, "scopes": "a b"}, ("a", "b")),
        ({"scope": None, "scp": ["a"]}, ("a",)),
        ({"scope": "a", "scopes": ["b"], "scp": "c a"}, ("a", "b", "c")),
        ({"scope": []}, ()),
        ({"scope": "api://rampart/refunds.*"}, ("api://rampart/refunds.*",)),
    ],
)
def test_scopes_are_words_or_a_list_of_words(said: Json, scopes: tuple[str, ...]) -> None:
    assert check(token(**said)).service("sub").scopes == scopes


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    "scope",
    [
        5,
        True,
        {"a": 1},
        ["a", 5],
        ["a", None],
        ["a b"],
        [""],
        [["a"]],
        "a\x00",
        "a\u202eb",
        ["\ud800"],
    ],
)
def test_one_scope_that_is_no_word_spoils_the_token(scope: Any) -> None:
    assert code_of(check(token(scope=scope)).service, "sub") == "token_incomplete"


# What cannot be read.


def test_a_token_has_three_parts() -> None:
    text = token()
    for wrong in ("", ".", "..", "a.b", text.rpartition(".")[0], f"{text}.", f"{text}.{text}"):
        assert refusal(wrong) == "malformed_credentials"


def test_an_encrypted_token_cannot_be_read() -> None:
    header = base64url_encode(b'{"alg":"dir","enc":"A256GCM"}').decode()
    assert refusal(f"{header}..aXY.Y2lwaGVy.dGFn") == "malformed_credentials"


@pytest.mark.parametrize("letter", ["!", "é", "\ud800", "\x00", "%", " ", "\n", "+", "/"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_letters_that_are_not_base64url_cannot_be_read(part: int, letter: str) -> None:
    parts = token().split(".")
    parts[part] = letter + parts[part][1:]
    assert refusal(".".join(parts)) == "malformed_credentials"


NO_HEADERS = [
    b"", b"{", b"[]", b"null", b"5", b'"alg"', b"\xff", b"{}{}", b'{"alg":"RS256"', b"[" * 3000,
    b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"alg":"RS256","kid":5}', b'{"alg":"RS256","kid":null}',
    b'{"alg":"RS256","kid":["k1"]}', b'{"alg":%s}' % (b"9" * 5000),
]  # fmt: skip


@pytest.mark.parametrize("header", NO_HEADERS, ids=lambda header: header[:20])
def test_a_header_that_is_no_json_object_cannot_be_read(header: bytes) -> None:
    assert refusal(signed(header, claims())) == "malformed_credentials"


NO_PAYLOADS = [
    b"", b"{", b"[]", b"null", b"5", b'"sub"', b"\xff", b"{}{}", b"[" * 5000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000, b'\xef\xbb\xbf{"exp":1}', '{"exp":1}'.encode("utf-16"),
    b'{"exp":9999999999,"exp":1}', b'{"sub":"a","sub":"b"}',
]  # fmt: skip


@pytest.mark.parametrize("payload", NO_PAYLOADS, ids=lambda payload: payload[:20])
def test_a_payload_that_is_no_json_object_cannot_be_read(payload: bytes) -> None:
    text = signed({"alg": "RS256", "kid": "k1"}, payload)
    assert refusal(text) == "malformed_credentials"


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": "b64"},
        {"crit": [5]},
        {"b64": False},
        {"b64": 0},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": "token-introspection+jwt"},
        {"typ": ""},
        {"typ": None},
        {"typ": ["JWT"]},
    ],
)
def test_a_header_that_asks_for_what_is_not_known_is_refused(header: Json) -> None:
    assert refusal(token(header=header)) == "malformed_credentials"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("wrong", [{"name": "stranger"}, {"exp": 1}, {"exp": "x"}, {"kid": "x"}])
def test_neither_token_nor_secret_is_in_what_is_shown(wrong: Json) -> None:
    text = token(**wrong)
    with pytest.raises(BadCredentials) as refused:
        check(text)
    shown = f"{refused.value!r} {refused.value.fault} {read(text)!r} {issuer()!r}"
    assert not any(part in shown for part in (*text.split("."), SECRET, "billing-agent"))


def test_a_key_is_for_the_algorithm_that_it_names() -> None:
    only = issuer(jwk_of("RS256", alg="RS256"))
    assert check(token("RS256"), only)
    assert refusal(token("PS256"), only) == "unknown_signing_key"
    assert refusal(token("RS512"), only) == "unknown_signing_key"
