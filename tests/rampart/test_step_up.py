"""A fresh proof of who somebody is: when it is asked for, how it is given, and whose it is."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.utils.decorators import method_decorator
from pytest_django import Settings
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from audit.events import EventName
from audit.models import Event, local_now
from tests import oidc_provider
from tests.oidc_provider import Provider
from tests.rampart.test_oidc import CALLBACK, START
from tools import step_up
from tools.models import FederatedIdentity

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP17")]

PROVE = "/admin/prove/"
MINUTES = timedelta(minutes=5)


@pytest.fixture(scope="module")
def process() -> Iterator[Provider]:
    with oidc_provider.running() as started:
        yield started


@pytest.fixture
def provider(process: Provider, settings: Settings) -> Provider:
    """A provider that knows two people, and lets both in."""
    process.be_trusted(settings)
    settings.RAMPART_OIDC_GROUPS = [("ops", "Operators")]
    Group.objects.create(name="Operators")
    process.control(
        {name: {"preferred_username": name, "groups": ["ops"]} for name in ("ada", "bob")}
    )
    return process


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def age_of_proof(client: Client) -> timedelta | None:
    """How old the proof of the session is; None if there is none."""
    proof = client.session.get("proof")
    return timedelta(seconds=local_now().timestamp() - proof["at"]) if proof else None


def grow_old(client: Client, **span: float) -> None:
    """So much time passes; nobody waits for it."""
    session = client.session
    proof = session["proof"]
    session["proof"] = {**proof, "at": proof["at"] - timedelta(**span).total_seconds()}
    session.save()


def go(client: Client, provider: Provider, sub: str = "ada", **query: str) -> HttpResponse:
    """To the provider and back."""
    there = client.get(START, query)["Location"]
    parts = urlsplit(provider.agree(there, sub))
    assert parts.path == CALLBACK
    answer: HttpResponse = client.get(f"{parts.path}?{parts.query}")
    return answer


def told(event: EventName) -> list[tuple[str, str]]:
    return [(line.actor, line.reason) for line in Event.objects.filter(event=event).order_by("id")]


def asked(client: Client, user: User | AnonymousUser | None = None) -> HttpRequest:
    """A request of that browser."""
    request = RequestFactory().get("/admin/?page=2")
    request.session = client.session  # type: ignore[assignment]
    request.user = user or User.objects.get(pk=client.session["_auth_user_id"])
    return request


# Whether it is recent.


def test_a_sign_in_is_a_proof_that_grows_old(owner: User) -> None:
    client = signed_in(owner)
    assert step_up.is_recent(asked(client), MINUTES)
    grow_old(client, minutes=4)
    assert step_up.is_recent(asked(client), MINUTES)
    grow_old(client, minutes=1)
    assert not step_up.is_recent(asked(client), MINUTES)
    assert step_up.proved_at(asked(client)) is not None


def test_a_proof_is_of_one_person(owner: User, stranger: User) -> None:
    client = signed_in(owner)
    assert step_up.proved_at(asked(client, stranger)) is None
    assert step_up.proved_at(asked(client, AnonymousUser())) is None


def test_a_caller_without_a_session_has_proved_nothing() -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    assert not step_up.is_recent(request, MINUTES)
    request.user = SimpleNamespace(pk=None)  # type: ignore[assignment]
    assert step_up.proved_at(request) is None


def test_a_proof_is_never_of_the_future(owner: User) -> None:
    client = signed_in(owner)
    request = asked(client)
    step_up.mark(request, owner, local_now() + timedelta(days=1))
    found = step_up.proved_at(request)
    assert found is not None and found <= local_now()


# Who is asked.


@step_up.step_up_required(MINUTES)
def guarded(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


class Guarded:
    @method_decorator(step_up.step_up_required(MINUTES))
    def page(self, request: HttpRequest, number: int) -> HttpResponse:
        return HttpResponse(f"done {number}")


class GuardedView(APIView):
    def post(self, request: Request) -> Any:
        step_up.require(request, MINUTES)


def test_whoever_wants_to_look_is_led_to_the_page_and_back(owner: User) -> None:
    client = signed_in(owner)
    assert guarded(asked(client)).content == b"done"
    assert Guarded().page(asked(client), 7).content == b"done 7"
    grow_old(client, minutes=5)
    answer = guarded(asked(client))
    assert (answer.status_code, answer["Location"]) == (302, f"{PROVE}?next=%2Fadmin%2F%3Fpage%3D2")
    assert Guarded().page(asked(client), 7).status_code == 302


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://testserver/admin/tools/tool/?p=1", "/admin/tools/tool/?p=1"),
        ("http://evil.example/admin/tools/tool/", "/admin/"),
        ("http://[", "/admin/"),
        ("", "/admin/"),
    ],
)
def test_what_is_posted_is_refused_with_a_way_to_the_page(
    owner: User, referer: str, back: str
) -> None:
    client = signed_in(owner)
    grow_old(client, minutes=5)
    request = RequestFactory().post("/admin/x/", headers={"Referer": referer})
    request.session, request.user = client.session, owner  # type: ignore[assignment]
    answer = guarded(request)
    page = answer.render().content.decode()  # type: ignore[attr-defined]
    assert answer.status_code == 403
    assert f'href="{step_up.prove_url(back)}"' in page


def test_the_api_answers_with_a_problem(owner: User) -> None:
    client = signed_in(owner)
    grow_old(client, minutes=5)
    request = APIRequestFactory().post("/api/v1/x")
    request.session, request.user = client.session, owner
    request._dont_enforce_csrf_checks = True
    answer = GuardedView.as_view()(request)
    assert (answer.status_code, answer.data["code"]) == (403, "step_up_required")
    assert PROVE in answer.data["detail"]


# By password.


def test_the_password_is_a_proof_and_leads_back(owner: User) -> None:
    client = signed_in(owner)
    grow_old(client, hours=1)
    key = client.session.session_key
    assert client.get(PROVE, {"next": "/admin/audit/event/"}).status_code == 200
    form = {"password": "owner-password", "next": "/admin/audit/event/"}
    answer = client.post(PROVE, form)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/audit/event/")
    assert step_up.is_recent(asked(client), MINUTES)
    assert told(EventName.PERSON_PROVED) == [("owner", "")]
    assert client.session.session_key != key, "whoever has read the old key has proved nothing"
    assert len(told(EventName.SIGN_IN)) == 1


@pytest.mark.parametrize("password", ["wrong", "stranger-password", ""])
def test_another_password_is_none(owner: User, stranger: User, password: str) -> None:
    client = signed_in(owner)
    grow_old(client, hours=1)
    answer = client.post(PROVE, {"password": password, "username": "stranger"})
    assert answer.status_code == 422
    assert not step_up.is_recent(asked(client), MINUTES)
    assert told(EventName.PERSON_PROVED) == []
    assert told(EventName.SIGN_IN_REFUSED) == ([("owner", "bad_credentials")] if password else [])


def test_looking_at_the_page_proves_nothing(owner: User) -> None:
    client = signed_in(owner)
    grow_old(client, hours=1)
    client.get(PROVE, {"password": "owner-password"})
    assert not step_up.is_recent(asked(client), MINUTES)


def test_the_page_wants_a_token_and_a_session(owner: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner)
    assert strict.post(PROVE, {"password": "owner-password"}).status_code == 403
    assert Client().get(PROVE).status_code == 302


def test_the_way_back_is_a_path_of_ours(owner: User) -> None:
    form = {"password": "owner-password", "next": "//evil.example/"}
    assert signed_in(owner).post(PROVE, form)["Location"] == "/admin/"


def test_wrong_passwords_count_towards_the_lockout(owner: User) -> None:
    client = signed_in(owner)
    for _ in range(10):
        answer = client.post(PROVE, {"password": "wrong"})
    assert answer.status_code == 429
    assert client.post(PROVE, {"password": "owner-password"}).status_code == 429
    assert told(EventName.LOCKED_OUT) == [("owner", "")]
    assert client.get("/admin/").status_code == 200


def test_whoever_has_no_way_to_prove_it_is_told(owner: User) -> None:
    owner.set_unusable_password()
    owner.save(update_fields=["password"])
    client = signed_in(owner)
    assert "neither a password here nor a link" in client.get(PROVE).content.decode()
    assert client.post(PROVE, {"password": "x"}).status_code == 422


# By the provider.


def test_the_provider_is_asked_to_ask_again(provider: Provider) -> None:
    client = Client()
    go(client, provider)
    assert age_of_proof(client) is not None
    page = client.get(PROVE, {"next": "/admin/audit/event/"}).content.decode()
    assert 'type="password"' not in page
    assert f"{START}?prove=1&amp;next=%2Fadmin%2Faudit%2Fevent%2F" in page
    sent = dict(parse_qsl(urlsplit(client.get(START, {"prove": "1"})["Location"]).query))
    assert (sent["prompt"], sent["max_age"]) == ("login", "0")
    assert "prompt" not in client.get(START)["Location"]


def test_a_sign_in_at_the_provider_is_as_old_as_the_provider_says(provider: Provider) -> None:
    """Whoever was signed in there for an hour has not proved anything just now."""
    client = Client()
    go(client, provider)
    age = age_of_proof(client)
    assert age is not None and timedelta(minutes=59) < age < timedelta(minutes=61)


def test_a_provider_that_does_not_say_when_proves_nothing(provider: Provider) -> None:
    provider.control(claims={"auth_time": None})
    client = Client()
    assert go(client, provider).status_code == 302
    assert age_of_proof(client) is None


def test_a_proof_at_the_provider_is_one_and_leads_back(provider: Provider) -> None:
    client = Client()
    go(client, provider)
    key = client.session.session_key
    answer = go(client, provider, prove="1", next="/admin/audit/event/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/audit/event/")
    assert step_up.is_recent(asked(client), MINUTES)
    assert client.session.session_key != key
    assert told(EventName.PERSON_PROVED) == [("ada", "")]
    assert len(told(EventName.SIGN_IN)) == 1


@pytest.mark.parametrize("auth_time", [None, "soon", 0, -1, 10**30, 1_700_000_000])
def test_the_provider_must_say_that_it_was_just_now(provider: Provider, auth_time: Any) -> None:
    client = Client()
    go(client, provider)
    provider.control(claims={"auth_time": auth_time})
    answer = go(client, provider, prove="1")
    assert answer.status_code == 403
    assert told(EventName.SIGN_IN_REFUSED) == [("ada", "not_proved_now")]
    assert told(EventName.PERSON_PROVED) == []
    age = age_of_proof(client)
    assert age is not None and age > timedelta(minutes=59)
    assert client.get("/admin/").status_code == 200, "the session is what it was"


def test_somebody_else_at_the_provider_does_not_prove_it(provider: Provider) -> None:
    client = Client()
    go(Client(), provider, "bob")
    go(client, provider)
    for stranger in ("bob", "somebody-new"):
        provider.control({"somebody-new": {"groups": ["ops"]}})
        assert go(client, provider, stranger, prove="1").status_code == 403
    assert told(EventName.SIGN_IN_REFUSED) == [("ada", "another_person")] * 2
    assert told(EventName.PERSON_PROVED) == []
    assert client.session["_auth_user_id"] == str(User.objects.get(username="ada").pk)
    assert not User.objects.filter(username="person").exists(), "a proof enrols nobody"


def test_a_proof_begun_by_one_does_not_raise_anothers_session(provider: Provider) -> None:
    """Ada begins, Bob signs in in the same browser, Ada's proof comes back."""
    client = Client()
    go(client, provider)
    there = client.get(START, {"prove": "1"})["Location"]
    kept = client.session["oidc_states"]
    go(client, provider, "bob")
    session = client.session
    session["oidc_states"] = {**session.get("oidc_states", {}), **kept}
    session.save()
    parts = urlsplit(provider.agree(there, "ada"))
    assert client.get(f"{parts.path}?{parts.query}").status_code == 403
    assert client.session["proof"]["of"] == str(User.objects.get(username="bob").pk)
    assert told(EventName.SIGN_IN_REFUSED) == [("bob", "another_person")]
    assert told(EventName.PERSON_PROVED) == []


