"""Delivery to a receiver that is a process: signed, at least once, later again, and given up."""

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from approvals import deciding, vault
from approvals.models import Channel, DeliveryAttempt, Notice
from approvals.notices import deliver, settling, signing
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.approvals.notices.conftest import MakeChannel, hours_pass, send_all, waiting, with_mail
from tests.approvals.notices.receivers import HTTPReceiver, MailReceiver, http_receiver
from tests.conftest import Agent, at_once, held
from tests.stack import until

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP19", "E32")]

Kind = Channel.Kind


def make_due() -> None:
    """The time of the next attempt has come."""
    Notice.objects.update(due_at=local_now(), lease_expires_at=None)


def attempts() -> list[DeliveryAttempt]:
    return list(DeliveryAttempt.objects.order_by("pk"))


@pytest.fixture
def theirs(agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver) -> Channel:
    """The agent's own system."""
    return make_channel("theirs", Kind.WEBHOOK, receiver.url, caller=agent.row)


def test_a_webhook_is_signed_as_the_specification_says(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    agent.invoke("echo", value=1)
    send_all()
    (seen,) = receiver.requests
    (secret,) = signing.secrets_of(theirs, local_now())
    assert secret.startswith("whsec_")
    said = Webhook(secret).verify(seen["body"], seen["headers"])
    assert (said["type"], said["data"]["status"]) == ("invocation.finished", "success")
    assert seen["headers"]["webhook-id"] == str(Notice.objects.get().pk)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(seen["body"] + " ", seen["headers"])
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(seen["body"], seen["headers"])


def test_after_a_rotation_both_keys_sign_for_a_day(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    (old,) = signing.secrets_of(theirs, local_now())
    new = signing.give_secret(theirs, local_now())
    theirs.save(update_fields=["secret_sealed"])
    agent.invoke("echo", value=1)
    send_all()
    (seen,) = receiver.requests
    for secret in (old, new):
        Webhook(secret).verify(seen["body"], seen["headers"])
    assert signing.secrets_of(theirs, local_now() + timedelta(hours=25)) == [new]


def test_the_url_and_the_keys_are_sealed(theirs: Channel, receiver: HTTPReceiver) -> None:
    row = Channel.objects.values().get()
    assert b"T0PSECRET" not in bytes(row["url_sealed"])
    assert vault.unseal(row["url_sealed"]) == receiver.url
    (secret,) = signing.secrets_of(theirs, local_now())
    assert secret.encode() not in bytes(row["secret_sealed"])
    assert signing.shown_url(theirs) == f"http://127.0.0.1:{receiver.port}/"


def test_what_is_not_taken_is_sent_again_under_the_same_id(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    receiver.answers(500, "down")
    agent.invoke("echo", value=1)
    send_all()
    (notice,) = waiting()
    assert timedelta(seconds=3) < notice.due_at - local_now() < timedelta(seconds=7)
    receiver.answers(200)
    make_due()
    send_all()
    assert waiting() == []
    first, second = receiver.requests
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"]
    assert [(one.code, one.is_good, one.answer) for one in attempts()] == [
        (500, False, "down"), (200, True, "ok"),
    ]  # fmt: skip


def test_a_receiver_that_is_killed_loses_nothing(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    agent.invoke("echo", value=1)
    receiver.kill()
    send_all()
    assert [(one.phase, one.code) for one in attempts()] == [("tcp", None)]
    agent.invoke("echo", value=2)
    receiver.start()
    make_due()
    send_all()
    assert waiting() == []
    assert len({seen["headers"]["webhook-id"] for seen in receiver.requests}) == 2


def test_the_waits_grow_and_differ() -> None:
    for attempt, seconds in ((1, 5), (2, 10), (5, 80), (60, 3 * 3600)):
        waits = {settling.wait_after(attempt).total_seconds() for _ in range(20)}
        assert len(waits) > 1
        assert all(seconds * 0.74 < wait < seconds * 1.26 for wait in waits)


def test_who_dies_while_sending_loses_nothing_and_nobody_sends_beside(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    agent.invoke("echo", value=1)
    moment = local_now()
    claimed = deliver.claim(theirs.pk, moment)
    assert claimed is not None
    assert deliver.claim(theirs.pk, moment) is None, "the one who claimed it has died"
    assert deliver.claim(theirs.pk, moment + deliver.LEASE) is not None


def test_a_lost_lease_settles_nothing(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    agent.invoke("echo", value=1)
    late = deliver.claim(theirs.pk, local_now())
    assert late is not None
    deliver.claim(theirs.pk, local_now() + deliver.LEASE)
    deliver.deal_with(late)
    assert Notice.objects.get().status == Notice.Status.WAITING


@pytest.mark.django_db(transaction=True)
def test_of_many_who_claim_at_once_one_gets_it(agent: Agent, make_channel: MakeChannel) -> None:
    channel = make_channel("theirs", Kind.WEBHOOK, "https://hooks.example", caller=agent.row)
    agent.invoke("echo", value=1)
    got = at_once(6, lambda _: deliver.claim(channel.pk, local_now()))
    assert len([one for one in got if one is not None]) == 1


def test_after_three_days_it_is_given_up_and_the_channel_switched_off(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver, post_office: MailReceiver
) -> None:
    root = User.objects.create_superuser("root", "root@example.org", "root-password")
    receiver.answers(503)
    agent.invoke("echo", value=1)
    send_all()
    hours_pass(73)
    make_due()
    send_all()
    channel = Channel.objects.get(pk=theirs.pk)
    assert (channel.is_enabled, "three days" in channel.disabled_because) == (False, True)
    assert Notice.objects.get(channel=theirs).status == Notice.Status.FAILED
    line = Event.objects.get(event="channel:disabled")
    assert line.metadata["channel"] == "theirs"
    (mail,) = post_office.to(root.email)
    assert "theirs" in mail["Subject"]


def test_a_receiver_that_is_gone_is_switched_off_at_once(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    receiver.answers(410)
    agent.invoke("echo", value=1)
    agent.invoke("echo", value=2)
    send_all()
    assert not Channel.objects.get(pk=theirs.pk).is_enabled
    make_due()
    send_all()
    assert len(receiver.requests) == 1
    assert Event.objects.filter(event="channel:disabled").count() == 1


def test_one_failure_after_a_quiet_time_switches_nothing_off(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    Channel.objects.update(failing_since=local_now() - timedelta(days=10))
    receiver.answers(502)
    agent.invoke("echo", value=1)
    send_all()
    assert Channel.objects.get().is_enabled
    assert len(waiting()) == 1


def test_a_channel_for_which_nothing_waits_any_more_is_not_failing(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, trace: Path, reviewer: User
) -> None:
    make_channel("chat", Kind.SLACK, receiver.url)
    receiver.answers(500)
    first, second = held(agent, trace), held(agent, trace, text="another")
    send_all()
    later = local_now() + timedelta(hours=1)
    Notice.objects.filter(approval=second).update(due_at=later)
    deciding.reject(first, reviewer, Said())
    Notice.objects.filter(approval=first).update(due_at=local_now())
    send_all()
    assert [one.approval for one in waiting()] == [second]
    assert Channel.objects.get().failing_since is not None
    deciding.reject(second, reviewer, Said())
    make_due()
    send_all()
    assert waiting() == []
    assert Channel.objects.get().failing_since is None


def test_success_ends_the_count_of_a_failing_channel(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    receiver.answers(500)
    agent.invoke("echo", value=1)
    send_all()
    assert Channel.objects.get(pk=theirs.pk).failing_since is not None
    receiver.answers(204, "")
    make_due()
    send_all()
    assert Channel.objects.get(pk=theirs.pk).failing_since is None


def test_one_attempt_tells_how_all_would_fare_with_a_dead_receiver(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    receiver.kill()
    for value in range(5):
        agent.invoke("echo", value=value)
    send_all()
    assert len(attempts()) == 1
    assert len(waiting()) == 5


def test_what_one_message_meets_does_not_stop_the_others(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    receiver.answers(400, "I can't read this one")
    agent.invoke("echo", value=1)
    agent.invoke("echo", value=2)
    send_all()
    assert len(receiver.requests) == 2


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_hangs_holds_up_no_other(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, settings: Settings
) -> None:
    with http_receiver() as quick:
        make_channel("a slow one", Kind.WEBHOOK, receiver.url, caller=agent.row)
        make_channel("quick", Kind.WEBHOOK, quick.url, caller=agent.row)
        receiver.hang()
        agent.invoke("echo", value=1)
        deliver.deliver()
        until(lambda: quick.requests)
        until(lambda: receiver.requests)
        assert Notice.objects.filter(status=Notice.Status.SENT).count() <= 1
        receiver.hang(False)
        until(lambda: not waiting())
        until(lambda: not deliver._served)


@pytest.mark.feature("E25")
def test_redirects_are_not_followed(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver
) -> None:
    receiver.answers(307, "", Location=f"http://127.0.0.1:{receiver.port}/elsewhere")
    make_channel("theirs", Kind.WEBHOOK, receiver.url, caller=agent.row)
    agent.invoke("echo", value=1)
    send_all()
    assert [seen["path"].partition("?")[0] for seen in receiver.requests] == [
        "/hooks/T0PSECRET-path"
    ]
    assert [one.code for one in attempts()] == [307]


def test_proxies_of_the_environment_are_not_used(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    agent.invoke("echo", value=1)
    send_all()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]",
             "0.0.0.0", "[64:ff9b::7f00:1]"],
)  # fmt: skip
def test_private_addresses_are_refused_unless_the_operator_names_the_host(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, settings: Settings, host: str
) -> None:
    settings.RAMPART_INTERNAL_RECEIVERS = []
    make_channel("inside", Kind.SLACK, f"http://{host}:{receiver.port}/", caller=agent.row)
    make_channel("desk", Kind.WEBHOOK, f"http://{host}:{receiver.port}/", caller=agent.row)
    agent.invoke("echo", value=1)
    send_all()
    assert receiver.requests == []
    assert {(one.phase, one.is_good) for one in attempts()} == {("dns", False)}
    assert all("InvalidIPAddress" in one.answer for one in attempts())


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://127.0.0.1:{port}\\@chat.internal/hook", "which host it names is not certain"),
        ("http://me:secret@127.0.0.1:{port}/", "no name and no password"),
    ],
)
@pytest.mark.feature("E25")
def test_an_address_that_may_mislead_is_not_followed_even_if_it_is_kept(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, settings: Settings,
    address: str, fault: str,
) -> None:  # fmt: skip
    settings.RAMPART_INTERNAL_RECEIVERS = ["chat.internal", "127.0.0.1"]
    make_channel("old", Kind.WEBHOOK, address.format(port=receiver.port), caller=agent.row)
    agent.invoke("echo", value=1)
    send_all()
    assert receiver.requests == []
    assert [fault in one.answer for one in attempts()] == [True]


@pytest.mark.parametrize("body", ["x" * 5_000_000, "echo {path}"])
def test_of_an_answer_only_its_beginning_is_kept_and_no_secret_of_it(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver, body: str
) -> None:
    receiver.answers(500, body + " token=s3cretquery")
    agent.invoke("echo", value=1)
    send_all()
    (attempt,) = attempts()
    assert 0 < len(attempt.answer) <= 500
    assert "T0PSECRET" not in attempt.answer and "s3cretquery" not in attempt.answer


@pytest.mark.parametrize(
    "path", ["s\u00e9cret-t\u00f8ken", "tok{en}secret", "a%2fsecret-%7Etoken", "?k=one secret"]
)
def test_a_secret_is_hidden_as_it_was_sent_too(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, path: str
) -> None:
    where = f"http://127.0.0.1:{receiver.port}/{path}"
    make_channel("theirs", Kind.WEBHOOK, where, caller=agent.row)
    receiver.answers(500, "no: {path}")
    agent.invoke("echo", value=1)
    send_all()
    sent = receiver.requests[0]["path"].rpartition("=")[2].removeprefix("/")
    (attempt,) = attempts()
    assert attempt.answer.startswith("no: /") and sent not in attempt.answer


def test_a_name_that_nobody_knows_is_told_apart(
    agent: Agent, make_channel: MakeChannel, settings: Settings
) -> None:
    make_channel("gone", Kind.WEBHOOK, "https://no-such-host.invalid/T0PSECRET", caller=agent.row)
    agent.invoke("echo", value=1)
    send_all()
    (attempt,) = attempts()
    assert attempt.phase == "dns" and "T0PSECRET" not in attempt.answer


def test_a_certificate_that_nobody_trusts_is_told_apart(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver
) -> None:
    make_channel("plain", Kind.WEBHOOK, f"https://127.0.0.1:{receiver.port}/", caller=agent.row)
    agent.invoke("echo", value=1)
    send_all()
    (attempt,) = attempts()
    assert attempt.phase == "tls"
    assert receiver.requests == []


def test_what_was_held_and_is_decided_is_not_asked_any_more_in_a_chat(
    agent: Agent, make_channel: MakeChannel, receiver: HTTPReceiver, trace: Path, reviewer: User
) -> None:
    make_channel("chat", Kind.SLACK, receiver.url)
    approval = held(agent, trace)
    deciding.approve(approval, reviewer, Said())
    send_all()
    assert receiver.requests == []
    assert set(Notice.objects.values_list("status", flat=True)) == {Notice.Status.DROPPED}


def test_a_notice_that_can_not_be_made_costs_no_other(
    agent: Agent, theirs: Channel, receiver: HTTPReceiver
) -> None:
    agent.invoke("echo", value=1)
    Notice.objects.update(kind="nonsense")
    agent.invoke("echo", value=2)
    send_all()
    assert len(receiver.requests) == 1
    assert [(one.phase, one.answer) for one in attempts() if not one.is_good] == [("", "KeyError")]


def test_mail_waits_for_its_server(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    post_office.kill()
    held(agent, trace)
    send_all()
    assert [one.phase for one in attempts()] == ["tcp"]
    post_office.start()
    make_due()
    send_all()
    assert len(post_office.to(reviewer.email)) == 1


def test_a_refusal_of_the_mail_server_is_kept_with_its_code(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    post_office.refuse("554 no thanks")
    held(agent, trace)
    send_all()
    (attempt,) = attempts()
    assert (attempt.phase, attempt.code, "no thanks" in attempt.answer) == ("smtp", 554, True)


def test_the_mail_servers_password_is_hidden_in_every_spelling(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User, settings: Settings
) -> None:
    with_mail(reviewer)
    settings.EMAIL_HOST_PASSWORD = "hunter2-secret"
    spelled = [
        "hunter2-secret",
        *(b64encode(text).decode() for text in (b"hunter2-secret", b"\0\0hunter2-secret")),
    ]
    post_office.refuse(f"535 failed: {' '.join(spelled)}")
    held(agent, trace)
    send_all()
    (attempt,) = attempts()
    assert "failed: \u2022\u2022\u2022 \u2022\u2022\u2022 \u2022\u2022\u2022" in attempt.answer


@pytest.mark.parametrize("bad", ["a@b@c", "a@b\nBcc: x@y.z", "x@" + "y" * 80 + ".org"])
def test_an_address_that_is_none_is_given_up_and_holds_up_nobody(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User,
    member: Callable[..., User], bad: str,
) -> None:  # fmt: skip
    with_mail(reviewer)
    User.objects.filter(pk=member("ana").pk).update(email=bad)
    for text in ("one", "two"):
        held(agent, trace, text=text)
    send_all()
    assert len(post_office.to(reviewer.email)) == 2
    assert waiting() == []
    faults = [one for one in attempts() if not one.is_good]
    assert [(one.phase, one.notice.status) for one in faults] == [
        ("address", Notice.Status.FAILED)
    ] * 2
