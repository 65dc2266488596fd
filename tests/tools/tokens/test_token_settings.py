"""The settings of tokens: what cannot be meant stops the start, what is dangerous is a warning."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Deployment
from tests.settings_reading import read, refusal
from tests.tools.tokens.conftest import Trust
from tests.tools.tokens.provider import SECRET, jwk_of
from tools.checks import token_providers_are_asked_in_private, tokens_are_for_us_alone

URL = "https://issuer.example/keys/"
ENDPOINT = {
    "RAMPART_INTROSPECTION_URL": "https://issuer.example/introspect/",
    "RAMPART_INTROSPECTION_CLIENT_ID": "rampart",
    "RAMPART_INTROSPECTION_CLIENT_SECRET": "hush",
}


@pytest.fixture
def bare(tmp_path: Path) -> Deployment:
    """A deployment with secrets and nothing else."""
    return Deployment(tmp_path / "var")


@pytest.fixture
def key_set(tmp_path: Path) -> Path:
    """A file with one key."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [jwk_of("RS256")]}))
    return file


@pytest.mark.feature("I6")
def test_nothing_is_trusted_unless_it_is_said(bare: Deployment) -> None:
    settings = read(bare)
    assert settings["RAMPART_JWT_SECRET"] == settings["RAMPART_INTROSPECTION_URL"] == ""
    assert settings["RAMPART_JWT_ALGORITHMS"] == settings["RAMPART_JWT_AUDIENCE"] == []
    assert settings["RAMPART_JWT_ACTOR_CLAIM"] == "sub"
    assert settings["RAMPART_JWT_LEEWAY"] == timedelta(seconds=30)


@pytest.mark.feature("I6")
def test_algorithms_follow_the_keys(bare: Deployment, key_set: Path) -> None:
    def chosen(**environment: str) -> Any:
        return read(bare, **environment)["RAMPART_JWT_ALGORITHMS"]

    published = ["RS256", "ES256", "EdDSA"]
    assert chosen(RAMPART_JWT_SECRET=SECRET) == ["HS256"]
    assert chosen(RAMPART_JWT_JWKS_URL=URL) == published
    assert chosen(RAMPART_JWT_JWKS_FILE=str(key_set)) == published
    assert chosen(RAMPART_JWT_SECRET=SECRET, RAMPART_JWT_JWKS_URL=URL) == ["HS256", *published]
    assert chosen(RAMPART_JWT_JWKS_URL=URL, RAMPART_JWT_ALGORITHMS="PS256") == ["PS256"]


def test_an_address_is_kept_as_it_is_written(bare: Deployment) -> None:
    settings = read(bare, RAMPART_JWT_JWKS_URL=URL, **ENDPOINT)
    assert settings["RAMPART_JWT_JWKS_URL"] == URL
    assert settings["RAMPART_INTROSPECTION_URL"] == ENDPOINT["RAMPART_INTROSPECTION_URL"]


@pytest.mark.feature("E4", "I6")
@pytest.mark.parametrize("name", ["RAMPART_JWT_SECRET", "RAMPART_INTROSPECTION_CLIENT_SECRET"])
def test_secrets_may_be_given_in_a_file(bare: Deployment, name: str) -> None:
    file = bare.folder / "mounted"
    file.write_text(f"{SECRET}\n")
    others = {key: value for key, value in ENDPOINT.items() if key != name}
    assert (
        read(bare, **others if name in ENDPOINT else {}, **{f"{name}_FILE": str(file)})[name]
        == SECRET
    )


