"""Signing in by a provider, which is a process: who comes in, as whom, and who does not."""

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.core import checks
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from audit.events import EventName
from audit.models import Event
from rampart import oidc
from rampart.oidc.refusals import REASONS
from tests import oidc_provider
from tests.conftest import at_once
from tests.oidc_provider import CLIENT_SECRET, Provider
from tests.processes import ROOT, Deployment
from tests.rampart.test_settings import read, refusal
from tools.models import FederatedIdentity
from tools.tokens import jwks

pytestmark = [pytest.mark.django_db, pytest.mark.feature("E10")]

START, CALLBACK = "/oidc/authenticate/", "/oidc/callback/"
ADA = {"preferred_username": "ada", "email": "ada@example.org", "groups": ["ops"]}
MAPPING = [("ops", "Operators"), ("watch", "Watchers"), ("gone", "Nobody made it")]


@pytest.fixture(scope="module")
def process() -> Iterator[Provider]:
    """The provider, one for all tests here."""
    with oidc_provider.running() as started:
        yield started


@pytest.fixture
def provider(process: Provider, settings: Settings) -> Provider:
    """A provider that knows Ada and is trusted, whose groups may come in."""
    process.be_trusted(settings)
    settings.RAMPART_OIDC_GROUPS = MAPPING
    process.control({"ada-1": ADA})
    jwks.forget()
    return process


@pytest.fixture(autouse=True)
def groups(db: None) -> None:
    """The groups that are mapped, but for one, and one that is not."""
    for name in ("Operators", "Watchers", "Choir"):
        Group.objects.create(name=name)


def start(client: Client, **query: str) -> str:
    """Where the browser is sent."""
    answer = client.get(START, query)
    assert answer.status_code == 302
    return answer["Location"]


def back(client: Client, address: str) -> HttpResponse:
    """The browser comes back."""
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"http://testserver{CALLBACK}"
    answer: HttpResponse = client.get(f"{parts.path}?{parts.query}")
    return answer


def arrive(client: Client, provider: Provider, sub: str = "ada-1", **query: str) -> HttpResponse:
    """A whole sign-in."""
    return back(client, provider.agree(start(client, **query), sub))


def who(client: Client) -> str:
    """Who is signed in in this browser."""
    found = client.session.get(SESSION_KEY)
    return User.objects.get(pk=found).username if found else ""


def told(event: EventName) -> list[Event]:
    """The ledger's lines of this kind, oldest first."""
    return list(Event.objects.filter(event=event).order_by("id"))


def link(user: User, provider: Provider, subject: str = "ada-1") -> None:
    """What an operator does in the admin."""
    FederatedIdentity.objects.create(user=user, issuer=provider.issuer, subject=subject)


def groups_of(user: User) -> set[str]:
    return set(user.groups.values_list("name", flat=True))


