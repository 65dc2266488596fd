"""Several calls decided at once: exactly those that were shown, each for itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from approvals import deciding
from approvals.desk.bulk import MOST
from approvals.models import Approval, Vote
from approvals.states import ApprovalStatus, Risk
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, effects, held, work
from tests.copies import copies_of

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP16", "E19", "V3")]

QUEUE = reverse("admin:approvals_approval_changelist")
WORD = {"note": "looked at them", "reason_to_agent": "as agreed"}


def item(approval: Approval) -> str:
    """What a tick posts."""
    return f"{approval.pk}:{approval.invocation.digest}"


def post(client: Client, items: list[str], verb: str = "", **said: str) -> Any:
    """Press a button of the queue, or of the page that asks."""
    name = f"admin:approvals_approval_bulk{verb and '_'}{verb}"
    return client.post(reverse(name), {"item": items, **said})


def told(answer: Any) -> dict[Any, str]:
    """What was left out or skipped, and why."""
    assert answer.status_code == 200, answer.content
    return {line.item.approval_id: line.told for line in answer.context["left_out"]}


def done(answer: Any) -> list[Any]:
    """What was done, or can be."""
    return [line.item.approval_id for line in answer.context["lines"]]


def status_of(approval: Approval) -> str:
    return Approval.objects.get(pk=approval.pk).status


def set_to(approval: Approval, **columns: Any) -> Approval:
    Approval.objects.filter(pk=approval.pk).update(**columns)
    return Approval.objects.with_everything().get(pk=approval.pk)


def test_what_is_ticked_is_shown_again_with_its_digest_and_nothing_is_decided(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    first, second, other = (held(agent, trace, text=text) for text in ("one", "two", "three"))
    answer = post(browser(reviewer), [item(first), item(second), item(first)])
    shown = answer.content.decode()
    assert done(answer) == [first.pk, second.pk]
    for approval in (first, second):
        assert f"<code>{approval.invocation.digest}</code>" in shown
        assert item(approval) in shown
        assert status_of(approval) == ApprovalStatus.PENDING
    assert "text one" in shown
    assert other.invocation.digest not in shown


def test_each_is_decided_for_itself_and_by_that_person(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approvals = [held(agent, trace, text=text) for text in "abc"]
    answer = post(browser(reviewer), [item(one) for one in approvals[:2]], "approve", **WORD)
    assert (done(answer), told(answer)) == ([one.pk for one in approvals[:2]], {})
    work()
    assert sorted(effects(trace)) == ["a", "b"]
    assert status_of(approvals[2]) == ApprovalStatus.PENDING
    votes = Vote.objects.all()
    assert {(vote.reviewer, vote.in_bulk, vote.source) for vote in votes} == {
        (reviewer, True, "admin")
    }
    assert {vote.digest for vote in votes} == {one.invocation.digest for one in approvals[:2]}
    assert Event.objects.filter(event="approval:approved").count() == 2


def test_rejecting_needs_a_reason_that_every_agent_is_told(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approvals = [held(agent, trace, text=text) for text in "ab"]
    items, client = [item(one) for one in approvals], browser(reviewer)
    answer = post(client, items, "reject", note="typed with care")
    assert answer.status_code == 422
    assert "Say why: the agents are told." in answer.content.decode()
    assert "typed with care" in answer.content.decode()
    assert {status_of(one) for one in approvals} == {ApprovalStatus.PENDING}
    assert len(done(post(client, items, "reject", **WORD))) == 2
    for approval in approvals:
        decision = agent.get(f"invocations/{approval.invocation_id}").json()["decision"]
        assert decision["reason_to_agent"] == "as agreed"


def test_a_word_is_asked_for_where_a_rule_wants_one(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    plain, strict = (held(agent, trace, text=text) for text in "ab")
    set_to(strict, terms={"reason_required": True})
    client = browser(reviewer)
    answer = post(client, [item(plain), item(strict)], "approve")
    assert answer.status_code == 422
    assert status_of(plain) == status_of(strict) == ApprovalStatus.PENDING
    assert done(post(client, [item(plain)], "approve")) == [plain.pk]
    assert done(post(client, [item(strict)], "approve", note="seen")) == [strict.pk]


SINGLE = {
    "risk": ({"risk": Risk.HIGH}, "its risk is high"),
    "rule": ({"terms": {"no_bulk": True}}, "a rule says so"),
    "proof": ({"terms": {"step_up": True}}, "a fresh proof"),
    "typed": ({"terms": {"typed_confirmation": True}}, "has to be typed"),
}


@pytest.mark.parametrize("case", SINGLE)
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_what_is_decided_on_its_own_page_has_no_tick_and_a_forged_one_is_refused(
    case: str, verb: str, agent: Agent, trace: Path, reviewer: User
) -> None:
    columns, why = SINGLE[case]
    approval, plain = (held(agent, trace, text=text) for text in "ab")
    approval, client = set_to(approval, **columns), browser(reviewer)
    shown = client.get(QUEUE).content.decode()
    assert why in shown
    assert item(approval) not in shown
    assert item(plain) in shown
    assert why in told(post(client, [item(approval)]))[approval.pk]
    before = Event.objects.filter(event="approval:refused", reason="single_only").count()
    assert why in told(post(client, [item(approval)], verb, **WORD))[approval.pk]
    assert (
        Event.objects.filter(event="approval:refused", reason="single_only").count() == before + 1
    )
    assert status_of(approval) == ApprovalStatus.PENDING


def test_what_is_not_mine_to_decide_has_no_tick_and_a_forged_one_is_refused(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    finance = Group.objects.create(name="finance")
    stages = [{"needs": 1, "group_id": finance.pk, "group": "finance"}]
    own = held(make_agent("mine", owner=reviewer), trace)
    theirs = set_to(held(agent, trace), terms={"stages": stages})
    client = browser(reviewer)
    shown = client.get(QUEUE).content.decode()
    for approval, why in ((own, "with a key of yours"), (theirs, "needs somebody of finance")):
        assert item(approval) not in shown
        assert why in told(post(client, [item(approval)]))[approval.pk]
        assert why in told(post(client, [item(approval)], "approve"))[approval.pk]
        assert status_of(approval) == ApprovalStatus.PENDING


def test_what_changed_since_it_was_shown_is_skipped_and_told(
    agent: Agent, trace: Path, reviewer: User, superuser: User
) -> None:
    same, edited, gone, over = (held(agent, trace, text=text) for text in "abcd")
    items, client = [item(one) for one in (same, edited, gone, over)], browser(reviewer)
    assert len(done(post(client, items))) == 4
    edited.invocation.digest = "0" * 64
    edited.invocation.save(update_fields=["digest"])
    deciding.reject(gone, superuser, Said(reason_to_agent="no"))
    set_to(over, expires_at=local_now() - timedelta(seconds=1))
    answer = post(client, items, "approve")
    skipped = told(answer)
    assert done(answer) == [same.pk]
    assert "not what this approval is for" in skipped[edited.pk]
    assert "root rejected this call at" in skipped[gone.pk]
    assert "time to decide this call is over" in skipped[over.pk]
    assert status_of(edited) == ApprovalStatus.PENDING
    assert status_of(over) == ApprovalStatus.EXPIRED
    work()
    assert effects(trace) == ["a"]


def test_a_digest_that_nobody_was_shown_decides_nothing(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval, client = held(agent, trace), browser(reviewer)
    for verb in ("", "approve", "reject"):
        answer = post(client, [f"{approval.pk}:{'0' * 64}"], verb, **WORD)
        assert done(answer) == []
        assert list(told(answer)) == [approval.pk]
    assert status_of(approval) == ApprovalStatus.PENDING


@pytest.mark.parametrize("forged", ["x", "{pk}", "{pk}:", "{pk}:abc", "-" * 36 + ":" + "0" * 64])
@pytest.mark.parametrize("verb", ["", "approve", "reject"])
def test_an_item_without_a_digest_is_no_item(
    forged: str, verb: str, agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    items = [item(approval), forged.format(pk=approval.pk)]
    assert post(browser(reviewer), items, verb, **WORD).status_code == 400
    assert status_of(approval) == ApprovalStatus.PENDING


def test_no_more_than_fifty_are_decided_together(agent: Agent, trace: Path, reviewer: User) -> None:
    first = held(agent, trace)
    items = [item(one) for one in (first, *copies_of(first, MOST))]
    client = browser(reviewer)
    assert post(client, items, "reject", **WORD).status_code == 400
    assert Vote.objects.count() == 0
    assert len(done(post(client, items[:MOST], "reject", **WORD))) == MOST


def test_a_call_that_is_not_there_is_skipped(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    nobodys = f"01998f60-0000-7000-8000-000000000000:{'0' * 64}"
    answer = post(browser(reviewer), [nobodys, item(approval)], "approve")
    assert done(answer) == [approval.pk]
    assert list(told(answer).values()) == ["There is no such call."]


def test_a_yes_that_is_not_the_last_one_says_what_is_still_needed(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = set_to(held(agent, trace), terms={"stages": [{"needs": 2}]})
    answer = post(browser(reviewer), [item(approval)], "approve")
    assert "it needs 1 person more" in answer.content.decode()
    assert status_of(approval) == ApprovalStatus.PENDING


def test_nothing_ticked_leads_back_and_says_so(reviewer: User) -> None:
    answer = browser(reviewer).post(reverse("admin:approvals_approval_bulk"), follow=True)
    assert answer.redirect_chain == [(QUEUE, 302)]
    assert "Tick the calls first." in answer.content.decode()


@pytest.mark.feature("T21")
def test_only_a_post_with_a_token_by_somebody_who_decides_is_taken(
    agent: Agent, trace: Path, reviewer: User, owner: User, stranger: User
) -> None:
    approval = held(agent, trace)
    for verb in ("", "approve", "reject"):
        address = reverse(f"admin:approvals_approval_bulk{verb and '_'}{verb}")
        assert browser(reviewer).get(address).status_code == 405
        assert browser(reviewer, strict=True).post(address).status_code == 403
        for person in (owner, stranger):
            assert post(browser(person), [item(approval)], verb, **WORD).status_code == 403
        assert browser().post(address, {"item": item(approval)}).status_code == 302
    assert status_of(approval) == ApprovalStatus.PENDING
    assert Vote.objects.count() == 0
