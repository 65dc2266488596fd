"""Whose a token is: chosen by its form and its issuer, proved by its signature."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest import MonkeyPatch

from audit.models import local_now
from tests.tools.tokens.conftest import Trust, code_of
from tests.tools.tokens.provider import (
    ISSUER,
    Provider,
    jwk_of,
    running,
    signed,
    token,
)
from tools import bearers, identity, keys
from tools.credentials import Presented
from tools.identity import Caller
from tools.key_cabinet import revoke_key
from tools.models import ApiKey, FederatedIdentity
from tools.tokens import trust
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.holders import holder_of

pytestmark = pytest.mark.django_db

HERE = "127.0.0.1"


def service(text: str) -> Caller:
    """The service that holds the token."""
    holder = holder_of(text, HERE)
    assert isinstance(holder, Caller)
    return holder


def refusal(text: str) -> str:
    """Why nobody does."""
    return code_of(holder_of, text, HERE)


@pytest.fixture
def person(reviewer: User) -> User:
    """A reviewer who has signed in by the provider."""
    FederatedIdentity.objects.create(user=reviewer, issuer=ISSUER, subject="1a2b")
    return reviewer


# Services.


@pytest.mark.feature("I6")
def test_without_any_configuration_no_token_is_good(trusting: Trust) -> None:
    for text in (token("HS256"), token("RS256"), "opaque", "a.b.c", "", ".."):
        assert refusal(text) == "invalid_credentials"
    assert not ApiKey.objects.exists()


@pytest.mark.feature("I6")
@pytest.mark.parametrize("text", ["x" * 8193, "é", "\ud800"])
def test_what_no_token_can_be_is_shown_to_nobody(
    trusting: Trust, provider: Provider, text: str
) -> None:
    trusting.introspection(provider.url)
    assert refusal(text) == "malformed_credentials"
    assert provider.asked == []


@pytest.mark.feature("I6")
def test_a_signed_token_is_a_services(trusting: Trust) -> None:
    trusting.services()
    caller = service(token("HS256", scope="orders.read"))
    assert (caller.actor, caller.scopes) == ("billing-agent", ("orders.read",))
    assert caller.prefix == ApiKey.objects.get().prefix
    assert caller.expires_at is not None
    assert 325 < (caller.expires_at - local_now()).total_seconds() <= 330


@pytest.mark.feature("I6")
def test_published_keys_are_asked_for_at_the_configured_address(
    trusting: Trust, provider: Provider
) -> None:
    provider.publishes(jwk_of("ES256"))
    trusting.services(SECRET="", JWKS_URL=provider.url, ALGORITHMS=["ES256"])
    assert service(token("ES256")).actor == "billing-agent"
    assert refusal(token("HS256")) == "wrong_algorithm"
    assert [asked.path for asked in provider.asked] == ["/keys"]


@pytest.mark.feature("I6")
def test_what_the_settings_say_is_asked_of_the_token(trusting: Trust) -> None:
    trusting.services(ACTOR_CLAIM="client_id")
    assert refusal(token("HS256")) == "token_incomplete"
    assert service(token("HS256", client_id="robot")).actor == "robot"
    assert refusal(token("HS256", client_id="robot", iss="https://b/")) == "wrong_issuer"
    assert refusal(token("HS256", client_id="robot", iss=None)) == "token_incomplete"
    assert refusal(token("HS256", client_id="robot", aud="b")) == "wrong_audience"
    assert refusal(token("HS256", client_id="robot", aud=None)) == "token_incomplete"
    assert refusal(token("HS256", client_id="robot", exp=None)) == "token_incomplete"
    assert service(token("HS256", client_id="robot", exp=time.time() - 20)).actor == "robot"
    trusting.settings.RAMPART_JWT_LEEWAY *= 0
    assert refusal(token("HS256", client_id="robot", exp=time.time() - 20)) == "token_expired"


def test_the_settings_are_read_once_while_they_stay_the_same(trusting: Trust) -> None:
    trusting.services()
    first = trust.trusted()
    assert trust.trusted() is first
    trusting.services(ISSUER="https://other/")
    assert trust.trusted() is not first
    trusting.services()
    assert trust.trusted() is first


@pytest.mark.feature("I6")
def test_the_tenants_of_an_issuer_that_is_not_named_are_told_apart(trusting: Trust) -> None:
    trusting.services(ISSUER="")
    one, other = (
        service(token("HS256", iss="https://a/")),
        service(token("HS256", iss="https://b/")),
    )
    assert one.actor == other.actor and one.lineage != other.lineage


# Remembered, and forgotten.


def through_the_gate(text: str) -> Any:
    """The holder, as the gate finds them."""
    return bearers.holder_of(Presented(text, is_bearer=True), HERE)


@pytest.mark.feature("I6")
def test_a_busy_service_costs_no_query_and_no_signature(
    trusting: Trust, django_assert_num_queries: Any, monkeypatch: MonkeyPatch
) -> None:
    trusting.services()
    text = token("HS256")
    first = through_the_gate(text)
    monkeypatch.setattr("tools.tokens.holders.read", None)
    with django_assert_num_queries(0):
        assert through_the_gate(text) == first


@pytest.mark.feature("I6", "I2")
def test_a_revocation_is_felt_at_once(
    trusting: Trust, django_capture_on_commit_callbacks: Any
) -> None:
    trusting.services()
    text = token("HS256")
    caller = through_the_gate(text)
    with django_capture_on_commit_callbacks(execute=True):
        revoke_key(caller.prefix, by="test")
    assert code_of(through_the_gate, text) == "key_revoked"
    assert code_of(through_the_gate, token("HS256", jti="another")) == "key_revoked"


@pytest.mark.feature("I6")
def test_two_tokens_of_one_service_have_their_own_scopes(trusting: Trust) -> None:
    trusting.services()
    narrow, wide = token("HS256", scope="a"), token("HS256", scope="a b")
    for _ in range(2):
        assert through_the_gate(narrow).scopes == ("a",)
        assert through_the_gate(wide).scopes == ("a", "b")
    assert ApiKey.objects.count() == 1


@pytest.mark.feature("I6")
def test_a_remembered_token_ends_on_time(trusting: Trust, clock: Any) -> None:
    """Within the half second for which it would be remembered."""
    trusting.services()
    trusting.settings.RAMPART_JWT_LEEWAY *= 0
    text = token("HS256", exp=time.time() + 0.3)
    through_the_gate(text)
    clock.forward(0.35)
    assert code_of(through_the_gate, text) == "token_expired"


@pytest.mark.feature("I6")
def test_a_disabled_owner_keeps_the_service_out(trusting: Trust) -> None:
    trusting.services()
    service(token("HS256"))
    User.objects.update(is_active=False)
    identity.forget_all()
    assert refusal(token("HS256")) == "key_owner_disabled"


# Opaque tokens.


@pytest.mark.feature("I6")
def test_what_is_no_signed_token_is_asked_about(trusting: Trust, provider: Provider) -> None:
    trusting.services(AUDIENCE=[])
    trusting.introspection(provider.url)
    provider.says(active=True, sub="opaque-agent", scope="x")
    caller = service("opaque")
    assert (caller.actor, caller.scopes, caller.expires_at) == ("opaque-agent", ("x",), None)
    assert ApiKey.objects.get().issuer == ISSUER
    assert service("with.one-dot").actor == "opaque-agent"
    assert service(token("HS256")).actor == "billing-agent"
    assert [asked.form["token"] for asked in provider.asked] == ["opaque", "with.one-dot"]


@pytest.mark.feature("I6")
def test_signed_tokens_are_asked_about_where_nothing_else_could_check_them(
    trusting: Trust, provider: Provider
) -> None:
    trusting.introspection(provider.url)
    provider.says(active=True, sub="agent")
    assert service(token("RS256")).actor == "agent"
    assert len(provider.asked) == 1


@pytest.mark.feature("I6")
def test_a_bad_signature_is_not_asked_about(trusting: Trust, provider: Provider) -> None:
    """The first that applies decides."""
    trusting.services()
    trusting.introspection(provider.url)
    provider.says(active=True, sub="agent")
    head, _, _ = token("HS256").rpartition(".")
    assert refusal(f"{head}.AAAA") == "invalid_credentials"
    assert refusal(token("HS256", exp=1)) == "token_expired"
    assert refusal("a.b.c") == "malformed_credentials"
    assert provider.asked == []


@pytest.mark.feature("I6")
def test_a_mistyped_key_is_shown_to_nobody(trusting: Trust, provider: Provider) -> None:
    trusting.introspection(provider.url)
    provider.says(active=True, sub="agent")
    key = keys.new_key().text
    for text in (key, key[:-1], f"{key}x", f"{key}.x.y", "trp_abc", "rmp_"):
        assert refusal(text) == "invalid_credentials"
    assert provider.asked == []


@pytest.mark.feature("I6")
def test_a_provider_that_does_not_answer_lets_nobody_in(
    trusting: Trust, provider: Provider
) -> None:
    trusting.services(SECRET="", JWKS_URL=provider.url, ALGORITHMS=["RS256"])
    trusting.introspection(provider.url)
    provider.fails()
    for text in (token("RS256"), "opaque"):
        with pytest.raises(IssuerUnavailable):
            holder_of(text, HERE)
    assert not ApiKey.objects.exists()


# People.


def persons(**changed: Any) -> str:
    """A person's token from the provider."""
    return token("RS256", **{"sub": "1a2b", "aud": "rampart", "scope": "openid", **changed})


