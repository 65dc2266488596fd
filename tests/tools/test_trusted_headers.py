"""Headers by which a proxy says who calls: believed from trusted proxies, taken off all others."""

import ipaddress
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest import LogCaptureFixture
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from audit.events import EventName
from audit.models import Event
from rampart.checks import whoever_vouches_is_named
from rampart.middleware import TrustedHeadersMiddleware
from tests.conftest import Agent, as_person, held
from tools import identity, keys
from tools.key_cabinet import revoke_key
from tools.models import ApiKey
from tools.trusted_headers import FAMILIES, ISSUER

pytestmark = pytest.mark.django_db

PROXY, STRANGER = "10.9.9.9", "203.0.113.5"
NAMES = list(FAMILIES.values())


@pytest.fixture
def behind_a_proxy(settings: Settings, tools_synced: None) -> Settings:
    settings.RAMPART_TRUSTED_HEADERS = "rampart"
    settings.RAMPART_TRUSTED_PROXIES = [ipaddress.ip_network(f"{PROXY}/32")]
    return settings


def ask(peer: str = PROXY, /, path: str = "key", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: Response = APIClient().get(f"/api/v1/{path}", headers=named, REMOTE_ADDR=peer)
    return answer


def code(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.feature("I6")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trusted_proxy_says_who_calls_and_with_which_scopes(
    behind_a_proxy: Settings, family: str
) -> None:
    behind_a_proxy.RAMPART_TRUSTED_HEADERS = family
    actor, scopes = FAMILIES[family]
    headers = {actor: "billing", scopes: "kit.read, orders.*"}
    client = APIClient()
    answer = client.get("/api/v1/tools", headers=headers, REMOTE_ADDR=PROXY)
    assert answer.status_code == 200
    names = {tool["name"] for tool in answer.json()["tools"]}
    assert "echo" in names and "leave_trace" not in names
    row = ApiKey.objects.get(issuer=ISSUER)
    assert (row.actor, row.subject, row.digest) == ("billing", "billing", "")
    body: Any = {"arguments": {"value": 3}}
    said = client.post(
        "/api/v1/tools/echo/invoke", body, "json", headers=headers, REMOTE_ADDR=PROXY
    )
    assert (said.status_code, said.json()["data"]) == (200, 3)
    assert Event.objects.newest_first()[0].actor == "billing"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("peer", [STRANGER, "127.0.0.1", "10.9.9.8", ""])
def test_from_elsewhere_the_headers_are_nobody(behind_a_proxy: Settings, peer: str) -> None:
    answer = ask(peer, X_Rampart_Actor="ceo", X_Rampart_Scopes="*")
    assert code(answer) == (401, "not_authenticated")
    assert not ApiKey.objects.exists()


@pytest.mark.feature("I6")
def test_a_forwarded_address_of_a_proxy_is_not_the_proxy(behind_a_proxy: Settings) -> None:
    answer = ask(STRANGER, X_Rampart_Actor="ceo", X_Forwarded_For=PROXY)
    assert code(answer) == (401, "not_authenticated")


@pytest.mark.feature("I6")
def test_trusting_a_proxys_addresses_is_not_believing_whom_it_names(
    behind_a_proxy: Settings,
) -> None:
    behind_a_proxy.RAMPART_TRUSTED_HEADERS = "off"
    assert code(ask(X_Rampart_Actor="ceo")) == (401, "not_authenticated")


@pytest.mark.feature("I6")
def test_what_is_not_trusted_is_taken_off_and_the_attempt_is_logged(
    behind_a_proxy: Settings, caplog: LogCaptureFixture
) -> None:
    seen: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    headers = {name: "ceo" for pair in NAMES for name in pair}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=STRANGER)
    with caplog.at_level(logging.WARNING):
        TrustedHeadersMiddleware(view)(request)
    assert not [name for name in (*seen[0].META, *seen[0].headers) if "ctor" in name.lower()]
    assert not [name for name in seen[0].META if "SCOPES" in name]
    assert STRANGER in caplog.text and "ceo" not in caplog.text


@pytest.mark.feature("I6")
def test_nothing_reads_the_headers_before_they_are_taken_off(settings: Settings) -> None:
    """Django keeps a copy of the headers from the first look at them on."""
    before = settings.MIDDLEWARE.index("rampart.middleware.TrustedHeadersMiddleware")
    assert settings.MIDDLEWARE[:before] == ["rampart.metrics.ByViewMiddleware"]


@pytest.mark.feature("I6", "I5")
def test_a_bad_key_is_401_even_from_a_proxy_that_vouches(behind_a_proxy: Settings) -> None:
    bad = f"Bearer {keys.new_key().text}"
    answer = ask(X_Rampart_Actor="billing", Authorization=bad)
    assert code(answer) == (401, "invalid_credentials")


@pytest.mark.feature("I6")
def test_a_good_key_wins_over_what_the_proxy_says(behind_a_proxy: Settings, agent: Agent) -> None:
    answer = ask(X_Rampart_Actor="billing", Authorization=f"Bearer {agent.key}")
    assert answer.json()["actor"] == "agent"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("actor", ["", "  ", "a" * 201, "a\tb", "caf\xad", "one,two"])
def test_an_actor_that_cannot_be_is_401(behind_a_proxy: Settings, actor: str) -> None:
    assert code(ask(X_Rampart_Actor=actor)) == (401, "malformed_credentials")


@pytest.mark.feature("I6")
def test_the_family_that_the_proxy_does_not_set_is_nobodys(behind_a_proxy: Settings) -> None:
    """The proxy drops what it sets itself; the other names come from whoever calls."""
    answer = ask(X_ToolRampart_Actor="ceo", X_ToolRampart_Scopes="*")
    assert code(answer) == (401, "not_authenticated")
    mixed = ask(path="tools", X_Rampart_Actor="billing", X_ToolRampart_Scopes="*")
    assert mixed.json()["tools"] == [tool for tool in mixed.json()["tools"] if not tool_scope(tool)]


def tool_scope(tool: dict[str, Any]) -> Any:
    return tool["policies"]["scope"]


@pytest.mark.feature("I6", "I2")
def test_a_callers_row_can_be_revoked(behind_a_proxy: Settings) -> None:
    assert ask(X_Rampart_Actor="billing").status_code == 200
    revoke_key(ApiKey.objects.get().prefix, by="test")
    identity.forget_all()  # As the transaction's end does where there is one.
    assert code(ask(X_Rampart_Actor="billing")) == (401, "key_revoked")
    assert ask(X_Rampart_Actor="other").status_code == 200


@pytest.mark.feature("I6", "I8")
def test_whom_a_proxy_names_never_decides(
    behind_a_proxy: Settings, agent: Agent, trace: Any, reviewer: User
) -> None:
    approval = held(agent, trace)
    headers = {"X-Rampart-Actor": reviewer.username, "X-Rampart-Scopes": "*"}
    answer = APIClient().post(
        f"/api/v1/approvals/{approval.pk}/approve", {}, "json", headers=headers, REMOTE_ADDR=PROXY
    )
    assert code(answer) == (403, "machine_cannot_approve")
    assert Event.objects.newest_first()[0].event == EventName.APPROVAL_REFUSED


@pytest.mark.feature("I6")
def test_a_session_is_left_alone(behind_a_proxy: Settings, reviewer: User) -> None:
    assert as_person(reviewer).get("/api/v1/approvals").status_code == 200


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("networks", "ids"),
    [
        (["10.0.0.0/8"], ["rampart.W001"]),
        ([], ["rampart.E002"]),
        (["0.0.0.0/0"], ["rampart.E002"]),
        (["10.0.0.1/32", "::/0"], ["rampart.E002"]),
    ],
)
def test_a_check_says_that_proxies_are_believed(
    settings: Settings, networks: list[str], ids: list[str]
) -> None:
    settings.RAMPART_TRUSTED_PROXIES = [ipaddress.ip_network(one) for one in networks]
    assert whoever_vouches_is_named() == []
    settings.RAMPART_TRUSTED_HEADERS = "toolrampart"
    assert [found.id for found in whoever_vouches_is_named()] == ids