def test_every_reason_is_explained_to_operators() -> None:
    page = (ROOT / "docs/how-to/sign-in-with-oidc.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    explained = {word: row for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    for reason, (status, _) in REASONS.items():
        assert f"| {status} |" in explained[reason], reason


# Who comes in.


def test_somebody_new_gets_an_account_with_the_groups_and_nothing_more(provider: Provider) -> None:
    client = Client()
    answer = arrive(client, provider, next="/admin/audit/event/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/audit/event/")
    ada = User.objects.get()
    assert (who(client), ada.username, ada.email) == ("ada", "ada", "ada@example.org")
    assert (ada.is_staff, ada.is_superuser, ada.has_usable_password()) == (True, False, False)
    assert groups_of(ada) == {"Operators"}
    (enrolled,) = told(EventName.PERSON_ENROLLED)
    assert enrolled.metadata["subject"] == "ada-1"
    assert [line.actor for line in told(EventName.SIGN_IN)] == ["ada"]
    assert told(EventName.SIGN_IN)[0].metadata["issuer"] == provider.issuer


def test_the_next_time_it_is_the_same_account_whatever_the_name(provider: Provider) -> None:
    arrive(Client(), provider)
    provider.control({"ada-1": {**ADA, "preferred_username": "lovelace", "email": "x@y.example"}})
    client = Client()
    arrive(client, provider)
    assert who(client) == User.objects.get().username == "ada"
    assert FederatedIdentity.objects.get().last_sign_in_at is not None


@pytest.mark.parametrize("name", ["root", "ROOT", "root@example.org"])
def test_a_strangers_name_or_address_opens_nobody_elses_account(
    provider: Provider, name: str
) -> None:
    root = User.objects.create_superuser("root", "root@example.org", "a-password")
    provider.control({"evil": {"preferred_username": name, "email": root.email, "groups": ["ops"]}})
    client = Client()
    arrive(client, provider, "evil")
    evil = User.objects.exclude(pk=root.pk).get()
    assert who(client) == evil.username
    assert evil.username.casefold() != "root"
    assert not evil.is_superuser
    assert not root.federated_identities.exists()


@pytest.mark.parametrize(
    ("claims", "username"),
    [
        ({"preferred_username": "ada"}, "ada-2"),
        ({"email": "ada@example.org"}, "ada@example.org"),
        ({"preferred_username": "Ada Lovelace"}, "Ada-Lovelace"),
        ({"preferred_username": "ad\u202ea\x00<b>"}, "ad-a-b"),
        ({"preferred_username": "service:bot"}, "service-bot"),
        ({"preferred_username": "  ", "email": 7}, "person"),
        ({"preferred_username": "a" * 400}, "a" * 150),
        ({}, "person"),
    ],
)
def test_a_name_is_free_plain_and_short(
    provider: Provider, claims: dict[str, Any], username: str
) -> None:
    User.objects.create_user("ADA")
    provider.control({"new": {**claims, "groups": ["ops"]}})
    client = Client()
    arrive(client, provider, "new")
    assert who(client) == username


def test_an_address_that_is_not_known_to_be_theirs_is_not_kept(provider: Provider) -> None:
    provider.control({"ada-1": {**ADA, "email_verified": False}})
    arrive(Client(), provider)
    assert User.objects.get().email == ""


def test_an_account_that_an_operator_has_linked_is_the_one_that_opens(provider: Provider) -> None:
    """With its own name and its own right to come in, and in the mapped groups all the same."""
    old = User.objects.create_user("a.lovelace", password="a-password", is_staff=True)
    old.groups.add(Group.objects.get(name="Watchers"))
    link(old, provider)
    client = Client()
    arrive(client, provider)
    assert who(client) == "a.lovelace"
    assert groups_of(old) == {"Operators"}
    provider.control({"ada-1": {**ADA, "groups": []}})
    assert arrive(client, provider).status_code == 302
    assert groups_of(old) == set()
    assert User.objects.get().has_usable_password()
    assert told(EventName.PERSON_ENROLLED) == []


def test_without_new_accounts_only_the_linked_come_in(
    provider: Provider, settings: Settings
) -> None:
    settings.OIDC_CREATE_USER = False
    assert_refused(arrive(Client(), provider), "unknown_person")
    assert not User.objects.exists()
    assert told(EventName.SIGN_IN_REFUSED)[0].metadata["subject"] == "ada-1"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_first_sign_ins_at_once_give_one_account(provider: Provider) -> None:
    browsers = [Client() for _ in range(4)]
    addresses = [provider.agree(start(browser), "ada-1") for browser in browsers]
    answers = at_once(4, lambda number: back(browsers[number], addresses[number]).status_code)
    assert answers == [302] * 4
    assert User.objects.get().username == "ada"
    assert {who(browser) for browser in browsers} == {"ada"}
    assert len(told(EventName.PERSON_ENROLLED)) == 1


# Groups.


def test_groups_follow_the_provider_and_others_are_left_alone(provider: Provider) -> None:
    client = Client()
    arrive(client, provider)
    ada = User.objects.get()
    ada.groups.add(Group.objects.get(name="Choir"))
    provider.control({"ada-1": {**ADA, "groups": ["watch", "unheard-of"]}})
    arrive(client, provider)
    assert groups_of(ada) == {"Watchers", "Choir"}
    line = told(EventName.PERSON_REGROUPED)[-1]
    assert line.metadata["joined"] == ["Watchers"]
    assert line.metadata["left"] == ["Operators"]
    before = Event.objects.count()
    arrive(client, provider)
    assert Event.objects.count() == before + 1, "what has not changed is not told"


def test_whoever_has_lost_all_groups_is_out_everywhere_and_told_why(provider: Provider) -> None:
    client, elsewhere = Client(), Client()
    arrive(elsewhere, provider)
    provider.control({"ada-1": {**ADA, "groups": []}})
    answer = arrive(client, provider)
    assert_refused(answer, "no_group")
    assert "none of the groups" in answer.content.decode()
    ada = User.objects.get()
    assert (ada.is_staff, groups_of(ada)) == (False, set())
    assert (who(client), who(elsewhere)) == ("", "")
    assert told(EventName.SIGN_IN_REFUSED)[0].actor == "ada"


def test_nobody_without_a_group_gets_an_account(provider: Provider) -> None:
    provider.control({"ada-1": {**ADA, "groups": ["unheard-of"]}})
    assert_refused(arrive(Client(), provider), "no_group")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ops", {"Operators"}),
        (["ops", "ops", "watch"], {"Operators", "Watchers"}),
        (["ops", 7, None, {"a": 1}, ["ops"]], {"Operators"}),
        ({"ops": True}, None),
        ("ops,watch", None),
        (None, None),
        (["OPS"], None),
        (["Operators"], None),
    ],
)
def test_a_claim_names_groups_as_a_text_or_a_list_of_texts(
    provider: Provider, said: Any, expected: set[str] | None
) -> None:
    provider.control({"ada-1": {**ADA, "groups": said}})
    answer = arrive(Client(), provider)
    if expected is None:
        assert_refused(answer, "no_group")
    else:
        assert groups_of(User.objects.get()) == expected