def test_nobody_who_is_not_signed_in_begins_a_proof(provider: Provider) -> None:
    client = Client()
    assert "prompt" not in client.get(START, {"prove": "1"})["Location"]
    assert go(client, provider, prove="1").status_code == 302
    assert told(EventName.PERSON_PROVED) == []


def test_a_person_with_both_ways_is_shown_both(provider: Provider, owner: User) -> None:
    FederatedIdentity.objects.create(user=owner, issuer=provider.issuer, subject="ada")
    page = signed_in(owner).get(PROVE).content.decode()
    assert 'type="password"' in page and "Prove it by single sign-on" in page


def test_a_person_who_is_not_linked_is_not_sent_to_the_provider(
    provider: Provider, owner: User
) -> None:
    FederatedIdentity.objects.create(user=owner, issuer="https://old.example", subject="ada")
    assert "Prove it by" not in signed_in(owner).get(PROVE).content.decode()


def test_with_passwords_off_a_password_proves_nothing(
    provider: Provider, settings: Settings, owner: User
) -> None:
    FederatedIdentity.objects.create(user=owner, issuer=provider.issuer, subject="ada")
    client = Client()
    go(client, provider)
    settings.RAMPART_PASSWORD_SIGN_IN = False
    assert 'type="password"' not in client.get(PROVE).content.decode()
    assert client.post(PROVE, {"password": "owner-password"}).status_code == 422
    assert told(EventName.PERSON_PROVED) == []