@pytest.fixture
def sign_in(trusting: Trust, provider: Provider) -> Trust:
    """People sign in by the provider."""
    provider.publishes(jwk_of("RS256"), jwk_of("ES256"))
    trusting.people(provider.url)
    return trusting


@pytest.mark.feature("I6", "I8")
def test_a_token_of_the_providers_is_a_persons(sign_in: Trust, person: User) -> None:
    assert holder_of(persons(), HERE) == person
    assert not ApiKey.objects.exists()


@pytest.mark.feature("I6", "I8")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": None}, "token_incomplete"),
        ({"exp": None}, "token_incomplete"),
        ({"exp": 1}, "token_expired"),
        ({"iss": "https://other/"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"sub": None}, "token_incomplete"),
        ({"sub": "stranger"}, "unknown_person"),
        ({"name": "stranger"}, "invalid_credentials"),
        ({"kid": "k9"}, "unknown_signing_key"),
        ({"azp": "1a2b"}, "not_a_person"),
        ({"cnf": {}}, "token_incomplete"),
    ],
    ids=str,
)
def test_a_persons_token_that_is_not_for_us_is_refused(
    sign_in: Trust, person: User, changed: dict[str, Any], code: str
) -> None:
    assert refusal(persons(**changed)) == code


@pytest.mark.feature("I6")
def test_a_persons_token_is_signed_as_the_provider_signs(sign_in: Trust, person: User) -> None:
    claims = {"iss": ISSUER, "sub": "1a2b", "aud": "rampart", "exp": time.time() + 60}
    for algorithm in ("ES256", "HS256"):
        text = signed({"alg": algorithm, "kid": "k1"}, claims, algorithm)
        assert refusal(text) == "wrong_algorithm"