def test_groups_may_stand_in_the_token_under_another_name(
    provider: Provider, settings: Settings
) -> None:
    settings.RAMPART_OIDC_GROUPS_CLAIM = "https://example.org/roles"
    provider.control({"ada-1": {}}, claims={"https://example.org/roles": ["watch"]})
    arrive(Client(), provider)
    assert groups_of(User.objects.get()) == {"Watchers"}


def test_a_group_that_nobody_has_made_is_not_made_by_a_sign_in(provider: Provider) -> None:
    provider.control({"ada-1": {**ADA, "groups": ["ops", "gone"]}})
    arrive(Client(), provider)
    assert groups_of(User.objects.get()) == {"Operators"}
    assert not Group.objects.filter(name="Nobody made it").exists()
    provider.control({"eve": {"groups": ["gone"]}})
    assert_refused(arrive(Client(), provider, "eve"), "no_group")
    assert User.objects.count() == 1


def test_without_a_mapping_an_operator_says_who_may_come_in(
    provider: Provider, settings: Settings
) -> None:
    settings.RAMPART_OIDC_GROUPS = []
    assert_refused(arrive(Client(), provider), "not_staff")
    User.objects.update(is_staff=True)
    client = Client()
    arrive(client, provider)
    assert who(client) == "ada"


def test_a_disabled_person_stays_outside_and_old_sessions_are_over(provider: Provider) -> None:
    client = Client()
    arrive(client, provider)
    User.objects.update(is_active=False)
    assert client.get("/admin/").status_code == 302
    page = client.get("/admin/login/").content.decode()
    assert "You are signed in as" not in page, "not even as somebody who may see nothing"
    assert_refused(arrive(Client(), provider), "person_disabled")
    assert told(EventName.SIGN_IN_REFUSED)[0].actor == "ada"


# What the provider says has to fit together.


def assert_refused(answer: HttpResponse, reason: str) -> None:
    """A page of ours, a line in the ledger, and nobody in."""
    status, sentence = REASONS[reason]
    page = answer.content.decode()
    assert (answer.status_code, told(EventName.SIGN_IN_REFUSED)[-1].reason) == (status, reason)
    assert "You are not let in" in page
    assert sentence.replace("'", "&#x27;") in page
    assert "Traceback" not in page
    assert "no-store" in answer["Cache-Control"]
    everything = page + "".join(str(line.metadata) for line in Event.objects.all())
    assert CLIENT_SECRET not in everything
    assert SESSION_KEY not in answer.wsgi_request.session  # type: ignore[attr-defined]


