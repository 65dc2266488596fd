"""A provider that really answers, a clock that can be put forward, and settings that trust."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pytest import MonkeyPatch
from pytest_django import Settings

from tests.tools.tokens.provider import AUDIENCE, ISSUER, SECRET, Provider, running
from tools.identity import BadCredentials
from tools.tokens import trust


@pytest.fixture(autouse=True)
def _nothing_fetched(settings: Settings) -> Iterator[None]:
    """No test sees what another has fetched, and there is room for many who wait."""
    settings.RAMPART_WEB_THREADS = 64
    trust.forget()
    yield
    trust.forget()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of this test's own."""
    with running() as provider:
        yield provider


class Clock:
    """Both of Python's clocks, ahead of the machine's by as much as the test says."""

    def __init__(self, monkeypatch: MonkeyPatch) -> None:
        self.ahead = 0.0
        for name in ("time", "monotonic"):
            real = getattr(time, name)
            monkeypatch.setattr(time, name, lambda real=real: real() + self.ahead)

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: MonkeyPatch) -> Clock:
    """The clock."""
    return Clock(monkeypatch)


class Trust:
    """The settings of tokens, by their short names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def services(self, **values: Any) -> None:
        """A shared secret, our issuer and our audience, unless something else is said."""
        usual = {
            "SECRET": SECRET,
            "ALGORITHMS": ["HS256"],
            "ISSUER": ISSUER,
            "AUDIENCE": [AUDIENCE],
        }
        for name, value in (usual | values).items():
            setattr(self.settings, f"RAMPART_JWT_{name}", value)

    def people(self, url: str, **values: Any) -> None:
        """The provider that people sign in with."""
        usual = {
            "OP_ISSUER": ISSUER, "OP_JWKS_ENDPOINT": url, "RP_CLIENT_ID": "rampart",
            "RP_SIGN_ALGO": "RS256",
        }  # fmt: skip
        for name, value in (usual | values).items():
            setattr(self.settings, f"OIDC_{name}", value)

    def introspection(self, url: str, **values: Any) -> None:
        """The endpoint that is asked about opaque tokens."""
        usual = {"URL": url, "CLIENT_ID": "rampart", "CLIENT_SECRET": "hush"}
        for name, value in (usual | values).items():
            setattr(self.settings, f"RAMPART_INTROSPECTION_{name}", value)


@pytest.fixture
def trusting(settings: Settings) -> Trust:
    """Nobody is trusted until the test says so."""
    trust = Trust(settings)
    trust.services(SECRET="", ALGORITHMS=[], ISSUER="", AUDIENCE=[], JWKS_URL="", JWKS_FILE="")
    trust.settings.RAMPART_JWT_LEEWAY = timedelta(seconds=30)
    trust.settings.RAMPART_JWT_ACTOR_CLAIM = "sub"
    trust.people("", OP_ISSUER="", RP_CLIENT_ID="")
    trust.introspection("")
    return trust


def code_of(act: Any, *given: Any) -> str:
    """The code with which the credentials are refused."""
    with pytest.raises(BadCredentials) as refused:
        act(*given)
    return refused.value.code
