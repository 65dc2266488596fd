"""The table of statuses, and that the database holds it."""

import itertools

import pytest
from django.db import IntegrityError, transaction

from approvals import transitions
from approvals.errors import StaleTransition
from approvals.models import Invocation
from approvals.results import HTTP_STATUS
from approvals.states import (
    APPROVAL_TRANSITIONS,
    OPEN,
    TRANSITIONS,
    ApprovalStatus,
    InvocationStatus,
    api_word,
    is_final,
)
from audit.models import Event, local_now
from tests.conftest import Agent

pytestmark = pytest.mark.django_db


@pytest.mark.feature("AP7")
def test_the_tables_are_closed() -> None:
    assert set(TRANSITIONS) == set(InvocationStatus)
    assert set(APPROVAL_TRANSITIONS) == set(ApprovalStatus)
    for table in (TRANSITIONS, APPROVAL_TRANSITIONS):
        assert set().union(*table.values()) <= set(table)
    assert {str(status) for status in ApprovalStatus} == {
        "pending", "approved", "rejected", "expired", "cancelled", "void", "consumed",
    }  # fmt: skip


def test_every_status_has_a_word_and_an_http_status() -> None:
    for status in InvocationStatus:
        assert api_word(status) in HTTP_STATUS
        assert is_final(status) == (status not in OPEN)


@pytest.mark.feature("AP7")
def test_only_the_arrows_of_the_table_can_be_taken(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    row = Invocation.objects.get()
    for source, target in itertools.product(InvocationStatus, InvocationStatus):
        Invocation.objects.update(status=source, finished_at=local_now())
        try:
            transitions.moves.move(row.pk, target, source={source}, finished_at=local_now())
        except AssertionError:
            assert target not in TRANSITIONS[source]
        else:
            assert target in TRANSITIONS[source]


def test_a_transition_from_another_status_than_expected_is_stale(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    events = Event.objects.count()
    with pytest.raises(StaleTransition):
        transitions.cancel(Invocation.objects.get(), by="agent")
    assert Event.objects.count() == events


def test_the_database_refuses_an_end_without_a_time(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Invocation.objects.update(finished_at=None)