def is_kept_anywhere(text: str) -> bool:
    return any(text in str(row.get_decoded()) for row in Session.objects.all())


LIES: list[tuple[dict[str, Any], str]] = [
    ({"claims": {"nonce": "another"}}, "wrong_nonce"),
    ({"claims": {"nonce": None}}, "wrong_nonce"),
    ({"claims": {"iss": "https://elsewhere.example"}}, "wrong_issuer"),
    ({"claims": {"iss": None}}, "bad_token"),
    ({"claims": {"aud": "somebody-else"}}, "wrong_audience"),
    ({"claims": {"aud": ["rampart", "other"]}}, "wrong_audience"),
    ({"claims": {"aud": ["rampart", "other"], "azp": "other"}}, "wrong_audience"),
    ({"claims": {"azp": "other"}}, "wrong_audience"),
    ({"claims": {"aud": None}}, "bad_token"),
    ({"claims": {"exp": 1_700_000_000}}, "token_expired"),
    ({"claims": {"exp": None}}, "bad_token"),
    ({"claims": {"iat": None}}, "bad_token"),
    ({"claims": {"iat": 9_999_999_999}}, "token_not_yet_valid"),
    ({"claims": {"exp": 1e300}}, "bad_token"),
    ({"claims": {"sub": None}}, "bad_token"),
    ({"claims": {"sub": ""}}, "bad_token"),
    ({"claims": {"sub": "a\x00b"}}, "bad_token"),
    ({"claims": {"sub": "a" * 256}}, "bad_token"),
    ({"signature": "other"}, "bad_signature"),
    ({"signature": "none"}, "bad_signature"),
    ({"signature": "HS256"}, "bad_signature"),
    ({"userinfo": {"sub": "somebody-else"}}, "wrong_subject"),
    ({"userinfo": {"sub": None}}, "wrong_subject"),
    ({"callback": {"iss": "https://elsewhere.example"}}, "wrong_issuer"),
    ({"callback": {"code": "made-up"}}, "code_refused"),
    ({"callback": {"error": "server_error"}}, "provider_refused"),
    ({"answers": {"/token": [500, "{}"]}}, "provider_unavailable"),
    ({"answers": {"/token": [200, "no JSON"]}}, "provider_unavailable"),
    ({"answers": {"/token": [200, "[]"]}}, "provider_unavailable"),
    ({"answers": {"/token": [200, '{"id_token": 7}']}}, "provider_unavailable"),
    ({"answers": {"/jwks": [503, "{}"]}}, "provider_unavailable"),
    ({"answers": {"/jwks": [200, '{"keys": []}']}}, "bad_signature"),
    ({"answers": {"/jwks": [200, '{"keys": 7}']}}, "provider_unavailable"),
    ({"answers": {"/jwks": [200, "{}"]}}, "provider_unavailable"),
    ({"answers": {"/userinfo": [401, "{}"]}}, "provider_unavailable"),
    ({"answers": {"/userinfo": [200, "[]"]}}, "provider_unavailable"),
]


