"""Real receivers, and channels that lead there."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from approvals import vault
from approvals.models import Approval, Channel, Notice
from approvals.notices import deliver, routes, signing
from approvals.reviewers import DECIDE
from audit.models import local_now
from tests.approvals.notices.receivers import (
    HTTPReceiver,
    MailReceiver,
    http_receiver,
    mail_receiver,
)
from tests.conftest import Agent, held
from tools.models import ApiKey

PLANTED = "s3cr3t-planted-value"
MakeChannel = Callable[..., Channel]

__all__ = ["DECIDE", "PLANTED", "held"]


@pytest.fixture(autouse=True)
def _channels_forgotten() -> Iterator[None]:
    routes.forget()
    yield
    routes.forget()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[HTTPReceiver]:
    """A receiver in a private network that the operator has named."""
    settings.RAMPART_INTERNAL_RECEIVERS = ["127.0.0.1"]
    with http_receiver() as started:
        yield started


@pytest.fixture
def post_office(settings: Settings) -> Iterator[MailReceiver]:
    """A mail server, and settings that name it."""
    with mail_receiver() as started:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", started.port
        settings.RAMPART_PUBLIC_URL = "https://rampart.example"
        yield started


@pytest.fixture
def make_channel(db: None) -> MakeChannel:
    """Makes a channel as the admin would: `make_channel("ops", Kind.WEBHOOK, url)`."""

    def make(name: str, kind: str, where: str, **columns: Any) -> Channel:
        channel = Channel(name=name, kind=kind, **columns)
        if kind == Channel.Kind.EMAIL:
            channel.address = where
        else:
            channel.url_sealed = vault.seal(where)
        if kind == Channel.Kind.WEBHOOK:
            signing.give_secret(channel, local_now())
        channel.save(force_insert=True)
        routes.forget()
        return channel

    return make


def with_mail(*people: User) -> None:
    """Give people an address."""
    for person in people:
        person.email = f"{person.get_username()}@example.org"
        person.save(update_fields=["email"])


def send_all() -> int:
    """What the workers would do now: send all that is due, and what comes of that."""
    done = 0
    while places := deliver.due_places(local_now()):
        done += sum(deliver.serve(place) for place in places)
    return done


def hours_pass(hours: float) -> None:
    """As if all that is kept of notices had been written so much earlier."""
    span = timedelta(hours=hours)
    for notice in Notice.objects.all():
        notice.created_at -= span
        notice.due_at -= span
        notice.save(update_fields=["created_at", "due_at"])
    for channel in Channel.objects.exclude(failing_since=None):
        channel.failing_since -= span
        channel.save(update_fields=["failing_since"])


def waiting() -> list[Notice]:
    return list(Notice.objects.filter(status=Notice.Status.WAITING))


def lineage_of(agent: Agent) -> ApiKey:
    """The key by which a caller's channel names the caller."""
    return agent.row


def fresh(approval: Approval) -> Approval:
    """The approval as it stands now."""
    return Approval.objects.with_everything().get(pk=approval.pk)
