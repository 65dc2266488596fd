"""Channels in the admin: secrets go in and come out once; a test shows the error as it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core import serializers
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings
from standardwebhooks import Webhook

from approvals import deciding
from approvals.models import Channel, Notice
from approvals.notices import checks, deliver, signing
from approvals.notices.posting import fault_of_url
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.approvals.notices.conftest import MakeChannel, send_all
from tests.approvals.notices.receivers import HTTPReceiver, MailReceiver
from tests.conftest import Agent, held
from tools.models import ApiKey

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP19", "E32", "E53")]

ADD = "/admin/approvals/channel/add/"
LIST = "/admin/approvals/channel/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")
CHANNEL = {"name": "ops", "is_enabled": "on", "tool": "*", "least_risk": "1"}
Kind = Channel.Kind


def page_of(row: Channel | Notice, word: str = "change") -> str:
    return reverse(f"admin:approvals_{row._meta.model_name}_{word}", args=[row.pk])


@pytest.fixture
def operator(db: None) -> Iterator[Client]:
    """A person who keeps the channels and may do nothing else."""
    user = User.objects.create_user("operator", is_staff=True)
    names = [f"{verb}_channel" for verb in ("view", "add", "change", "delete")]
    user.user_permissions.set(
        Permission.objects.filter(codename__in=[*names, "view_notice", "view_apikey"])
    )
    client = Client()
    client.force_login(user)
    yield client


def add(operator: Client, **given: Any) -> Any:
    return operator.post(ADD, CHANNEL | given)


def test_a_webhook_is_made_and_its_key_is_shown_once(
    operator: Client, receiver: HTTPReceiver, agent: Agent
) -> None:
    answer = add(operator, kind="webhook", url=receiver.url, caller=agent.row.pk)
    assert answer.status_code == 200 and "no-store" in answer["Cache-Control"]
    (secret,) = SECRET.findall(answer.content.decode())
    channel = Channel.objects.get()
    for address in (LIST, page_of(channel), ADD):
        shown = operator.get(address).content.decode()
        assert not SECRET.search(shown) and "T0PSECRET" not in shown
    kept = "".join(
        serializers.serialize("json", model.objects.all()) for model in (Event, LogEntry, Channel)
    )
    assert secret not in kept and "T0PSECRET" not in kept
    agent.invoke("echo", value=1)
    send_all()
    (seen,) = receiver.requests
    Webhook(secret).verify(seen["body"], seen["headers"])


def test_each_change_is_a_line_in_the_ledger(operator: Client, receiver: HTTPReceiver) -> None:
    add(operator, kind="slack", url=receiver.url)
    channel = Channel.objects.get()
    operator.post(page_of(channel), CHANNEL | {"kind": "slack", "tool": "refund_*"})
    refused = operator.post(page_of(channel, "delete"), {"post": "yes"})
    assert refused.status_code == 403
    lines = Event.objects.filter(event="channel:changed").order_by("id")
    assert [line.reason for line in lines] == ["added", "changed"]
    assert {line.actor for line in lines} == {"operator"}
    assert [line.metadata["tool"] for line in lines] == ["*", "refund_*"]


def test_an_empty_url_keeps_the_one_before(operator: Client, receiver: HTTPReceiver) -> None:
    add(operator, kind="slack", url=receiver.url)
    channel = Channel.objects.get()
    operator.post(page_of(channel), CHANNEL | {"kind": "slack", "name": "renamed", "url": ""})
    channel.refresh_from_db()
    assert (channel.name, signing.url_of(channel)) == ("renamed", receiver.url)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"kind": "webhook"}, "need a URL"),
        ({"kind": "webhook", "url": "ftp://x.example"}, "begins with https://"),
        ({"kind": "slack", "url": "http://x.example/"}, "Plain http is only for"),
        ({"kind": "email"}, "needs an address"),
        ({"kind": "email", "address": "nobody"}, "valid email"),
        ({"kind": "slack", "url": "https://x.example", "caller": "mine"}, "told by webhook"),
        ({"kind": "slack", "url": "https://inside\\@x.example/"}, "which host it names"),
        ({"kind": "slack", "url": "https://me:secret@x.example/"}, "no name and no password"),
        ({"kind": "slack", "url": "https://\uff45xample.com/"}, "This is not an address"),
    ],
)
def test_a_channel_that_can_not_work_is_refused(
    operator: Client, agent: Agent, given: dict[str, str], fault: str
) -> None:
    if "caller" in given:
        given = given | {"caller": str(agent.row.pk)}
    assert fault in add(operator, **given).content.decode()
    assert not Channel.objects.exists()


def test_a_host_may_be_named_in_any_alphabet(operator: Client, settings: Settings) -> None:
    add(operator, kind="slack", url="https://b\u00fccher.example/T0PSECRET")
    assert signing.shown_url(Channel.objects.get()) == "https://xn--bcher-kva.example/"
    settings.RAMPART_INTERNAL_RECEIVERS = ["B\u00fccher.internal", "::1"]
    for host in ("b\u00fccher.internal", "xn--bcher-kva.internal", "[::1]"):
        assert fault_of_url(f"http://{host}:8000/") == ""


def test_a_channel_keeps_its_caller_even_when_the_key_is_revoked(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, agent: Agent
) -> None:
    channel = make_channel("theirs", Kind.WEBHOOK, receiver.url, caller=agent.row)
    ApiKey.objects.filter(pk=agent.row.pk).update(revoked_at=local_now())
    page = operator.get(page_of(channel)).content.decode()
    assert f'<option value="{agent.row.pk}" selected>' in page
    said = {"name": "theirs", "kind": "webhook", "tool": "*", "least_risk": "1"}
    refused = operator.post(page_of(channel), said | {"caller": ""})
    assert "Make a new channel instead." in refused.content.decode()
    assert operator.post(page_of(channel), said | {"caller": agent.row.pk}).status_code == 302
    channel.refresh_from_db()
    assert (channel.caller, channel.is_enabled) == (agent.row, False)


def test_a_new_key_is_shown_once_and_a_get_makes_none(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver
) -> None:
    channel = make_channel("ops", Kind.WEBHOOK, receiver.url)
    (old,) = signing.secrets_of(channel, local_now())
    assert operator.get(page_of(channel, "secret")).status_code == 405
    answer = operator.post(page_of(channel, "secret"))
    (new,) = SECRET.findall(answer.content.decode())
    channel.refresh_from_db()
    assert signing.secrets_of(channel, local_now()) == [new, old]
    assert Event.objects.get(event="channel:changed").reason == "new key"


# Send test.


def what_a_test_says(operator: Client, channel: Channel) -> str:
    answer = operator.post(page_of(channel, "test"))
    assert answer.status_code == 200
    text: str = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))
    return text


def test_a_test_that_is_taken_says_so(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, post_office: MailReceiver
) -> None:
    assert "taken" in what_a_test_says(operator, make_channel("hook", Kind.WEBHOOK, receiver.url))
    assert "taken" in what_a_test_says(operator, make_channel("chat", Kind.SLACK, receiver.url))
    assert "taken" in what_a_test_says(
        operator, make_channel("list", Kind.EMAIL, "a@x.example, b@x.example")
    )
    assert receiver.bodies[0]["type"] == "test"
    assert "test from Rampart" in receiver.bodies[1]["text"]
    ((to, mail),) = post_office.messages
    assert (to, mail["Subject"]) == (["a@x.example", "b@x.example"], "A test from Rampart")


def test_a_test_that_fails_shows_host_phase_status_and_hint(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver
) -> None:
    channel = make_channel("hook", Kind.WEBHOOK, receiver.url)
    receiver.answers(403, "invalid_token at {path}")
    text = what_a_test_says(operator, channel)
    for part in ("not taken", "127.0.0.1", "http", "403", "invalid_token", "Hint"):
        assert part in text
    assert "T0PSECRET" not in text and "s3cretquery" not in text
    receiver.kill()
    text = what_a_test_says(operator, channel)
    for part in ("Failed at tcp", "Connection refused", "Nobody answers at that address"):
        assert part in text


def test_a_failed_test_is_not_tried_again_and_switches_nothing_off(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver
) -> None:
    channel = make_channel("hook", Kind.WEBHOOK, receiver.url)
    receiver.answers(410)
    what_a_test_says(operator, channel)
    assert Notice.objects.get().status == Notice.Status.FAILED
    assert Channel.objects.get().is_enabled


def test_without_a_mail_server_the_test_says_what_to_set(
    operator: Client, make_channel: MakeChannel, settings: Settings
) -> None:
    settings.EMAIL_HOST = ""
    channel = make_channel("list", Kind.EMAIL, "desk@x.example")
    assert "set EMAIL_HOST" in what_a_test_says(operator, channel)
    assert "set EMAIL_HOST" in operator.get(page_of(channel)).content.decode()


def test_a_private_address_is_hinted_at(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, settings: Settings
) -> None:
    settings.RAMPART_INTERNAL_RECEIVERS = []
    channel = make_channel("hook", Kind.WEBHOOK, receiver.url)
    assert "RAMPART_INTERNAL_RECEIVERS" in what_a_test_says(operator, channel)
    assert receiver.requests == []


# The log, and sending again.


def test_the_log_shows_each_attempt(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, agent: Agent
) -> None:
    make_channel("hook", Kind.WEBHOOK, receiver.url, caller=agent.row)
    receiver.answers(500, "out of order")
    agent.invoke("echo", value=1)
    send_all()
    shown = operator.get(page_of(Notice.objects.get())).content.decode()
    for part in ("out of order", "500", "✗", "sent again by itself"):
        assert part in shown
    assert "Redeliver" not in shown
    assert "hook" in operator.get("/admin/approvals/notice/").content.decode()


def test_redelivery_is_by_hand_and_not_while_a_retry_is_scheduled(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, agent: Agent
) -> None:
    make_channel("hook", Kind.WEBHOOK, receiver.url, caller=agent.row)
    receiver.answers(500)
    agent.invoke("echo", value=1)
    send_all()
    notice = Notice.objects.get()
    due = notice.due_at
    operator.post(page_of(notice, "redeliver"))
    notice.refresh_from_db()
    assert notice.due_at == due, "a retry is scheduled"
    receiver.answers(200)
    Notice.objects.update(due_at=local_now())
    send_all()
    assert operator.get(page_of(notice, "redeliver")).status_code == 405
    operator.post(page_of(notice, "redeliver"))
    send_all()
    ids = [seen["headers"]["webhook-id"] for seen in receiver.requests]
    assert len(ids) == 3 and len(set(ids)) == 1


def test_what_is_of_no_use_any_more_is_not_sent_again(
    operator: Client, make_channel: MakeChannel, receiver: HTTPReceiver, agent: Agent,
    trace: Path, reviewer: User,
) -> None:  # fmt: skip
    make_channel("chat", Kind.SLACK, receiver.url)
    approval = held(agent, trace)
    send_all()
    deciding.reject(approval, reviewer, Said())
    send_all()
    asks, outcome = Notice.objects.order_by("id")
    said = operator.post(page_of(asks, "redeliver"), follow=True).content.decode()
    assert "It is of no use any more" in said
    Channel.objects.update(is_enabled=False)
    said = operator.post(page_of(outcome, "redeliver"), follow=True).content.decode()
    assert "It is of no use any more" in said
    statuses = Notice.objects.values_list("status", flat=True)
    assert set(statuses) == {Notice.Status.SENT}


def test_who_may_only_look_can_send_nothing(
    reviewer: User, make_channel: MakeChannel, receiver: HTTPReceiver, agent: Agent
) -> None:
    channel = make_channel("hook", Kind.WEBHOOK, receiver.url, caller=agent.row)
    agent.invoke("echo", value=1)
    deliver.serve(channel.pk)
    reviewer.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_channel", "view_notice"])
    )
    client = Client()
    client.force_login(User.objects.get(pk=reviewer.pk))
    notice = Notice.objects.get()
    assert client.get(page_of(notice)).status_code == 200
    for address in (
        page_of(channel, "test"), page_of(channel, "secret"), page_of(notice, "redeliver"),
    ):  # fmt: skip
        assert client.post(address).status_code == 403
    assert len(receiver.requests) == 1


def test_notices_are_neither_made_nor_changed_by_hand(operator: Client) -> None:
    assert operator.get("/admin/approvals/notice/add/").status_code == 403


# System checks.


def test_links_that_lead_nowhere_are_warned_of(settings: Settings) -> None:
    assert checks.links_lead_here() == []
    settings.EMAIL_HOST, settings.RAMPART_PUBLIC_URL = "mail.example", ""
    assert [one.id for one in checks.links_lead_here()] == ["approvals.W004"]
    settings.RAMPART_PUBLIC_URL = "https://rampart.example"
    assert checks.links_lead_here() == []


def test_a_channel_of_mail_without_a_server_is_warned_of(
    make_channel: MakeChannel, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_HOST = ""
    assert checks.mail_has_a_server(databases=["default"]) == []
    make_channel("list", Kind.EMAIL, "desk@x.example")
    assert [one.id for one in checks.mail_has_a_server(databases=["default"])] == ["approvals.W005"]
    call_command("check", "--database", "default")
    assert "approvals.W005" in capsys.readouterr().err
    settings.EMAIL_HOST = "mail.example"
    assert checks.mail_has_a_server(databases=["default"]) == []