def test_our_audience_is_good_for_people_too(sign_in: Trust, person: User) -> None:
    assert refusal(persons(aud="rampart-api")) == "wrong_audience"
    sign_in.settings.RAMPART_JWT_AUDIENCE = ["rampart-api"]
    assert holder_of(persons(aud="rampart-api"), HERE) == person
    assert holder_of(persons(), HERE) == person


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    "missing",
    [{"OP_ISSUER": ""}, {"OP_JWKS_ENDPOINT": ""}, {"RP_CLIENT_ID": ""}, {"RP_SIGN_ALGO": "HS256"}],
)
def test_half_a_provider_is_none(
    trusting: Trust, person: User, provider: Provider, missing: dict[str, str]
) -> None:
    provider.publishes(jwk_of("RS256"))
    trusting.people(provider.url, **missing)
    assert refusal(persons()) == "invalid_credentials"


def test_a_person_is_not_remembered(sign_in: Trust, person: User) -> None:
    text = persons()
    assert through_the_gate(text) == person
    User.objects.update(is_active=False)
    assert code_of(through_the_gate, text) == "person_disabled"


# People and services.


@pytest.fixture
def one_issuer(sign_in: Trust, provider: Provider) -> Trust:
    """One provider gives out the tokens of people and of services."""
    sign_in.services(SECRET="", JWKS_URL=provider.url, ALGORITHMS=["RS256"])
    return sign_in


