"""Which keys go: those of callers of whom nothing works any more and nothing else is left."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Exists, OuterRef, Q

from audit.models import local_now
from tests.conftest import Agent, MakeAgent
from tests.session_kit import open_one
from tools.key_cabinet import revoke_key, rotate_key
from tools.models import ApiKey, Session
from tools.retention import hold_still, spent_keys, take_keys

pytestmark = [pytest.mark.django_db, pytest.mark.feature("K2")]

NOTHING = Q(pk=None)
SECOND = timedelta(seconds=1)


def take(in_use: Q = NOTHING, most: int = 100) -> int:
    """How many go of what is over by now."""
    return take_keys(local_now() + SECOND, in_use, most).total()


def expire(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expires_at=local_now())


def test_a_key_that_works_stays(agent: Agent) -> None:
    assert take() == 0 and ApiKey.objects.get() == agent.row


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_key_goes_when_it_opens_nothing_any_more(agent: Agent, how: str) -> None:
    if how == "revoked":
        revoke_key(agent.row.prefix, by="test")
    else:
        expire(agent.row)
    assert not spent_keys(local_now() - timedelta(hours=1), NOTHING)
    assert take() == 1 and not ApiKey.objects.exists()


def test_a_key_without_an_end_stays(agent: Agent) -> None:
    ApiKey.objects.update(expires_at=None)
    assert take() == 0


def test_a_key_on_which_something_hangs_stays(make_agent: MakeAgent) -> None:
    used, idle = make_agent("used"), make_agent("idle")
    for one in (used, idle):
        expire(one.row)
    assert take(in_use=Q(actor="used")) == 1
    assert ApiKey.objects.get() == used.row


@pytest.mark.parametrize("most", [1, 100])
def test_the_keys_of_one_caller_stay_while_one_of_them_works(agent: Agent, most: int) -> None:
    """In its overlap or beyond it: who is behind the caller is known from all of them."""
    successor, _ = rotate_key(agent.row.prefix, overlap=timedelta(0), by="test")
    assert take(most=most) == 0 and ApiKey.objects.count() == 2
    revoke_key(successor.prefix, by="test")
    while take(most=most):
        pass
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    "columns",
    [
        {"issuer": "https://issuer.example", "subject": "bot", "digest": ""},
        {"imported_id": "key-1", "must_rotate": True},
    ],
    ids=["of tokens", "imported"],
)
def test_what_was_revoked_and_would_come_back_stays(owner: User, columns: dict[str, str]) -> None:
    """Its row is the only thing that remembers the revocation."""
    given = {"prefix": "p", "actor": "bot", "owner": owner, "revoked_at": local_now(), **columns}
    ApiKey.objects.create(**given)
    assert take() == 0


def test_what_hangs_on_a_row_is_looked_for_again_once_the_row_is_locked(agent: Agent) -> None:
    """A lock keeps the row as it is, and does not keep others from pointing at it."""
    idle = ApiKey.objects.exclude(Exists(Session.objects.filter(lineage=OuterRef("lineage"))))
    assert hold_still(idle) == [agent.row.pk]
    statements = 0

    def come_between(execute: Any, *given: Any) -> Any:
        nonlocal statements
        statements += 1
        result = execute(*given)
        if statements == 1:
            open_one(agent)
        return result

    with connection.execute_wrapper(come_between):
        assert hold_still(idle) == []
