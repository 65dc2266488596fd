"""Mail to people: who is asked, when, who is not, and what they hear of the outcome."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals import deciding, editing, transitions, upkeep
from approvals.models import Approval, Channel, Invocation, Notice, Wishes
from approvals.notices import deliver, people
from approvals.notices.reminding import remind
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.approvals.notices.conftest import (
    DECIDE,
    MakeChannel,
    fresh,
    hours_pass,
    send_all,
    with_mail,
)
from tests.approvals.notices.receivers import HTTPReceiver, MailReceiver
from tests.conftest import Agent, MakeAgent, at_once, held
from tests.desk_cast import Rule

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP19", "E26")]

Member = Callable[..., User]


def wishes(person: User, mail: Wishes.Mail, least_risk: int = 1) -> None:
    Wishes.objects.update_or_create(
        person=person, defaults={"mail": mail, "mail_least_risk": least_risk}
    )


def addressees(post_office: MailReceiver) -> list[str]:
    return sorted(to.partition("@")[0] for all_to, _ in post_office.messages for to in all_to)


def test_those_who_may_decide_are_asked_and_nobody_of_the_requesting_side(
    make_agent: MakeAgent, trace: Path, post_office: MailReceiver, reviewer: User, member: Member,
    stranger: User,
) -> None:  # fmt: skip
    ana = member("ana")
    with_mail(reviewer, ana, stranger)
    held(make_agent(owner=ana), trace)
    send_all()
    assert addressees(post_office) == ["reviewer"]


def test_the_mail_says_what_is_wanted_and_where_to_decide(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    approval = held(agent, trace)
    send_all()
    (mail,) = post_office.to("reviewer@example.org")
    assert mail["Subject"] == "agent wants to run guarded_trace (medium risk)"
    text = mail.get_content()
    page = f"https://rampart.example/admin/approvals/approval/{approval.pk}/change/"
    assert page in text
    assert "Who may decide: reviewer" in text
    assert f"{approval.expires_at:%Y-%m-%d %H:%M} UTC" in text
    assert (mail["Auto-Submitted"], str(trace) in text) == ("auto-generated", False)


def test_wishes_decide_about_mail(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member
) -> None:
    people = [member(name) for name in ("always", "never", "graver", "later")]
    with_mail(*people)
    wishes(people[1], Wishes.Mail.OFF)
    wishes(people[2], Wishes.Mail.AT_ONCE, least_risk=3)
    wishes(people[3], Wishes.Mail.DIGEST)
    held(agent, trace)
    send_all()
    assert addressees(post_office) == ["always"]
    agent.invoke("destroy", path=str(trace))
    send_all()
    assert addressees(post_office) == ["always", "always", "graver"]


def test_a_digest_is_one_mail_a_quarter_of_an_hour(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    wishes(reviewer, Wishes.Mail.DIGEST)
    approvals = [held(agent, trace, text=text) for text in ("one", "two", "three")]
    send_all()
    assert post_office.messages == []
    digest = Notice.objects.get(kind="digest")
    assert timedelta(0) < digest.due_at - local_now() <= timedelta(minutes=15)
    deciding.reject(approvals[0], reviewer, Said())
    Notice.objects.filter(kind="digest").update(due_at=local_now())
    send_all()
    (mail,) = post_office.to(reviewer.email)
    assert mail["Subject"] == "2 calls are waiting for you"
    links = [f"/approval/{one.pk}/" in mail.get_content() for one in approvals]
    assert links == [False, True, True]


def test_a_digest_leaves_out_what_the_person_may_not_decide(
    make_agent: MakeAgent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    wishes(reviewer, Wishes.Mail.DIGEST)
    own = held(make_agent("mine", owner=reviewer), trace)
    others = held(make_agent("theirs"), trace)
    send_all()
    Notice.objects.filter(kind="digest").update(due_at=local_now())
    send_all()
    (mail,) = post_office.to(reviewer.email)
    text = mail.get_content()
    assert [f"/approval/{one.pk}/" in text for one in (own, others)] == [False, True]


def test_a_digest_of_nothing_is_not_sent(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    wishes(reviewer, Wishes.Mail.DIGEST)
    approval = held(agent, trace)
    send_all()
    deciding.reject(approval, reviewer, Said())
    Notice.objects.filter(kind="digest").update(due_at=local_now())
    send_all()
    assert post_office.messages == []


def test_the_outcome_joins_the_thread_and_the_requester_is_told_once(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member, owner: User
) -> None:
    ana, ben = member("ana"), member("ben")
    with_mail(ana, ben, owner)
    approval = held(agent, trace)
    send_all()
    deciding.reject(fresh(approval), ana, Said(reason_to_agent="not today", note="entre nous"))
    send_all()
    assert addressees(post_office) == ["ana", "ben", "ben", "owner"]
    first, second = post_office.to("ben@example.org")
    assert second["In-Reply-To"] == first["Message-ID"] == second["References"]
    assert second["Subject"] == f"Re: {first['Subject']}"
    (to_owner,) = post_office.to("owner@example.org")
    for mail in (second, to_owner):
        text = mail.get_content()
        assert "ana rejected agent's call of guarded_trace (medium risk)." in text
        assert "not today" in text and "entre nous" not in text
    assert to_owner["Subject"] == first["Subject"], "it joins nothing"


def test_who_wants_no_mail_is_not_told_of_outcomes_either(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member, owner: User
) -> None:
    ana, ben = member("ana"), member("ben")
    with_mail(ana, ben, owner)
    approval = held(agent, trace)
    send_all()
    for person in (ben, owner):
        wishes(person, Wishes.Mail.OFF)
    deciding.reject(fresh(approval), ana, Said())
    send_all()
    assert addressees(post_office) == ["ana", "ben"]


def test_to_find_out_who_is_asked_takes_no_query_for_each_of_them(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member
) -> None:
    def queries(text: str) -> int:
        held(agent, trace, text=text)
        notice = deliver.claim(None, local_now())
        assert notice is not None
        with CaptureQueriesContext(connection) as seen:
            people.spread(notice, local_now())
        Notice.objects.all().delete()
        return len(seen)

    with_mail(member("ana"))
    of_one = queries("one")
    with_mail(*(member(f"person-{number}") for number in range(5)))
    assert queries("six") == of_one


def test_expiry_and_withdrawal_are_told_too(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User, owner: User
) -> None:
    with_mail(reviewer, owner)
    late, withdrawn = held(agent, trace), held(agent, trace, text="withdrawn")
    send_all()
    agent.client.post(f"/api/v1/invocations/{withdrawn.invocation_id}/cancel")
    Approval.objects.filter(pk=late.pk).update(expires_at=local_now() - timedelta(seconds=1))
    upkeep.expire_due(transitions.now())
    send_all()
    said = [mail.get_content().splitlines()[0] for mail in post_office.to(reviewer.email)]
    assert any("was taken back by agent" in line for line in said)
    assert any("is over: it will not run" in line for line in said)
    to_owner = [mail.get_content() for mail in post_office.to(owner.email)]
    assert len(to_owner) == 1 and "is over" in to_owner[0], "who took it back knows"


def test_when_a_stage_is_filled_those_of_the_next_are_asked(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member, write_rule: Rule
) -> None:
    write_rule("both", stages=[(2, "ops"), (1, "finance")], tool="guarded_trace", effect="require")
    ops = [member(name, "ops") for name in ("olga", "otto")]
    fay = member("fay", "finance")
    with_mail(*ops, fay)
    approval = held(agent, trace)
    send_all()
    assert addressees(post_office) == ["olga", "otto"]
    deciding.approve(fresh(approval), ops[0], Said())
    send_all()
    assert addressees(post_office) == ["olga", "otto"], "its stage is open still"
    deciding.approve(fresh(approval), ops[1], Said())
    send_all()
    assert addressees(post_office) == ["fay", "olga", "otto"]
    (mail,) = post_office.to(fay.email)
    assert "was approved by otto and needs 1 of finance" in mail.get_content()


def test_a_stage_that_is_filled_quickly_asks_the_next_one_once(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member, write_rule: Rule
) -> None:
    """Both yeses are there before the first notice is looked at."""
    write_rule("both", stages=[(2, "ops"), (1, "finance")], tool="guarded_trace", effect="require")
    ops = [member(name, "ops") for name in ("olga", "otto")]
    fay = member("fay", "finance")
    with_mail(fay)
    approval = held(agent, trace)
    for person in ops:
        deciding.approve(fresh(approval), person, Said())
    send_all()
    assert addressees(post_office) == ["fay"]


def test_after_an_edit_the_others_are_asked_again(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member
) -> None:
    ana, ben = member("ana"), member("ben")
    with_mail(ana, ben)
    approval = held(agent, trace)
    send_all()
    changed: dict[str, Any] = {"path": str(trace), "text": "s3cr3t-other"}
    seen = fresh(approval).invocation.digest
    editing.edit(fresh(approval), ana, changed, Said(), expected_digest=seen)
    send_all()
    assert addressees(post_office) == ["ana", "ben", "ben"]
    last = post_office.to(ben.email)[-1].get_content()
    assert "ana edited agent's call" in last and "s3cr3t-other" not in last


def test_who_may_not_decide_any_more_is_not_asked(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    held(agent, trace)
    deliver.deal_with(deliver.claim(None, local_now()))  # type: ignore[arg-type]
    reviewer.user_permissions.clear()
    send_all()
    assert post_office.messages == []


def test_finding_out_who_is_asked_twice_asks_nobody_twice(
    agent: Agent, trace: Path, post_office: MailReceiver, reviewer: User
) -> None:
    with_mail(reviewer)
    held(agent, trace)
    for _ in range(2):
        claimed = deliver.claim(None, local_now())
        assert claimed is not None and claimed.recipient is None
        deliver.deal_with(claimed)
        Notice.objects.filter(pk=claimed.pk).update(status=Notice.Status.WAITING)
        Notice.objects.exclude(pk=claimed.pk).update(due_at=local_now() + timedelta(hours=1))
    assert Notice.objects.exclude(recipient=None).count() == 1


# Reminders.


@pytest.mark.feature("E48")
def test_a_reminder_goes_to_those_who_can_and_not_to_who_reminds(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member, owner: User
) -> None:
    ana, ben = member("ana"), member("ben")
    with_mail(ana, ben, owner)
    approval = held(agent, trace)
    send_all()
    assert remind(approval, ana) is None
    send_all()
    assert addressees(post_office) == ["ana", "ben", "ben"]
    assert "ana reminds you" in post_office.to(ben.email)[-1].get_content()
    line = Event.objects.get(event="approval:reminded")
    assert (line.actor, line.approval_id) == ("ana", approval.pk)


@pytest.mark.feature("E48")
def test_a_call_is_reminded_of_once_an_hour(
    agent: Agent, trace: Path, post_office: MailReceiver, member: Member
) -> None:
    ana, ben = member("ana"), member("ben")
    approval, other = held(agent, trace), held(agent, trace, text="other")
    assert remind(approval, ana) is None
    send_all()
    again_at = remind(approval, ben)
    assert again_at is not None and timedelta(minutes=59) < again_at - local_now()
    assert remind(other, ben) is None
    hours_pass(1.01)
    assert remind(approval, ben) is None
    assert Event.objects.filter(event="approval:reminded").count() == 3


@pytest.mark.feature("E48")
@pytest.mark.parametrize("with_address", [False, True])
def test_a_reminder_that_would_reach_nobody_is_not_made_and_says_so(
    agent: Agent, trace: Path, client: Client, reviewer: User, owner: User,
    post_office: MailReceiver, make_channel: MakeChannel, receiver: HTTPReceiver,
    with_address: bool,
) -> None:  # fmt: skip
    approval = held(agent, trace)
    client.force_login(owner)
    page = f"/admin/approvals/approval/{approval.pk}/remind/"

    def said() -> str:
        return client.post(page, follow=True).content.decode()

    assert "no mail goes to those who can decide it" in said()
    reviewer.user_permissions.clear()
    assert "Nobody else can decide it now" in said()
    assert not Notice.objects.filter(kind="reminder").exists()
    assert not Event.objects.filter(event="approval:reminded").exists()
    reviewer.user_permissions.set(Permission.objects.filter(codename=DECIDE.partition(".")[2]))
    if with_address:
        with_mail(reviewer)
    else:
        make_channel("chat", Channel.Kind.SLACK, receiver.url)
    assert "Those who can decide it are reminded." in said()


@pytest.mark.feature("E48")
@pytest.mark.django_db(transaction=True)
def test_of_many_who_remind_at_once_one_does(agent: Agent, trace: Path, member: Member) -> None:
    people = [member(f"person-{number}") for number in range(4)]
    approval = held(agent, trace)
    done = at_once(4, lambda number: remind(approval, people[number]))
    assert done.count(None) == 1
    assert Invocation.objects.get().status == "held"
