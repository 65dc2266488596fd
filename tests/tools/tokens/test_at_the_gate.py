"""Tokens over REST: what they open, what each fault is answered, and who may decide with one."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.response import Response
from rest_framework.test import APIClient

from approvals.models import Approval
from audit.events import EventName
from audit.models import Event
from tests.conftest import Agent, as_person, effects, held, work
from tests.tools.tokens.conftest import Trust
from tests.tools.tokens.provider import AUDIENCE, ISSUER, Provider, jwk_of, running, token
from tools import identity
from tools.key_cabinet import revoke_key
from tools.models import ApiKey, FederatedIdentity

pytestmark = pytest.mark.django_db


def ask(text: str, path: str = "key", **headers: str) -> Response:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}", **headers)
    answer: Response = client.get(f"/api/v1/{path}")
    return answer


def post(text: str, path: str, body: Any) -> Response:
    client = APIClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}", HTTP_PREFER="respond-async")
    answer: Response = client.post(f"/api/v1/{path}", body, format="json")
    return answer


def code(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# A service.


@pytest.fixture
def services(trusting: Trust, provider: Provider, tools_synced: None) -> Provider:
    """Services come with tokens of this provider."""
    provider.publishes(jwk_of("RS256"))
    trusting.services(SECRET="", ALGORITHMS=["RS256"], JWKS_URL=provider.url)
    return provider


@pytest.mark.feature("I6")
def test_a_service_calls_with_its_token_and_under_its_name(services: Provider) -> None:
    text = token(scope="kit.read")
    answer = post(text, "tools/echo/invoke", {"arguments": {"value": 5}, "actor": "ceo"})
    assert (answer.status_code, answer.json()["data"]) == (200, 5)
    line = Event.objects.newest_first()[0]
    assert (line.event, line.actor) == (EventName.INVOCATION_FINISHED, "billing-agent")
    assert line.key_prefix == ApiKey.objects.get().prefix
    assert not any(text in str(row) for row in Event.objects.values())


@pytest.mark.feature("I6", "I7")
def test_a_token_opens_what_its_scopes_cover_and_no_more(services: Provider) -> None:
    text = token(scope="kit.read")
    assert post(text, "tools/leave_trace/invoke", {"arguments": {"path": "x"}}).status_code == 403
    wider = token(scope=None, scopes=["kit.*"])
    assert len(ask(wider, "tools").json()["tools"]) > len(ask(text, "tools").json()["tools"])


@pytest.mark.feature("I6")
def test_a_held_call_of_a_token_runs_though_the_token_is_long_over(
    services: Provider, trace: Path, reviewer: User
) -> None:
    text = token(scope="kit.write")
    answer = post(text, "tools/guarded_trace/invoke", {"arguments": {"path": str(trace)}})
    approval = Approval.objects.get(pk=answer.json()["approval_id"])
    ApiKey.objects.update(scopes=[])
    approve = f"/api/v1/approvals/{approval.pk}/approve"
    assert as_person(reviewer).post(approve, {}, format="json").status_code == 200
    work()
    assert len(effects(trace)) == 1
    assert ask(text, f"invocations/{approval.invocation_id}").json()["status"] == "success"


@pytest.mark.feature("I6", "I2")
def test_a_revoked_service_is_out_whatever_its_issuer_says(services: Provider) -> None:
    text = token()
    assert ask(text).status_code == 200
    revoke_key(ApiKey.objects.get().prefix, by="test")
    identity.forget_all()
    assert code(ask(text)) == (401, "key_revoked")
    assert code(ask(token(jti="another"))) == (401, "key_revoked")


@pytest.mark.feature("I6", "I2")
def test_a_revoked_service_does_not_come_back_under_another_name(
    services: Provider, trusting: Trust
) -> None:
    trusting.settings.RAMPART_JWT_ACTOR_CLAIM = "client_id"
    assert ask(token(client_id="one")).status_code == 200
    revoke_key(ApiKey.objects.get().prefix, by="test")
    identity.forget_all()
    assert code(ask(token(client_id="other"))) == (401, "key_revoked")


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    "other", [{"typ": "ID"}, {"token_use": "id"}, {"typ": "Refresh"}, {"events": {}}], ids=str
)
def test_what_is_signed_for_another_end_is_no_token_for_access(
    services: Provider, other: dict[str, Any]
) -> None:
    assert code(ask(token(**other))) == (401, "malformed_credentials")


@pytest.mark.feature("I6", "I5", "T22")
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"exp": 1}, "token_expired"),
        ({"exp": None}, "token_incomplete"),
        ({"exp": "soon"}, "token_incomplete"),
        ({"exp": 1e30}, "token_incomplete"),
        ({"nbf": 4_000_000_000}, "token_not_yet_valid"),
        ({"aud": "somebody-else"}, "wrong_audience"),
        ({"iss": "https://elsewhere.example/"}, "wrong_issuer"),
        ({"sub": None}, "token_incomplete"),
        ({"kid": "k2"}, "unknown_signing_key"),
        ({"name": "forged"}, "invalid_credentials"),
    ],
)
def test_each_fault_of_a_token_is_401_with_its_own_code_in_one_line(
    services: Provider, changed: dict[str, Any], told: str
) -> None:
    text = token(**changed)
    answer = ask(text)
    assert code(answer) == (401, told)
    assert answer["WWW-Authenticate"].startswith("Bearer")
    (line,) = Event.objects.exclude(event=EventName.TOOL_SYNCED)
    assert (line.event, line.reason) == (EventName.CREDENTIALS_REFUSED, told)
    parts = [part for part in text.split(".") if part]
    assert not any(part in str(answer.content) + str(line.metadata) for part in parts)


@pytest.mark.feature("I6", "T22")
def test_a_bad_token_is_401_even_beside_a_good_session(services: Provider, owner: User) -> None:
    client = as_person(owner)
    bad = {"Authorization": f"Bearer {token(exp=1)}"}
    assert client.get("/api/v1/tools", headers=bad).status_code == 401


@pytest.mark.feature("I6")
def test_without_an_issuer_that_is_trusted_a_token_is_nobodys(
    trusting: Trust, tools_synced: None
) -> None:
    assert code(ask(token("HS256"))) == (401, "invalid_credentials")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    assert code(ask(f"{head}.e30.")) == (401, "invalid_credentials")


@pytest.mark.feature("I6")
def test_a_token_is_no_key(services: Provider) -> None:
    client = APIClient()
    answer = client.get("/api/v1/tools", headers={"X-Rampart-Key": token()})
    assert code(answer) == (401, "invalid_credentials")


@pytest.mark.feature("I6")
def test_while_the_issuer_is_away_tokens_are_503_and_keys_go_on(
    services: Provider, agent: Agent
) -> None:
    services.fails()
    assert code(ask(token())) == (503, "issuer_unavailable")
    assert agent.get("tools").status_code == 200


@pytest.mark.feature("I6", "R23")
def test_an_opaque_token_is_a_services_if_its_provider_says_so(
    trusting: Trust, provider: Provider, tools_synced: None
) -> None:
    trusting.introspection(provider.url)
    provider.says(active=True, sub="billing-agent", scope="kit.read", exp=4_000_000_000)
    assert ask("opaque-token-of-an-agent").json()["actor"] == "billing-agent"
    provider.says(active=False)
    assert code(ask("another-opaque-token")) == (401, "token_inactive")


@pytest.mark.feature("I3")
def test_a_token_is_not_rotated_here(services: Provider) -> None:
    assert code(post(token(scope="*"), "key/rotate", {})) == (409, "not_rotatable")


@pytest.mark.feature("I6", "I7")
def test_a_service_that_is_limited_to_other_tools_since_does_not_run(
    services: Provider, trace: Path, reviewer: User
) -> None:
    body = {"arguments": {"path": str(trace)}}
    answer = post(token(scope="kit.write"), "tools/guarded_trace/invoke", body)
    ApiKey.objects.update(tools=["echo"])
    approve = f"/api/v1/approvals/{answer.json()['approval_id']}/approve"
    assert code(as_person(reviewer).post(approve, {}, format="json")) == (409, "scope_lost")


# A person.


@pytest.fixture
def people(trusting: Trust, provider: Provider) -> Provider:
    """People come with tokens of this provider."""
    provider.publishes(jwk_of("RS256"))
    trusting.people(provider.url)
    return provider


def linked(user: User) -> str:
    """A token of the person, who has signed in before."""
    FederatedIdentity.objects.create(user=user, issuer=ISSUER, subject=user.username)
    return persons_token(user)


def persons_token(user: User, **changed: Any) -> str:
    return token(**{"aud": "rampart", "sub": user.username, **changed})


@pytest.mark.feature("I8")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_person_decides_with_a_token_of_the_provider(
    people: Provider, reviewer: User, agent: Agent, trace: Path, verb: str
) -> None:
    approval = held(agent, trace)
    answer = post(linked(reviewer), f"approvals/{approval.pk}/{verb}", {"note": "fine"})
    assert answer.status_code == 200
    assert answer.json()["approval"]["resolved_by"] == "reviewer"
    work()
    assert len(effects(trace)) == (verb == "approve")


@pytest.mark.feature("I8")
def test_a_persons_token_decides_no_more_than_the_person_may(
    people: Provider, stranger: User, owner: User, agent: Agent, trace: Path
) -> None:
    path = f"approvals/{held(agent, trace).pk}/approve"
    assert code(post(linked(stranger), path, {})) == (403, "permission_denied")
    owner.user_permissions.set(User.objects.none())
    assert post(linked(owner), path, {}).status_code == 403


@pytest.mark.feature("I8")
def test_an_owner_who_may_decide_does_not_decide_on_their_own_key(
    people: Provider, make_agent: Any, reviewer: User, trace: Path
) -> None:
    approval = held(make_agent("mine", owner=reviewer), trace)
    answer = post(linked(reviewer), f"approvals/{approval.pk}/approve", {})
    assert code(answer) == (403, "self_approval")


@pytest.mark.feature("I8")
def test_a_person_who_never_signed_in_is_nobody(
    people: Provider, reviewer: User, agent: Agent, trace: Path
) -> None:
    path = f"approvals/{held(agent, trace).pk}/approve"
    assert code(post(persons_token(reviewer), path, {})) == (401, "unknown_person")


@pytest.mark.feature("I8")
@pytest.mark.parametrize(
    "machine", [{"gty": "client-credentials"}, {"client_id": "reviewer"}, {"idtyp": "app"}]
)
def test_a_programs_token_never_decides_even_under_a_persons_name(
    people: Provider, reviewer: User, agent: Agent, trace: Path, machine: dict[str, str]
) -> None:
    linked(reviewer)
    path = f"approvals/{held(agent, trace).pk}/approve"
    assert code(post(persons_token(reviewer, **machine), path, {})) == (401, "not_a_person")


@pytest.mark.feature("I8")
def test_a_disabled_person_is_out(people: Provider, reviewer: User) -> None:
    text = linked(reviewer)
    assert ask(text, "approvals").status_code == 200
    User.objects.filter(pk=reviewer.pk).update(is_active=False)
    assert code(ask(text, "approvals")) == (401, "person_disabled")


@pytest.mark.feature("I8")
def test_a_person_with_a_token_calls_no_tool(people: Provider, reviewer: User) -> None:
    answer = post(linked(reviewer), "tools/echo/invoke", {"arguments": {"value": 1}})
    assert code(answer) == (403, "key_required")


@pytest.mark.feature("I8", "AP6")
@pytest.mark.parametrize("claim", ["sub", "email"])
def test_who_called_as_a_service_does_not_decide_as_a_person(
    people: Provider, trusting: Trust, tools_synced: None, reviewer: User, trace: Path, claim: str
) -> None:
    """One provider for both: the call comes before the sign-in that links its subject."""
    trusting.services(SECRET="", ALGORITHMS=["RS256"], JWKS_URL=people.url, ACTOR_CLAIM=claim)
    text = persons_token(reviewer, aud=["rampart", AUDIENCE], scope="kit.*", email="r@example.org")
    body = {"arguments": {"path": str(trace)}}
    approval = post(text, "tools/guarded_trace/invoke", body).json()["approval_id"]
    linked(reviewer)
    identity.forget_all()  # For half a second the token is still a service's.
    assert code(post(text, f"approvals/{approval}/approve", {})) == (403, "self_approval")
    page = as_person(reviewer).post(f"/api/v1/approvals/{approval}/approve", {}, format="json")
    assert code(page) == (403, "self_approval")


@pytest.mark.feature("I8", "AP6")
def test_nor_does_who_called_with_an_opaque_token_of_nobody_in_particular(
    people: Provider, trusting: Trust, tools_synced: None, reviewer: User, trace: Path
) -> None:
    """Its provider does not say who it is, and no issuer is configured."""
    with running() as provider:
        trusting.introspection(provider.url)
        provider.says(active=True, sub="reviewer", scope="kit.*")
        body = {"arguments": {"path": str(trace)}}
        answer = post("an-opaque-token", "tools/guarded_trace/invoke", body)
    path = f"approvals/{answer.json()['approval_id']}/approve"
    assert code(post(linked(reviewer), path, {})) == (403, "self_approval")


@pytest.mark.feature("I8")
def test_a_services_token_never_decides(services: Provider, agent: Agent, trace: Path) -> None:
    path = f"approvals/{held(agent, trace).pk}/approve"
    assert code(post(token(scope="*"), path, {})) == (403, "machine_cannot_approve")
