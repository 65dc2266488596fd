"""What leaves the house: the call's name and where it is decided, and nothing that was asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from approvals import deciding, execution
from approvals.models import Channel, Notice, Vote
from approvals.notices import wording
from approvals.notices.wording import Facts
from approvals.transitions import Said
from audit.canonical import rfc3339
from audit.models import Event
from tests.approvals.notices.conftest import PLANTED, MakeChannel, fresh, send_all, with_mail
from tests.approvals.notices.receivers import HTTPReceiver, MailReceiver
from tests.conftest import Agent, MakeAgent, held
from tests.desk_cast import Rule

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP19", "E25", "E41")]

Kind = Channel.Kind


def everything_sent(receiver: HTTPReceiver, post_office: MailReceiver) -> str:
    mails = [f"{mail.as_string()}{mail.get_content()}" for _, mail in post_office.messages]
    return json.dumps(receiver.requests) + "".join(mails)


def test_no_planted_secret_leaves_by_any_way(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver,
    post_office: MailReceiver, reviewer: User, owner: User,
) -> None:  # fmt: skip
    with_mail(reviewer, owner)
    make_channel("hook", Kind.WEBHOOK, receiver.url)
    make_channel("chat", Kind.SLACK, receiver.url)
    make_channel("list", Kind.EMAIL, "desk@example.org")
    make_channel("theirs", Kind.WEBHOOK, receiver.url, caller=agent.row)
    path = trace.with_name(PLANTED)
    answer = agent.invoke("pay", path=str(path), amount=4711.5, card_number=PLANTED, note=PLANTED)
    approval_id = answer.json()["approval_id"]
    send_all()
    approval = Notice.objects.filter(approval_id=approval_id)[0].approval
    assert approval is not None
    deciding.approve(fresh(approval), reviewer, Said(note="entre nous"))
    execution.run(approval.invocation_id)
    send_all()
    sent = everything_sent(receiver, post_office)
    assert PLANTED not in sent and "4711" not in sent and "entre nous" not in sent
    assert len(receiver.requests) == 2 + 2 + 3
    assert sorted(len(post_office.to(one)) for one in ("desk@example.org", owner.email)) == [1, 2]


def test_a_webhook_of_the_desk_says_who_may_decide_and_where(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver, reviewer: User
) -> None:
    make_channel("hook", Kind.WEBHOOK, receiver.url)
    approval = held(agent, trace)
    send_all()
    (body,) = receiver.bodies
    assert body["type"] == "invocation.held"
    assert body["data"]["may_decide"] == ["reviewer"]
    assert body["data"]["links"]["page"].endswith(
        f"/admin/approvals/approval/{approval.pk}/change/"
    )
    assert body["data"]["expires_at"] == rfc3339(approval.expires_at)
    assert body["data"]["summary"] == "agent wants to run guarded_trace (medium risk)."


def test_a_callers_webhooks_tell_its_story(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver, reviewer: User
) -> None:
    make_channel("theirs", Kind.WEBHOOK, receiver.url, caller=agent.row)
    approval = held(agent, trace)
    deciding.approve(approval, reviewer, Said(reason_to_agent="go on"))
    execution.run(approval.invocation_id)
    send_all()
    story = receiver.bodies
    assert [one["type"] for one in story] == [
        "invocation.held", "invocation.decided", "invocation.finished",
    ]  # fmt: skip
    assert [one["data"]["status"] for one in story] == ["requires_approval", "pending", "success"]
    decision = {"status": "approved", "by": "reviewer", "reason_to_agent": "go on"}
    assert [one["data"]["decision"] for one in story] == [None, decision, decision]
    for one in story:
        data = one["data"]
        assert data["invocation_id"] == str(approval.invocation_id)
        assert data["links"]["self"].endswith(f"/api/v1/invocations/{approval.invocation_id}")
        assert data["links"]["page"] is None and "may_decide" not in data
        assert not {"arguments", "data", "result", "error"} & set(data)


def test_a_chat_names_the_call_again_when_it_is_decided(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver, reviewer: User
) -> None:
    make_channel("chat", Kind.SLACK, receiver.url)
    approval = held(agent, trace)
    send_all()
    deciding.reject(fresh(approval), reviewer, Said(reason_to_agent="<!channel> no"))
    send_all()
    first, second = (body["text"] for body in receiver.bodies)
    assert "`agent` wants to run `guarded_trace` (medium risk)." in first
    assert "`reviewer` rejected" in second and "`&lt;!channel&gt; no`" in second
    for text in (first, second):
        assert text.endswith(f"/admin/approvals/approval/{approval.pk}/change/")


def test_a_chat_hears_of_a_yes_when_it_fills_a_stage(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver,
    member: Callable[..., User], write_rule: Rule,
) -> None:  # fmt: skip
    write_rule("both", stages=[(2, "ops"), (1, "finance")], tool="guarded_trace", effect="require")
    make_channel("chat", Kind.SLACK, receiver.url)
    approval = held(agent, trace)
    for name in ("olga", "otto"):
        deciding.approve(fresh(approval), member(name, "ops"), Said())
    send_all()
    first, second = (body["text"] for body in receiver.bodies)
    assert "wants to run" in first
    assert "was approved by `otto` and needs `1 of finance`" in second


def test_what_a_yes_left_to_do_is_told_even_if_it_is_done_by_then(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver,
    member: Callable[..., User], write_rule: Rule,
) -> None:  # fmt: skip
    write_rule("both", stages=[(1, "ops"), (1, "finance")], tool="guarded_trace", effect="require")
    make_channel("hook", Kind.WEBHOOK, receiver.url)
    approval = held(agent, trace)
    for name, group in (("olga", "ops"), ("fay", "finance")):
        deciding.approve(fresh(approval), member(name, group), Said())
    send_all()
    (voted,) = (body for body in receiver.bodies if body["type"] == "approval.voted")
    assert voted["data"]["summary"].endswith("was approved by olga and needs 1 of finance.")


@pytest.mark.parametrize(
    "name",
    [
        "<!channel>",
        "@all",
        "[click](http://evil.example)",
        "a`b` @here",
        "two\nlines",
        "abc\u202ecba",
    ],
)
def test_a_strangers_name_is_no_markup_and_stays_in_its_line(
    make_agent: MakeAgent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver,
    post_office: MailReceiver, reviewer: User, name: str,
) -> None:  # fmt: skip
    facts = Facts("invocation:held", tool="refund", actor=name, risk="high risk")
    text = wording.chat_body(facts)["text"]
    shown = text.split(" wants to run ")[0]
    assert shown[0] == shown[-1] == "`" and "`" not in shown[1:-1]
    assert "<" not in text and "\n" not in shown and "\u202e" not in text
    assert "\n" not in wording.subject(facts) and "\u202e" not in wording.subject(facts)


def test_twenty_looks_at_the_link_change_nothing(
    agent: Agent, trace: Path, make_channel: MakeChannel, receiver: HTTPReceiver, reviewer: User
) -> None:
    make_channel("hook", Kind.WEBHOOK, receiver.url)
    approval = held(agent, trace)
    send_all()
    link = receiver.bodies[0]["data"]["links"]["page"]
    signed_in, nobody = Client(), Client()
    signed_in.force_login(reviewer)

    def kept() -> tuple[Any, ...]:
        return Vote.objects.count(), Event.objects.count(), Notice.objects.count()

    before = kept()
    path = link[link.index("/admin/") :]
    for _ in range(20):
        assert signed_in.get(path).status_code == 200
        assert nobody.get(path).status_code == 302
    assert kept() == before
    assert fresh(approval).is_pending
