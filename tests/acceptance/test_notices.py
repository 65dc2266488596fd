"""Notices out of a whole deployment: receivers and workers are killed, and nothing is lost."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from approvals.notices.posting import SECONDS
from tests import servers
from tests.approvals.notices.receivers import (
    HTTPReceiver,
    MailReceiver,
    http_receiver,
    mail_receiver,
)
from tests.stack import Stack, running, until

pytestmark = [pytest.mark.stack, pytest.mark.feature("AP19", "E25", "E26", "E32")]

SECONDS_UNTIL_SOMEBODY_ELSE_SENDS_IT = 60
REVIEWER = ("decide_approval", "view_approval", "view_invocation")


class Desk:
    """A deployment with a reviewer who has an address, and receivers of everything."""

    def __init__(self, stack: Stack, receiver: HTTPReceiver, post_office: MailReceiver) -> None:
        self.stack, self.receiver, self.post_office = stack, receiver, post_office
        self.key = stack.new_key("shop-agent")
        self.password = stack.new_person("rosa", *REVIEWER)
        stack.python(
            "from django.contrib.auth.models import User\n"
            "User.objects.filter(username='rosa').update(email='rosa@example.org')"
        )
        self.channel("hook", "webhook")

    def channel(self, name: str, kind: str) -> None:
        """A channel that leads to the receiver."""
        self.stack.python(
            "from approvals import vault\n"
            "from approvals.models import Channel\n"
            "from approvals.notices import signing\n"
            "from audit.models import local_now\n"
            f"one = Channel(name={name!r}, kind={kind!r})\n"
            f"one.url_sealed = vault.seal({self.receiver.url!r})\n"
            "signing.give_secret(one, local_now())\n"
            "one.save(force_insert=True)"
        )

    def hold(self, text: str) -> dict[str, Any]:
        """A call that is held."""
        answer = self.stack.invoke(
            "guarded_trace", self.key, path=str(self.stack.folder / "trace"), text=text
        )
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def told(self, kind: str, approval_id: str) -> list[dict[str, Any]]:
        """The webhooks of this kind about the call."""
        return [
            one
            for one in self.receiver.bodies
            if one["type"] == kind and one["data"]["approval_id"] == approval_id
        ]

    def statuses(self) -> list[str]:
        """Where every notice stands."""
        said = self.stack.python(
            "import json\nfrom approvals.models import Notice\n"
            "print(json.dumps(list(Notice.objects.values_list('status', flat=True))))"
        )
        found: list[str] = json.loads(said)
        return found


@pytest.fixture(scope="module", params=["embedded", "production"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with http_receiver() as receiver, mail_receiver() as post_office:
        settings = {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(post_office.port),
            "RAMPART_INTERNAL_RECEIVERS": "127.0.0.1",
        }
        if request.param == "embedded":
            with running(**settings) as stack:
                yield Desk(stack, receiver, post_office)
            return
        with (
            servers.postgres() as (_, database),
            servers.redis_server() as (_, redis),
            running(DATABASE_URL=database, REDIS_URL=redis, **settings) as stack,
        ):
            yield Desk(stack, receiver, post_office)


def test_a_held_call_is_told_by_mail_and_webhook_and_its_outcome_too(desk: Desk) -> None:
    approval_id = desk.hold("first")["approval_id"]
    until(lambda: desk.told("invocation.held", approval_id))
    until(lambda: desk.post_office.to("rosa@example.org"))
    rosa = desk.stack.signed_in("rosa", desk.password)
    done = rosa.post(
        f"{desk.stack.base_url}/api/v1/approvals/{approval_id}/approve",
        json={"reason_to_agent": "fine"}, timeout=30,
    )  # fmt: skip
    assert done.status_code == 200, done.text
    (outcome,) = until(lambda: desk.told("approval.approved", approval_id))
    assert outcome["data"]["decision"]["by"] == "rosa"


def test_a_receiver_that_is_killed_and_comes_back_gets_everything(desk: Desk) -> None:
    desk.receiver.kill()
    approvals = [desk.hold(f"while away {number}")["approval_id"] for number in range(3)]
    until(lambda: "tcp" in _phases(desk.stack))
    desk.receiver.start()
    for approval_id in approvals:
        until(lambda approval_id=approval_id: desk.told("invocation.held", approval_id), 90)


def test_a_worker_that_is_killed_while_it_sends_loses_nothing(desk: Desk) -> None:
    """Nobody else may have begun: beat, which would be the second one, starts afterwards."""
    desk.stack.kill("beat", signal.SIGKILL)
    desk.receiver.hang()
    approval_id = desk.hold("while dying")["approval_id"]
    until(lambda: desk.told("invocation.held", approval_id))
    desk.stack.kill("worker", signal.SIGKILL)
    desk.receiver.hang(False)
    desk.stack.start("worker", "beat")
    until(
        lambda: len(desk.told("invocation.held", approval_id)) == 2,
        SECONDS_UNTIL_SOMEBODY_ELSE_SENDS_IT,
    )
    ids = {
        seen["headers"]["webhook-id"]
        for seen in desk.receiver.requests
        if approval_id in seen["body"]
    }
    assert len(ids) == 1, "the receiver can tell that it is the same one"
    until(lambda: set(desk.statuses()) <= {"sent", "dropped"}, 30)


def test_without_a_worker_beat_sends_what_is_due(desk: Desk) -> None:
    desk.stack.kill("worker", signal.SIGKILL)
    try:
        approval_id = desk.hold("nobody works")["approval_id"]
        until(lambda: desk.told("invocation.held", approval_id))
    finally:
        desk.stack.start("worker")


def test_a_receiver_that_hangs_delays_no_call(desk: Desk) -> None:
    """As many as the worker has hands: none of them waits for the receiver."""
    desk.receiver.hang()
    try:
        for text in ("told to nobody yet", "nor this one"):
            approval_id = desk.hold(text)["approval_id"]
            until(lambda found=approval_id: desk.told("invocation.held", found))
        answer = desk.stack.invoke("echo", desk.key, value=1)
        assert answer.elapsed.total_seconds() < 5
        ran = desk.stack.invoke(
            "leave_trace", desk.key, path=str(desk.stack.folder / "trace"), prefer="wait=20"
        )
        assert ran.json()["status"] == "success"
        assert ran.elapsed.total_seconds() < SECONDS[1] - 2
    finally:
        desk.receiver.hang(False)


def _phases(stack: Stack) -> str:
    return stack.python(
        "from approvals.models import DeliveryAttempt\n"
        "print(list(DeliveryAttempt.objects.values_list('phase', flat=True)))"
    )
