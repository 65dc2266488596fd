"""The gate: bad credentials end with 401 on every address, and never make anybody anonymous."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings
from rest_framework.test import APIClient

from audit.events import EventName
from audit.models import Event
from rampart.configuration import Configuration
from tests.conftest import Agent, MakeAgent, as_person
from tools import keys
from tools.authentication import client_address
from tools.key_cabinet import revoke_key

pytestmark = pytest.mark.django_db

AN_ID = "01890000-0000-7000-8000-000000000000"
OPEN = {"/api/v1/health", "/api/v1/ready", "/api/v1/metrics"}
"""They look at no credentials and touch nothing of anybody's."""


def _paths(patterns: list[Any], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _paths(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield re.sub("<uuid:[a-z_]+>", AN_ID, path.replace("<str:name>", "echo"))


PATHS = [
    path
    for path in _paths(get_resolver().url_patterns, "/")
    if path.startswith("/api/") and path not in OPEN
]
BAD = {
    "unknown": ({"Authorization": f"Bearer {keys.new_key().text}"}, "invalid_credentials"),
    "no key at all": ({"Authorization": "Bearer hunter2"}, "invalid_credentials"),
    "an empty key": ({"X-Rampart-Key": ""}, "invalid_credentials"),
    "another scheme": ({"Authorization": "Basic YTpi"}, "malformed_credentials"),
    "no scheme": ({"Authorization": keys.new_key().text}, "malformed_credentials"),
    "a scheme alone": ({"Authorization": "Bearer "}, "malformed_credentials"),
    "an empty header": ({"Authorization": ""}, "malformed_credentials"),
    "not ASCII": ({"X-Rampart-Key": "rmp_ä\xff"}, "malformed_credentials"),
    "oversized": ({"X-ToolRampart-Key": "rmp_" + "a" * 8192}, "malformed_credentials"),
    "oversized bearer": ({"Authorization": "Bearer " + "a" * 8193}, "malformed_credentials"),
    "no bearer token": ({"Authorization": "Bearer a b"}, "malformed_credentials"),
    "a line's end after it": (
        {"X-Rampart-Key": keys.new_key().text + "\n"}, "malformed_credentials",
    ),
}  # fmt: skip


FAULTS = {
    "another scheme": "the scheme is not Bearer",
    "oversized": "the credentials are longer than 8 KiB",
    "oversized bearer": "the credentials are longer than 8 KiB",
    "not ASCII": "the credentials hold more than printable ASCII",
    "no bearer token": "there is no bearer token",
}
"""What the caller and the ledger are told beyond the code, where that gives nothing away."""


def test_the_paths_are_those_of_the_api() -> None:
    assert len(PATHS) >= 13 and all("<" not in path for path in PATHS)


@pytest.mark.feature("I5", "T7")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_bad_key_is_401_everywhere(path: str, method: str) -> None:
    headers, code = BAD["unknown"]
    answer = getattr(APIClient(), method)(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.feature("I5")
@pytest.mark.parametrize("kind", BAD)
def test_credentials_that_are_not_good_are_401(kind: str) -> None:
    headers, code = BAD[kind]
    answer = APIClient().get("/api/v1/tools", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.feature("I5", "T7", "T22")
def test_a_bad_key_is_401_even_beside_a_good_session(owner: User) -> None:
    client = as_person(owner)
    assert client.get("/api/v1/tools").status_code == 200
    assert client.get("/api/v1/tools", headers=BAD["unknown"][0]).status_code == 401


@pytest.mark.feature("I1")
def test_a_request_with_a_bad_key_looks_for_it_once(agent: Agent) -> None:
    """Beside that the guess is counted, in a row where there is no Redis, and told in a line."""
    with CaptureQueriesContext(connection) as queries:
        APIClient().get("/api/v1/tools", headers=BAD["unknown"][0])
    reads = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    looked = [sql for sql in reads if "tools_ratewindow" not in sql]
    assert len(looked) == 1 and 'FROM "tools_apikey"' in looked[0]


@pytest.mark.feature("I5")
def test_two_headers_that_disagree_are_401_though_both_are_good(make_agent: MakeAgent) -> None:
    one, other = make_agent("one"), make_agent("other")
    headers = {"Authorization": f"Bearer {one.key}", "X-Rampart-Key": other.key}
    answer = APIClient().get("/api/v1/tools", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "malformed_credentials")


@pytest.mark.feature("I5")
@pytest.mark.parametrize(
    "names", [("X-Rampart-Key",), ("X-ToolRampart-Key",), ("X-Rampart-Key", "X-ToolRampart-Key")]
)
def test_a_good_key_is_good_in_every_header(agent: Agent, names: tuple[str, ...]) -> None:
    headers = dict.fromkeys(names, agent.key)
    assert APIClient().get("/api/v1/tools", headers=headers).status_code == 200
    headers["Authorization"] = f"bearer  {agent.key}"
    assert APIClient().get("/api/v1/tools", headers=headers).status_code == 200


def test_no_credentials_are_401_with_a_challenge() -> None:
    answer = APIClient().get("/api/v1/tools")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.feature("I5", "T6")
def test_a_body_that_claims_an_identity_gives_none(agent: Agent) -> None:
    claims = {"actor": "ceo", "scopes": ["*"], "approved": True, "approved_by": "ceo"}
    answer = APIClient().post("/api/v1/tools/echo/invoke", claims, format="json")
    assert answer.status_code == 401
    agent.post("echo", {"arguments": {"value": 1}, **claims})
    assert Event.objects.newest_first()[0].actor == "agent"


# The ledger.


@pytest.mark.feature("U1")
@pytest.mark.parametrize("kind", ["unknown", "no key at all", *FAULTS])
def test_a_refused_credential_is_one_line(kind: str) -> None:
    headers, code = BAD[kind]
    answer = APIClient().get("/api/v1/tools", headers={**headers, "X-Request-ID": "abc"})
    event = Event.objects.get()
    fault = FAULTS.get(kind)
    assert answer.status_code == 401
    assert (event.event, event.reason) == (EventName.CREDENTIALS_REFUSED, code)
    assert (event.source, event.request_id, event.actor) == ("rest", "abc", "")
    told = {"address": "127.0.0.1", "path": "/api/v1/tools"} | ({"fault": fault} if fault else {})
    assert event.metadata == told
    assert fault is None or answer.json()["detail"] == fault


@pytest.mark.feature("U1")
def test_nobody_at_all_is_one_line_too() -> None:
    APIClient().get("/api/v1/tools")
    assert Event.objects.get().reason == "not_authenticated"


@pytest.mark.feature("U1", "U4")
def test_the_line_names_the_prefix_and_never_the_secret(agent: Agent) -> None:
    revoke_key(agent.row.prefix, by="test")
    agent.get("tools")
    event = Event.objects.newest_first()[0]
    assert (event.reason, event.key_prefix) == ("key_revoked", agent.row.prefix)
    assert agent.key[15:] not in str(Event.objects.values().get(pk=event.pk))


# Addresses.


@pytest.fixture
def proxied(settings: Settings) -> Settings:
    """Behind two proxies of ours."""
    settings.RAMPART_TRUSTED_PROXIES = Configuration(
        _Env({"P": "10.0.0.0/8, ::1/128"})  # type: ignore[arg-type]
    ).networks("P")
    return settings


class _Env:
    """An environment of the test's own."""

    def __init__(self, values: dict[str, str]) -> None:
        self.ENVIRON = values


@pytest.mark.feature("I7")
@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", None, "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, junk", "junk"),
        ("::1", " 198.51.100.1 ,", "198.51.100.1"),
        ("", "198.51.100.1", ""),
        ("10.0.0.1", "", ""),
        ("10.0.0.1", " , ", ""),
    ],
)
def test_only_our_proxies_may_say_where_a_call_comes_from(
    proxied: Settings, peer: str, forwarded: str | None, address: str
) -> None:
    """A header with an odd byte arrives empty: such a call comes from nowhere."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers)
    assert client_address(request) == address


@pytest.mark.feature("I7")
def test_a_forged_address_does_not_open_a_limited_key(make_agent: MakeAgent) -> None:
    agent = make_agent(cidrs=("10.1.0.0/16",))
    answer = agent.client.get(
        "/api/v1/tools", REMOTE_ADDR="203.0.113.9", HTTP_X_FORWARDED_FOR="10.1.0.1"
    )
    assert answer.json()["code"] == "key_not_allowed_here"
