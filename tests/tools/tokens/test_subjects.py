"""Services that come with tokens: one row each, and the token's scopes."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User

from audit.events import EventName
from audit.models import Event, local_now
from tests.conftest import at_once
from tests.tools.tokens.conftest import code_of
from tools import identity
from tools.identity import Caller, identify
from tools.key_cabinet import revoke_key, service_account
from tools.models import ApiKey
from tools.tokens.claims import Service
from tools.tokens.subjects import caller_for

pytestmark = pytest.mark.django_db

ISSUER = "https://issuer.example/"
HERE = "127.0.0.1"


def service(subject: str = "billing-agent", *scopes: str, **changed: Any) -> Service:
    """A service as a token has it."""
    named: dict[str, Any] = {"issuer": ISSUER, "subject": subject, "actor": subject}
    usual = named | {"good_until": None}
    return Service(scopes=scopes, **(usual | changed))


@pytest.mark.feature("I6")
def test_the_first_visit_makes_a_row_and_a_line() -> None:
    caller = caller_for(service("billing-agent", "orders.read"))
    row = ApiKey.objects.get()
    assert (row.issuer, row.subject, row.actor) == (ISSUER, "billing-agent", "billing-agent")
    assert (row.digest, row.scopes, row.expires_at) == ("", [], None)
    assert row.owner == service_account("billing-agent") and not row.owner.has_usable_password()
    assert (caller.key_id, caller.lineage, caller.prefix) == (row.pk, row.lineage, row.prefix)
    line = Event.objects.get()
    assert (line.event, line.actor) == (EventName.SUBJECT_ENROLLED, "billing-agent")
    assert line.key_prefix == row.prefix
    assert line.metadata == {
        "issuer": ISSUER, "subject": "billing-agent", "owner": "service:billing-agent",
    }  # fmt: skip


def test_later_visits_find_the_row(django_assert_num_queries: Any) -> None:
    first = caller_for(service())
    with django_assert_num_queries(1):
        again = caller_for(service())
    assert (again.key_id, again.lineage) == (first.key_id, first.lineage)
    assert Event.objects.count() == 1


def test_the_same_name_with_another_issuer_is_another_caller() -> None:
    one, other = caller_for(service()), caller_for(service(issuer="https://other.example/"))
    assert one.lineage != other.lineage
    assert (one.actor, one.owner_id) == (other.actor, other.owner_id)


@pytest.mark.feature("I6")
def test_scopes_are_the_tokens_and_never_the_rows() -> None:
    assert caller_for(service("a", "x")).scopes == ("x",)
    ApiKey.objects.update(scopes=["*"])
    assert caller_for(service("a")).scopes == ()
    assert not caller_for(service("a")).has_scope("orders.read")


def test_what_the_row_is_limited_to_holds() -> None:
    caller_for(service())
    ApiKey.objects.update(tools=["echo"], cidrs=["10.0.0.0/8"], rate_tier="5/minute")
    caller = caller_for(service())
    assert not caller.may_call("other") and caller.rate_tier == "5/minute"
    assert caller.fault(local_now(), HERE) == "key_not_allowed_here"


def test_a_caller_lives_as_long_as_its_token_and_its_row() -> None:
    soon, late = (local_now() + timedelta(minutes=minutes) for minutes in (1, 5))

    def ends(row: datetime | None, token: datetime | None) -> datetime | None:
        ApiKey.objects.update(expires_at=row)
        return caller_for(service(good_until=token)).expires_at

    caller_for(service())
    assert ends(None, None) is None
    assert ends(None, late) == late and ends(soon, None) == soon
    assert ends(soon, late) == soon and ends(late, soon) == soon
    assert (
        caller_for(service(good_until=datetime.fromtimestamp(1, timezone.utc))).fault(
            local_now(), HERE
        )
        == "key_expired"
    )


@pytest.mark.feature("I6", "I2")
def test_a_revoked_subject_stays_out() -> None:
    caller = caller_for(service())
    assert caller.fault(local_now(), HERE) is None
    assert revoke_key(caller.prefix, by="test")
    assert caller_for(service()).fault(local_now(), HERE) == "key_revoked"
    assert ApiKey.objects.count() == 1


@pytest.mark.feature("I6")
def test_a_subject_whose_owner_is_disabled_stays_out() -> None:
    caller_for(service())
    User.objects.update(is_active=False)
    assert caller_for(service()).fault(local_now(), HERE) == "key_owner_disabled"


@pytest.mark.feature("I6")
def test_no_text_is_the_key_of_a_subject() -> None:
    caller = caller_for(service())
    assert caller.prefix.startswith("sub_") and len(caller.prefix) == 14
    for text in (caller.prefix, "", f"{caller.prefix}_{'a' * 43}", f"rmp_{'a' * 10}_{'a' * 43}"):
        assert code_of(identify, text, HERE) == "invalid_credentials"
    identity.forget_all()


def test_a_long_name_has_an_account_too() -> None:
    caller = caller_for(service("x" * 200))
    assert caller.actor == "x" * 200 and len(caller.owner_name) == 150


@pytest.mark.feature("I6")
@pytest.mark.django_db(transaction=True)
def test_many_first_visits_at_once_make_one_row() -> None:
    callers: list[Caller] = at_once(8, lambda number: caller_for(service()))
    assert len({caller.lineage for caller in callers}) == 1
    assert ApiKey.objects.count() == 1 == User.objects.count()
    assert Event.objects.filter(event=EventName.SUBJECT_ENROLLED).count() == 1


@pytest.mark.django_db(transaction=True)
def test_first_visits_of_many_subjects_at_once_do_not_disturb_each_other() -> None:
    at_once(8, lambda number: caller_for(service(f"agent-{number % 4}")))
    assert ApiKey.objects.count() == 4 == Event.objects.count()


@pytest.mark.django_db(transaction=True)
def test_a_visit_that_cannot_be_recorded_leaves_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise RuntimeError("the ledger is full")

    monkeypatch.setattr("tools.tokens.subjects.ledger.record", fail)
    with pytest.raises(RuntimeError):
        caller_for(service())
    assert not ApiKey.objects.exists() and not User.objects.exists()