WRONG: list[tuple[str, dict[str, str]]] = [
    ("RAMPART_JWT_SECRET", {"RAMPART_JWT_SECRET": "s" * 31}),
    ("RAMPART_JWT_SECRET", {"RAMPART_JWT_SECRET": '{"kty":"oct","k":"c2VjcmV0LXNlY3JldA"}'}),
    ("RAMPART_JWT_JWKS_URL", {"RAMPART_JWT_JWKS_URL": "issuer.example/keys"}),
    ("RAMPART_JWT_JWKS_URL", {"RAMPART_JWT_JWKS_URL": "file:///etc/keys"}),
    ("RAMPART_JWT_JWKS_URL", {"RAMPART_JWT_JWKS_URL": "https://me:hunter2@issuer.example/"}),
    ("RAMPART_JWT_JWKS_URL", {"RAMPART_JWT_JWKS_URL": URL, "RAMPART_JWT_JWKS_FILE": "KEYS"}),
    ("RAMPART_JWT_JWKS_FILE", {"RAMPART_JWT_JWKS_FILE": "/nowhere"}),
    ("RAMPART_JWT_JWKS_FILE", {"RAMPART_JWT_JWKS_FILE": "/"}),
    ("RAMPART_JWT_ISSUER", {"RAMPART_JWT_ISSUER": "x" * 401}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_ALGORITHMS": "HS256"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_ALGORITHMS": "RS256"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_SECRET": SECRET, "RAMPART_JWT_ALGORITHMS": "RS256"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_SECRET": "s" * 32, "RAMPART_JWT_ALGORITHMS": "HS384"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_JWKS_URL": URL, "RAMPART_JWT_ALGORITHMS": "HS256"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_JWKS_URL": URL, "RAMPART_JWT_ALGORITHMS": "none"}),
    ("RAMPART_JWT_ALGORITHMS", {"RAMPART_JWT_JWKS_URL": URL, "RAMPART_JWT_ALGORITHMS": "rs256"}),
    ("RAMPART_JWT_ACTOR_CLAIM", {"RAMPART_JWT_ACTOR_CLAIM": ""}),
    ("RAMPART_JWT_LEEWAY", {"RAMPART_JWT_LEEWAY": "30"}),
    ("RAMPART_JWT_LEEWAY", {"RAMPART_JWT_LEEWAY": "6m"}),
    *[
        (name, {other: value for other, value in ENDPOINT.items() if other != name})
        for name in ENDPOINT
    ],
    ("RAMPART_INTROSPECTION_URL", {**ENDPOINT, "RAMPART_INTROSPECTION_URL": "issuer.example"}),
]


@pytest.mark.feature("E4", "I6")
@pytest.mark.parametrize(("name", "environment"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_value_stops_the_start_in_one_line_that_names_it(
    bare: Deployment, key_set: Path, name: str, environment: dict[str, str]
) -> None:
    given = {key: str(key_set) if value == "KEYS" else value for key, value in environment.items()}
    line = refusal(bare, **given)
    assert line.startswith(name)
    assert "hunter2" not in line and "s" * 31 not in line and SECRET not in line


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}',
        b"-----BEGIN PUBLIC KEY-----",
    ],
)
def test_a_file_without_a_key_that_is_of_use_stops_the_start(
    bare: Deployment, key_set: Path, content: bytes
) -> None:
    key_set.write_bytes(content)
    line = refusal(bare, RAMPART_JWT_JWKS_FILE=str(key_set))
    assert line.startswith("RAMPART_JWT_JWKS_FILE: no JSON Web Key Set that can be used: ")


def test_a_process_ends_with_that_line_alone(bare: Deployment) -> None:
    done = bare.manage("check", RAMPART_JWT_JWKS_FILE="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rampart: RAMPART_JWT_JWKS_FILE: No such file or directory\n"


# Warnings.


def warnings() -> list[tuple[str | None, str]]:
    """The ids of what the checks say, with the variable that each names."""
    found = [*tokens_are_for_us_alone(), *token_providers_are_asked_in_private()]
    return [
        (warning.id, next(word for word in warning.msg.split() if word.isupper()))
        for warning in found
    ]


@pytest.mark.feature("I6")
def test_tokens_for_anybody_are_a_warning(trusting: Trust) -> None:
    assert warnings() == []
    trusting.services()
    assert warnings() == []
    trusting.services(ISSUER="", AUDIENCE=[])
    assert warnings() == [
        ("tools.W004", "RAMPART_JWT_ISSUER"),
        ("tools.W004", "RAMPART_JWT_AUDIENCE"),
    ]
    trusting.services(SECRET="", JWKS_FILE="keys.json", ISSUER="")
    assert warnings() == [("tools.W004", "RAMPART_JWT_ISSUER")]


def test_an_endpoint_whose_answers_are_for_anybody_is_a_warning(trusting: Trust) -> None:
    trusting.introspection("https://issuer.example/introspect")
    assert warnings() == [("tools.W004", "RAMPART_JWT_AUDIENCE")]


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://issuer.example/", True),
        ("http://10.0.0.1/", True),
        ("http://localhost.example/", True),
        ("http://127.0.0.1:8080/", False),
        ("http://[::1]/", False),
        ("http://localhost/", False),
        ("https://issuer.example/", False),
    ],
)
def test_asking_in_public_is_a_warning(trusting: Trust, url: str, warns: bool) -> None:
    trusting.services(SECRET="", JWKS_URL=url)
    trusting.people(url)
    trusting.introspection(url)
    named = ["RAMPART_JWT_JWKS_URL", "OIDC_OP_JWKS_ENDPOINT", "RAMPART_INTROSPECTION_URL"]
    assert warnings() == [("tools.W005", name) for name in named if warns]