@pytest.mark.parametrize(("twists", "reason"), LIES, ids=lambda value: str(value)[:60])
def test_a_provider_that_lies_or_fails_lets_nobody_in(
    provider: Provider, twists: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider.control(**twists)
    assert_refused(arrive(Client(), provider), reason)
    assert not User.objects.exists()
    assert CLIENT_SECRET not in caplog.text


def test_the_provider_signs_as_it_is_expected_to(provider: Provider, settings: Settings) -> None:
    settings.OIDC_RP_SIGN_ALGO = "RS512"
    assert_refused(arrive(Client(), provider), "bad_signature")
    provider.control(signature="RS512")
    assert_refused(arrive(Client(), provider), "bad_signature")  # Its key says RS256.
    settings.OIDC_RP_SIGN_ALGO = "RS256"
    assert_refused(arrive(Client(), provider), "bad_signature")


def test_a_shared_audience_is_fine_if_we_are_the_authorised_party(provider: Provider) -> None:
    provider.control(claims={"aud": ["rampart", "other"], "azp": "rampart"})
    assert arrive(Client(), provider).status_code == 302


def test_a_redirect_of_the_token_endpoint_does_not_carry_our_secret_away(
    provider: Provider,
) -> None:
    provider.control(answers={"/token": [307, f"{provider.issuer}/elsewhere"]})
    assert_refused(arrive(Client(), provider), "provider_unavailable")
    assert provider.asked("/elsewhere") == []


def test_a_provider_that_does_not_know_us_is_a_fault_that_operators_can_read(
    provider: Provider, settings: Settings
) -> None:
    settings.OIDC_RP_CLIENT_SECRET = "another-secret"
    assert_refused(arrive(Client(), provider), "provider_unavailable")
    (line,) = told(EventName.SIGN_IN_REFUSED)
    assert line.metadata["fault"] == "/token answered 401"


def test_a_provider_that_is_away_is_told_apart(provider: Provider, settings: Settings) -> None:
    client = Client()
    address = provider.agree(start(client), "ada-1")
    settings.OIDC_OP_TOKEN_ENDPOINT = "http://127.0.0.1:9/token"
    assert_refused(back(client, address), "provider_unavailable")
    assert told(EventName.SIGN_IN_REFUSED)[0].metadata["fault"] == "/token answered nothing"


def test_the_secret_may_travel_in_the_header_instead(
    provider: Provider, settings: Settings
) -> None:
    settings.OIDC_TOKEN_USE_BASIC_AUTH = True
    assert arrive(Client(), provider).status_code == 302
    (asked,) = provider.asked("/token")
    assert "client_secret" not in asked["form"]
    assert asked["authorization"].startswith("Basic ")


def test_pkce_and_a_nonce_go_along_always(provider: Provider) -> None:
    client = Client()
    first, second = (dict(parse_qsl(urlsplit(start(client)).query)) for _ in range(2))
    assert first["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 32
        assert first[name] != second[name]
    arrive(client, provider)
    (asked,) = provider.asked("/token")
    assert len(asked["form"]["code_verifier"]) >= 43


def test_a_code_of_another_sign_in_is_no_good_here(provider: Provider) -> None:
    """Somebody slips their own code under the state of the victim's browser."""
    thief, victim = Client(), Client()
    stolen = dict(parse_qsl(urlsplit(provider.agree(start(thief), "ada-1")).query))["code"]
    mine = dict(parse_qsl(urlsplit(provider.agree(start(victim), "ada-1")).query))
    answer = victim.get(CALLBACK, {**mine, "code": stolen})
    assert_refused(answer, "code_refused")


def test_no_token_is_kept(provider: Provider) -> None:
    client = Client()
    arrive(client, provider)
    assert not any(name in str(client.session.items()) for name in ("eyJ", "id_token", "access_"))
    assert not is_kept_anywhere("eyJ")


# The state.


def test_a_state_is_of_one_browser_and_good_for_one_time(provider: Provider) -> None:
    client = Client()
    address = provider.agree(start(client), "ada-1")
    assert_refused(back(Client(), address), "bad_state")
    other = Client()
    start(other)
    assert_refused(back(other, address), "bad_state")
    assert back(client, address).status_code == 302
    again = back(client, address)
    assert (again.status_code, told(EventName.SIGN_IN_REFUSED)[-1].reason) == (400, "bad_state")
    assert len(told(EventName.SIGN_IN)) == 1


def test_a_sign_in_that_was_begun_long_ago_is_begun_again(provider: Provider) -> None:
    client = Client()
    address = provider.agree(start(client), "ada-1")
    session = client.session
    for begun in session["oidc_states"].values():
        begun["added_on"] -= 601
    session.save()
    assert_refused(back(client, address), "bad_state")
    assert provider.asked("/token") == []


@pytest.mark.parametrize("query", [{}, {"code": "x"}, {"state": "x"}, {"code": "x", "state": "x"}])
def test_a_callback_out_of_nowhere_leads_nowhere(provider: Provider, query: dict[str, str]) -> None:
    assert_refused(Client().get(CALLBACK, query), "bad_state")
    assert provider.asked("/token") == []


def test_whoever_is_refused_too_often_does_not_fill_the_ledger(
    provider: Provider, settings: Settings
) -> None:
    settings.RAMPART_REFUSALS_PER_MINUTE = 3
    nowhere = {"code": "x", "state": "x"}
    assert [Client().get(CALLBACK, nowhere).status_code for _ in range(3)] == [400] * 3
    answers = [Client().get(CALLBACK, nowhere) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429] * 3
    assert 0 < int(answers[0]["Retry-After"]) <= 60
    assert len(told(EventName.SIGN_IN_REFUSED)) == 3
    assert [line.reason for line in told(EventName.LOCKED_OUT)] == ["bad_state"]
    assert arrive(Client(), provider).status_code == 302, "who is let in is let in"


def test_nobody_is_signed_out_by_a_link(provider: Provider) -> None:
    client = Client()
    arrive(client, provider)
    client.get(CALLBACK, {"error": "access_denied"})
    client.get(CALLBACK, {"error": "access_denied", "state": "x"})
    back(client, provider.refuse(start(client)))
    assert who(client) == "ada"


def test_whoever_refuses_at_the_provider_is_not_let_in(provider: Provider) -> None:
    client = Client()
    address = provider.refuse(start(client))
    assert_refused(back(client, address), "access_denied")
    assert_refused(back(client, address), "bad_state")


def test_a_sign_in_form_does_not_take_a_code(provider: Provider) -> None:
    """The package's backend would: no state would be asked for, and no nonce."""
    code = dict(parse_qsl(urlsplit(provider.agree(start(Client()), "ada-1")).query))["code"]
    client = Client()
    form = {"username": "ada", "password": "wrong", "next": "/admin/"}
    answer = client.post(f"/admin/login/?code={code}&state=made-up", form)
    assert answer.status_code == 200
    assert who(client) == ""
    assert provider.asked("/token") == []


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example",
        "http:evil.example", "javascript:alert(1)", "http://testserver/admin/", "evil", "",
        "///evil.example", "\x01/admin/",
    ],
)  # fmt: skip
def test_the_way_back_is_a_path_of_ours(provider: Provider, elsewhere: str) -> None:
    assert arrive(Client(), provider, next=elsewhere)["Location"] == "/admin/"