@pytest.mark.feature("I6", "I8")
def test_of_one_issuer_a_linked_persons_token_is_a_persons_and_others_are_services(
    one_issuer: Trust, person: User
) -> None:
    assert holder_of(token(sub="1a2b"), HERE) == person
    assert holder_of(persons(), HERE) == person
    assert service(token(sub="agent")).actor == "agent"


@pytest.mark.feature("I8")
def test_of_one_issuer_a_linked_person_is_never_a_service(one_issuer: Trust, person: User) -> None:
    """Whatever is wrong with the token as a person's, it is not tried as a service's."""
    one_issuer.services(SECRET="x" * 32, ALGORITHMS=["RS256", "HS256"], AUDIENCE=[])
    assert refusal(token(sub="1a2b", aud="other")) == "wrong_audience"
    assert refusal(persons(azp="1a2b")) == "not_a_person"
    assert refusal(token("HS256", sub="1a2b")) == "wrong_algorithm"
    User.objects.update(is_active=False)
    assert refusal(persons()) == "person_disabled"
    assert not ApiKey.objects.exists()


@pytest.mark.feature("I8")
def test_an_issuer_that_is_not_named_may_be_the_providers(one_issuer: Trust, person: User) -> None:
    one_issuer.services(SECRET="", ALGORITHMS=["RS256"], ISSUER="", AUDIENCE=[])
    assert holder_of(persons(), HERE) == person
    assert service(token(sub="agent")).actor == "agent"
    assert service(token(sub="1a2b", iss="https://other/")).actor == "1a2b"


@pytest.mark.feature("I6")
def test_two_issuers_have_two_keys(sign_in: Trust, person: User) -> None:
    with running() as services:
        services.publishes(jwk_of("RS256", name="services"))
        sign_in.services(
            SECRET="", JWKS_URL=services.url, ALGORITHMS=["RS256"], ISSUER="https://services/"
        )
        assert service(token(name="services", iss="https://services/")).actor == "billing-agent"
        assert refusal(token(iss="https://services/")) == "invalid_credentials"
        assert refusal(persons(name="services")) == "invalid_credentials"
        assert refusal(token(name="services", iss="https://third/")) == "wrong_issuer"
        assert holder_of(persons(), HERE) == person


@pytest.mark.feature("I6")
def test_what_the_provider_did_not_sign_is_asked_about(
    sign_in: Trust, person: User, provider: Provider
) -> None:
    with running() as endpoint:
        endpoint.says(active=True, sub="agent")
        sign_in.introspection(endpoint.url)
        assert service(token(iss="https://third/")).actor == "agent"
        assert refusal(persons(sub="stranger")) == "unknown_person"
        assert holder_of(persons(), HERE) == person
        assert len(endpoint.asked) == 1


@pytest.mark.parametrize("sub", ["1a2b\x00", "\ud800", 5, ["1a2b"], {}, None, "x" * 3000])
def test_an_unproved_subject_asks_nothing_odd_of_the_database(
    one_issuer: Trust, person: User, sub: Any
) -> None:
    assert refusal(token(sub=sub)) == "token_incomplete"
