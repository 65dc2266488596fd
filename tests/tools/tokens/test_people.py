"""People with a token of the provider's: linked, active, and really people."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.tools.tokens.conftest import code_of
from tools.models import FederatedIdentity
from tools.tokens.claims import Claims
from tools.tokens.people import is_linked, person_for

pytestmark = pytest.mark.django_db

ISSUER = "https://issuer.example/"


def said(sub: Any = "1a2b", **values: Any) -> Claims:
    """What a person's token says."""
    return Claims(ISSUER, {"iss": ISSUER, "sub": sub, **values}, None, 30)


@pytest.fixture
def linked(reviewer: User) -> User:
    """A reviewer who has signed in by the provider."""
    FederatedIdentity.objects.create(user=reviewer, issuer=ISSUER, subject="1a2b")
    return reviewer


@pytest.mark.feature("I6", "I8")
def test_a_linked_person_is_found_by_issuer_and_subject(
    linked: User, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        found = person_for(said())
    assert found == linked and found.has_perm("approvals.decide_approval")
    assert is_linked(ISSUER, "1a2b")


@pytest.mark.feature("I6", "I8")
@pytest.mark.parametrize("changed", [{"sub": "1A2B"}, {"sub": "1a2"}, {"issuer": "https://other/"}])
def test_anybody_else_is_unknown(linked: User, changed: dict[str, str]) -> None:
    FederatedIdentity.objects.update(issuer=changed.get("issuer", ISSUER))
    stranger = said(changed.get("sub", "1a2b"), email=linked.email, preferred_username="reviewer")
    assert code_of(person_for, stranger) == "unknown_person"


@pytest.mark.feature("I6")
def test_a_disabled_person_is_refused(linked: User) -> None:
    User.objects.filter(pk=linked.pk).update(is_active=False)
    assert code_of(person_for, said()) == "person_disabled"
    assert is_linked(ISSUER, "1a2b")


@pytest.mark.feature("I8")
@pytest.mark.parametrize(
    "values",
    [
        {"gty": "client-credentials"},
        {"gty": "client_credentials"},
        {"grant_type": "client_credentials"},
        {"client_id": "1a2b"},
        {"azp": "1a2b"},
        {"cid": "1a2b"},
        {"appid": "1a2b"},
        {"idtyp": "app"},
        {"preferred_username": "service-account-agent"},
        {"act": {"sub": "agent"}},
        {"act": None},
    ],
    ids=str,
)
def test_a_clients_own_token_is_nobodys_even_if_the_subject_is_linked(
    linked: User, values: dict[str, Any]
) -> None:
    assert code_of(person_for, said(**values)) == "not_a_person"


@pytest.mark.feature("I8")
def test_auth0s_clients_are_nobody(reviewer: User) -> None:
    FederatedIdentity.objects.create(user=reviewer, issuer=ISSUER, subject="abc@clients")
    assert code_of(person_for, said("abc@clients", azp="abc")) == "not_a_person"


@pytest.mark.parametrize(
    "values",
    [
        {"azp": "rampart", "client_id": "rampart"},
        {"gty": "password"},
        {"gty": ["client-credentials"]},
        {"idtyp": "user"},
        {"preferred_username": "a-service-account"},
        {"preferred_username": None},
        {"may_act": {"sub": "agent"}},
        {"amr": ["pwd", "otp"]},
    ],
    ids=str,
)
def test_a_persons_token_names_its_client_too(linked: User, values: dict[str, Any]) -> None:
    assert person_for(said(**values)) == linked


@pytest.mark.parametrize("sub", [None, "", " ", 5, ["1a2b"], "x" * 256, "1a2b\x00", "\ud800"])
def test_a_subject_that_is_no_name_is_refused(linked: User, sub: Any) -> None:
    assert code_of(person_for, said(sub)) == "token_incomplete"


def test_a_subject_may_be_as_long_as_the_standard_says(linked: User) -> None:
    FederatedIdentity.objects.update(subject="x" * 255)
    assert person_for(said("x" * 255)) == linked