def test_the_session_gets_a_new_key(provider: Provider) -> None:
    client = Client()
    address = provider.agree(start(client), "ada-1")
    planted = client.session.session_key
    back(client, address)
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_a_sign_in_that_is_not_finished_leaves_nothing_for_long(provider: Provider) -> None:
    client = Client()
    start(client)
    assert client.session.get_expiry_age() <= 600
    arrive(client, provider)
    assert client.session.get_expiry_age() > 600


def test_signing_in_as_somebody_else_ends_the_first_ones_session(provider: Provider) -> None:
    provider.control({"bob-1": {"preferred_username": "bob", "groups": ["ops"]}})
    client = Client()
    arrive(client, provider)
    first = client.session.session_key
    arrive(client, provider, "bob-1")
    assert who(client) == "bob"
    assert not Session.objects.filter(session_key=first).exists()


# Linking in the admin.


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="root-password")


LINKS = "/admin/tools/federatedidentity/"


def test_an_operator_links_and_unlinks_and_the_ledger_is_told(
    provider: Provider, root: User
) -> None:
    old = User.objects.create_user("a.lovelace", is_staff=True)
    client = Client()
    client.force_login(root)
    form = {"user": old.pk, "issuer": provider.issuer, "subject": "ada-1"}
    assert client.post(f"{LINKS}add/", form).status_code == 302
    ada = Client()
    arrive(ada, provider)
    assert who(ada) == "a.lovelace"
    row = FederatedIdentity.objects.get()
    assert client.post(f"{LINKS}{row.pk}/change/", form).status_code == 403
    assert client.post(f"{LINKS}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert who(ada) == ""
    edits = [(line.reason, line.metadata["kind"]) for line in told(EventName.ADMIN_EDITED)]
    assert edits == [("added", "tools.federatedidentity"), ("deleted", "tools.federatedidentity")]


def test_a_link_to_another_provider_is_a_mistake(provider: Provider, root: User) -> None:
    client = Client()
    client.force_login(root)
    form = {"user": root.pk, "issuer": "https://elsewhere.example", "subject": "x"}
    assert provider.issuer in client.post(f"{LINKS}add/", form).content.decode()
    assert not FederatedIdentity.objects.exists()


def test_only_a_superuser_links_or_unlinks_a_superuser(provider: Provider, root: User) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__endswith="_federatedidentity"))
    client = Client()
    client.force_login(clerk)
    form = {"user": root.pk, "issuer": provider.issuer, "subject": "mine"}
    assert client.post(f"{LINKS}add/", form).status_code == 200
    assert not FederatedIdentity.objects.exists()
    link(root, provider)
    row = FederatedIdentity.objects.get()
    assert client.post(f"{LINKS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    client.post(LINKS, chosen)
    assert FederatedIdentity.objects.count() == 1


# Passwords off, provider off.


def test_with_passwords_off_none_opens_anything(provider: Provider, settings: Settings) -> None:
    User.objects.create_superuser("root", password="root-password")
    before = Client()
    form = {"username": "root", "password": "root-password", "next": "/admin/"}
    assert before.post("/admin/login/", form).status_code == 302
    settings.RAMPART_PASSWORD_SIGN_IN = False
    client = Client()
    page = client.get("/admin/login/").content.decode()
    assert "password" not in page.lower()
    assert "Sign in with single sign-on" in page
    assert client.post("/admin/login/", form).status_code == 403
    assert told(EventName.SIGN_IN_REFUSED)[-1].reason == "passwords_off"
    assert not client.login(username="root", password="root-password")
    assert before.get("/admin/").status_code == 302, "what a password has opened is shut"
    arrive(client, provider)
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/password_change/").status_code == 404


def test_permissions_are_asked_with_passwords_off_too(
    provider: Provider, settings: Settings, reviewer: User
) -> None:
    settings.RAMPART_PASSWORD_SIGN_IN = False
    assert reviewer.has_perm("approvals.decide_approval")
    assert not reviewer.has_perm("auth.add_user")


def test_without_a_provider_there_is_neither_button_nor_address(db: None) -> None:
    assert "oidc" not in Client().get("/admin/login/").content.decode()
    assert Client().get(START).status_code == 404
    assert Client().get(CALLBACK, {"code": "x", "state": "x"}).status_code == 404
    assert oidc.BACKEND not in django_settings.AUTHENTICATION_BACKENDS


# Settings and checks.

A_PROVIDER = {
    "OIDC_OP_ISSUER": "https://login.example/realms/one/",
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "https://login.example/authorize/",
    "OIDC_OP_TOKEN_ENDPOINT": "https://login.example/token",
    "OIDC_OP_USER_ENDPOINT": "https://login.example/userinfo",
    "OIDC_OP_JWKS_ENDPOINT": "https://login.example/jwks",
    "OIDC_RP_CLIENT_SECRET": "a-secret",
}


def configured(bare: Deployment, **more: str) -> dict[str, Any]:
    return read(bare, **{"OIDC_RP_CLIENT_ID": "rampart", **A_PROVIDER, **more})


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", A_PROVIDER)
def test_what_is_missing_stops_the_start_by_name(bare: Deployment, name: str) -> None:
    given = {**A_PROVIDER, "OIDC_RP_CLIENT_ID": "rampart", name: ""}
    assert refusal(bare, **given) == f"{name} is not set, and OIDC_RP_CLIENT_ID needs it"


@pytest.mark.feature("E4")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OIDC_RP_SIGN_ALGO", "none"),
        ("OIDC_RP_SIGN_ALGO", "HS256"),
        ("OIDC_OP_TOKEN_ENDPOINT", "login.example/token"),
        ("OIDC_RP_SCOPES", "email profile"),
        ("OIDC_CREATE_USER", "perhaps"),
        ("RAMPART_OIDC_GROUPS", "ops="),
        ("RAMPART_OIDC_GROUPS", "=Operators"),
        ("RAMPART_PASSWORD_SIGN_IN", "no"),
        ("RAMPART_SESSION_AGE", "1m"),
        ("RAMPART_SESSION_IDLE", "0d"),
    ],
)
def test_a_wrong_value_stops_the_start_by_name(bare: Deployment, name: str, value: str) -> None:
    assert (
        refusal(bare, **A_PROVIDER, OIDC_RP_CLIENT_ID="rampart", **{name: value}).startswith(
            f"{name}: "
        )
        if name not in A_PROVIDER
        else name in refusal(bare, **{**A_PROVIDER, name: value})
    )


