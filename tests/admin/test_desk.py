"""The page of one call, and what its two buttons do."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from approvals.desk.looks import BADGES
from approvals.models import Approval, Vote
from approvals.states import ApprovalStatus, InvocationStatus
from audit.models import Event, local_now
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, effects, held, work

pytestmark = pytest.mark.django_db


def page(approval: Approval, verb: str = "change") -> str:
    return reverse(f"admin:approvals_approval_{verb}", args=[approval.pk])


def decide(client: Client, approval: Approval, verb: str, **said: str) -> Any:
    """Press a button of the page as it was shown."""
    form = {"expected_digest": approval.invocation.digest, **said}
    return client.post(page(approval, verb), form)


def status_of(approval: Approval) -> str:
    return Approval.objects.get(pk=approval.pk).status


@pytest.fixture
def second_reviewer(reviewer: User) -> User:
    other = User.objects.create_user("ana", password="ana-password", is_staff=True)
    other.user_permissions.set(reviewer.user_permissions.all())
    return User.objects.get(pk=other.pk)


@pytest.mark.feature("V1", "E11")
def test_the_page_holds_what_a_decision_needs(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    shown = browser(reviewer).get(page(approval)).content.decode()
    for needed in (
        "agent wants to run guarded_trace",
        "approval is required",
        str(trace),
        agent.row.prefix,
        "owner",
        "Approve and run",
        "Reject",
        "reviewer",
        approval.invocation.digest,
        "invocation held",
    ):
        assert needed in shown, needed


@pytest.mark.feature("V2", "AP7")
def test_approving_runs_the_call_once(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    answer = decide(browser(reviewer), approval, "approve", note="looks right")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/approvals/approval/")
    work()
    assert len(effects(trace)) == 1
    assert status_of(approval) == ApprovalStatus.CONSUMED
    vote = Vote.objects.get(approval=approval)
    assert (vote.reviewer, vote.digest) == (reviewer, approval.invocation.digest)


@pytest.mark.feature("V2", "AP12")
def test_rejecting_tells_the_agent_the_reason_and_never_the_note(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    said = {"note": "he is on my list", "reason_to_agent": "ask finance first"}
    assert decide(browser(reviewer), approval, "reject", **said).status_code == 302
    told = agent.get(f"invocations/{approval.invocation_id}")
    assert told.json()["decision"]["reason_to_agent"] == "ask finance first"
    assert b"my list" not in told.content
    work()
    assert effects(trace) == []


@pytest.mark.feature("AP12")
def test_rejecting_needs_a_reason_and_keeps_what_was_typed(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    answer = decide(browser(reviewer), approval, "reject", note="typed with care")
    shown = answer.content.decode()
    assert answer.status_code == 422
    assert "Say why: the agent is told." in shown
    assert "typed with care" in shown
    assert status_of(approval) == ApprovalStatus.PENDING


@pytest.mark.feature("V2")
def test_somebody_who_may_only_look_decides_nothing(
    agent: Agent, trace: Path, stranger: User
) -> None:
    approval = held(agent, trace)
    for verb in ("approve", "reject"):
        assert decide(browser(stranger), approval, verb, reason_to_agent="no").status_code == 403
    stranger.user_permissions.add(Permission.objects.get(codename="view_approval"))
    looker = browser(User.objects.get(pk=stranger.pk))
    shown = looker.get(page(approval)).content.decode()
    assert "permission to decide" in shown
    assert "Approve and run" not in shown
    assert decide(looker, approval, "approve").status_code == 403
    assert status_of(approval) == ApprovalStatus.PENDING


@pytest.mark.feature("AP6", "E14")
def test_the_requesters_side_never_decides(
    make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    approval = held(make_agent(owner=reviewer), trace)
    client = browser(reviewer)
    assert "with a key of yours" in client.get(page(approval)).content.decode()
    answer = decide(client, approval, "approve")
    assert answer.status_code == 403
    assert "with a key of yours" in answer.content.decode()
    assert status_of(approval) == ApprovalStatus.PENDING


@pytest.mark.feature("AP7", "V2", "E16", "T21")
def test_the_second_to_decide_is_told_who_won(
    agent: Agent, trace: Path, reviewer: User, second_reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(browser(second_reviewer), approval, "approve")
    answer = decide(browser(reviewer), approval, "reject", reason_to_agent="too late")
    assert answer.status_code == 409
    assert "ana approved this call at" in answer.content.decode()
    assert "Approve and run" not in answer.content.decode()


@pytest.mark.feature("AP5")
def test_what_has_run_out_can_no_longer_be_approved(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    Approval.objects.filter(pk=approval.pk).update(expires_at=local_now() - timedelta(seconds=1))
    client = browser(reviewer)
    assert "time to decide this call is over" in client.get(page(approval)).content.decode()
    assert decide(client, approval, "approve").status_code == 410
    assert status_of(approval) == ApprovalStatus.EXPIRED


@pytest.mark.feature("AP2")
def test_what_was_not_on_the_page_is_not_approved(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    client = browser(reviewer)
    answer = client.post(page(approval, "approve"), {"expected_digest": "0" * 64})
    assert answer.status_code == 409
    assert client.post(page(approval, "approve"), {}).status_code == 422
    assert status_of(approval) == ApprovalStatus.PENDING


@pytest.mark.feature("E45")
def test_after_one_decision_comes_the_next_that_expires(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    first, later, sooner = (held(agent, trace, text=text) for text in ("a", "b", "c"))
    own = held(make_agent("mine", owner=reviewer), trace, text="d")
    for approval, hours in ((own, 1), (sooner, 2), (later, 3)):
        moment = local_now() + timedelta(hours=hours, minutes=1)
        Approval.objects.filter(pk=approval.pk).update(expires_at=moment)
    answer = decide(browser(reviewer), first, "approve")
    assert answer["Location"] == page(sooner)


@pytest.mark.feature("V1")
def test_the_queue_shows_what_is_pending_soonest_first(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    late, soon, gone = (held(agent, trace, text=text) for text in ("late", "soon", "gone"))
    Approval.objects.filter(pk=soon.pk).update(expires_at=local_now() + timedelta(minutes=5))
    client = browser(reviewer)
    decide(client, gone, "reject", reason_to_agent="no")

    def listed(query: str = "") -> list[Any]:
        found = client.get(reverse("admin:approvals_approval_changelist") + query)
        return [row.approval.pk for row in found.context["rows"]]

    assert listed() == [soon.pk, late.pk]
    assert listed("?status=all") == [gone.pk, soon.pk, late.pk]
    assert listed("?status=rejected") == [gone.pk]
    assert listed("?tool=guarded_trace") == [soon.pk, late.pk]
    assert listed("?tool=echo") == []
    assert listed("?q=agent") == [soon.pk, late.pk]
    assert listed("?q=nobody") == []


@pytest.mark.feature("U1")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_decision_and_a_refused_one_are_a_line_each(
    verb: str, agent: Agent, trace: Path, reviewer: User, second_reviewer: User
) -> None:
    approval = held(agent, trace)
    for user in (reviewer, second_reviewer):
        client = browser(user)
        before = Event.objects.count()
        decide(client, approval, verb, reason_to_agent="because")
        assert Event.objects.count() == before + 1


def test_every_status_has_a_badge() -> None:
    assert set(BADGES) == {*ApprovalStatus.values, *InvocationStatus.values}