def test_addresses_are_kept_to_the_last_slash(bare: Deployment) -> None:
    settings = configured(bare)
    for name in A_PROVIDER:
        assert settings[name] == A_PROVIDER[name]
    assert settings["AUTHENTICATION_BACKENDS"][-1] == oidc.BACKEND
    assert settings["OIDC_USE_PKCE"] is True


@pytest.mark.feature("E4")
def test_the_clients_secret_may_be_a_file(bare: Deployment) -> None:
    file = bare.folder / "mounted"
    file.write_text("from-a-file\n")
    found = configured(bare, OIDC_RP_CLIENT_SECRET="", OIDC_RP_CLIENT_SECRET_FILE=str(file))
    assert found["OIDC_RP_CLIENT_SECRET"] == "from-a-file"


def test_groups_are_written_as_pairs(bare: Deployment) -> None:
    text = "ops = Operators, Watchers, cn=reviewers=Reviewers"
    assert configured(bare, RAMPART_OIDC_GROUPS=text)["RAMPART_OIDC_GROUPS"] == [
        ("ops", "Operators"),
        ("Watchers", "Watchers"),
        ("cn=reviewers", "Reviewers"),
    ]


def test_passwords_can_be_off_only_beside_a_provider(bare: Deployment) -> None:
    line = refusal(bare, RAMPART_PASSWORD_SIGN_IN="off")
    assert line == "OIDC_RP_CLIENT_ID is not set, and RAMPART_PASSWORD_SIGN_IN=off needs it"
    assert configured(bare, RAMPART_PASSWORD_SIGN_IN="off")["RAMPART_PASSWORD_SIGN_IN"] is False


def found(databases: list[str] | None = None) -> set[str]:
    return {str(message.id) for message in checks.run_checks(databases=databases)}


def test_a_provider_spoken_to_in_the_clear_is_a_warning(
    provider: Provider, settings: Settings
) -> None:
    assert "rampart.W002" not in found(), "loopback is no network"
    settings.OIDC_OP_TOKEN_ENDPOINT = "http://login.example/token"
    assert "rampart.W002" in found()
    settings.OIDC_RP_CLIENT_ID = ""
    assert "rampart.W002" not in found()


def test_a_mapped_group_that_does_not_exist_is_a_warning(
    provider: Provider, settings: Settings
) -> None:
    assert "rampart.W003" in found(["default"])
    settings.RAMPART_OIDC_GROUPS = MAPPING[:2]
    assert "rampart.W003" not in found(["default"])


def test_an_empty_database_can_be_migrated_with_groups_mapped(bare: Deployment) -> None:
    given = {**A_PROVIDER, "OIDC_RP_CLIENT_ID": "rampart", "RAMPART_OIDC_GROUPS": "ops=Operators"}
    done = bare.manage("migrate", "--verbosity", "0", **given)
    assert done.returncode == 0, done.stderr
    done = bare.manage("check", "--database", "default", **given)
    assert "rampart.W003" in done.stderr


def test_the_challenge_is_the_verifiers_digest(provider: Provider) -> None:
    client = Client()
    sent = dict(parse_qsl(urlsplit(start(client)).query))
    kept = client.session["oidc_states"][sent["state"]]
    digest = hashlib.sha256(kept["code_verifier"].encode()).digest()
    assert sent["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
