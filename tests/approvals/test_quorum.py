"""Several people decide: distinct ones, stage after stage, on every way to decide."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from approvals import deciding, reviewers
from approvals.models import Approval, Vote
from approvals.transitions import Said
from audit.models import Event
from tests.approvals.test_deciding import decide
from tests.conftest import Agent, as_person, effects, held, work
from tests.desk_cast import Rule

pytestmark = pytest.mark.django_db

Member = Callable[..., User]
TWO_THEN_ONE: list[tuple[int, str | None]] = [(2, "ops"), (1, "finance")]


@pytest.fixture
def approval(agent: Agent, trace: Path, write_rule: Rule) -> Approval:
    """A call that two of ops and then one of finance decide."""
    write_rule("two then one", TWO_THEN_ONE, tool="guarded_*")
    return held(agent, trace)


@pytest.mark.feature("AP9", "P1")
def test_two_of_ops_and_then_one_of_finance_let_it_run(
    approval: Approval, member: Member, trace: Path
) -> None:
    first, second = member("ops-1", "ops"), member("ops-2", "ops")
    money = member("money", "finance")
    answer = decide(first, approval).json()["approval"]
    assert (answer["status"], answer["votes"][0]["stage"]) == ("pending", 0)
    assert [stage["votes"] for stage in answer["stages"]] == [1, 0]
    assert answer["eligible"] == ["ops-2"]
    assert (answer["may_decide"], answer["why_not"]) == (
        False, "You have approved it; it needs 1 of ops, then 1 of finance more.",
    )  # fmt: skip
    assert decide(money, approval).json()["code"] == "not_in_group"
    assert decide(second, approval).json()["approval"]["eligible"] == ["money"]
    work()
    assert effects(trace) == []
    assert decide(money, approval).json()["approval"]["status"] == "approved"
    work()
    assert effects(trace) == ["ran"]
    told = Event.objects.filter(approval_id=approval.pk).order_by("id")
    assert [event.event for event in told if event.event.startswith("approval")] == [
        "approval:voted", "approval:refused", "approval:voted", "approval:approved",
    ]  # fmt: skip


@pytest.mark.feature("AP9")
def test_somebody_in_both_groups_counts_once(approval: Approval, member: Member) -> None:
    both, ops = member("both", "ops", "finance"), member("ops-1", "ops")
    assert decide(both, approval).status_code == 200
    assert decide(ops, approval).status_code == 200
    answer = decide(both, approval)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_voted")
    assert Vote.objects.count() == 2
    assert decide(member("money", "finance"), approval).json()["approval"]["status"] == "approved"


@pytest.mark.feature("AP9")
def test_one_no_ends_it_also_from_who_has_said_yes_before(
    approval: Approval, member: Member, agent: Agent
) -> None:
    first = member("ops-1", "ops")
    decide(first, approval)
    answer = decide(first, approval, "reject", reason_to_agent="not this week")
    assert answer.json()["approval"]["status"] == "rejected"
    read = agent.get(f"invocations/{approval.invocation_id}").json()
    assert read["decision"]["reason_to_agent"] == "not this week"
    assert decide(first, approval).json()["code"] == "already_decided"


@pytest.mark.feature("AP6", "AP9", "E14")
def test_who_belongs_to_no_group_that_is_asked_is_told_which_one_is(
    approval: Approval, reviewer: User
) -> None:
    answer = decide(reviewer, approval)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_in_group")
    assert answer.json()["detail"] == "It needs somebody of ops now."
    with pytest.raises(CommandError, match="not_in_group"):
        call_command("approvals", "approve", str(approval.pk), "--user", "reviewer")
    shown = as_person(reviewer).get(f"/api/v1/approvals/{approval.pk}").json()
    assert (shown["may_decide"], shown["why_not"]) == (False, "It needs somebody of ops now.")


@pytest.mark.feature("AP6")
def test_a_member_of_the_group_who_owns_the_key_still_does_not_count(
    approval: Approval, owner: User, member: Member
) -> None:
    asker = member("asker", "ops", "finance")
    approval.invocation.key.owner = asker
    approval.invocation.key.save(update_fields=["owner"])
    assert decide(asker, approval).json()["code"] == "self_approval"
    assert "asker" not in reviewers.eligible(
        deciding.fresh_approval(approval.pk), reviewers.deciders()
    )


@pytest.mark.feature("AP12")
def test_where_a_word_is_asked_for_no_decision_goes_without_one(
    agent: Agent, trace: Path, write_rule: Rule, reviewer: User
) -> None:
    write_rule("say why", tool="guarded_*", reason_required=True)
    approval = held(agent, trace)
    for verb in ("approve", "reject"):
        answer = decide(reviewer, approval, verb)
        assert (answer.status_code, answer.json()["code"]) == (422, "reason_required")
        assert decide(reviewer, approval, verb, note="   ").json()["code"] == "reason_required"
    assert decide(reviewer, approval, note="they called me").status_code == 200


@pytest.mark.feature("E18")
def test_where_the_tools_name_is_asked_for_it_is_typed(
    agent: Agent, trace: Path, write_rule: Rule, reviewer: User
) -> None:
    write_rule("type it", tool="guarded_*", typed_confirmation=True)
    approval = held(agent, trace)
    for given in ({}, {"confirmation": "yes"}, {"confirmation": "Guarded_Trace"}):
        answer = decide(reviewer, approval, **given)
        assert (answer.status_code, answer.json()["code"]) == (422, "confirmation_required")
    assert decide(reviewer, approval, confirmation=" guarded_trace ").status_code == 200
    by_command = held(agent, trace, text="by command")
    given = ("approvals", "approve", str(by_command.pk), "--user", "reviewer")
    with pytest.raises(CommandError, match="confirmation_required"):
        call_command(*given)
    call_command(*given, "--confirmation", "guarded_trace")
    by_command.refresh_from_db()
    assert by_command.status == "approved"


@pytest.mark.feature("AP9")
def test_the_command_says_whose_word_is_still_needed(
    approval: Approval, member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    member("ops-1", "ops")
    call_command("approvals", "approve", str(approval.pk), "--user", "ops-1")
    assert "your yes counts; it still needs 1 of ops, then 1 of finance" in capsys.readouterr().err


@pytest.mark.feature("E18")
def test_a_no_needs_neither_the_name_nor_a_proof(
    agent: Agent, trace: Path, write_rule: Rule, reviewer: User
) -> None:
    write_rule("strict", tool="guarded_*", typed_confirmation=True, step_up=True)
    assert decide(reviewer, held(agent, trace), "reject").status_code == 200


@pytest.mark.feature("I8")
def test_where_a_proof_is_asked_for_only_a_session_with_a_fresh_one_approves(
    agent: Agent, trace: Path, write_rule: Rule, reviewer: User
) -> None:
    write_rule("prove it", tool="guarded_*", step_up=True)
    approval = held(agent, trace)
    with pytest.raises(CommandError, match="step_up_required"):
        call_command("approvals", "approve", str(approval.pk), "--user", "reviewer")
    client = as_person(reviewer)
    session = client.session
    session.pop("proof", None)
    session.save()
    path = f"/api/v1/approvals/{approval.pk}/approve"
    answer = client.post(path, {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required")
    assert client.post("/admin/prove/", {"password": "reviewer-password"}).status_code == 302
    assert client.post(path, {}, format="json").status_code == 200


@pytest.mark.feature("AP16", "E19")
def test_what_is_decided_one_by_one_is_refused_in_bulk(
    agent: Agent, trace: Path, write_rule: Rule, reviewer: User
) -> None:
    write_rule("alone", tool="guarded_*", no_bulk=True)
    approval = held(agent, trace)
    outcome = deciding.approve(approval, reviewer, Said(source="admin", in_bulk=True))
    assert isinstance(outcome, deciding.Undecided)
    assert outcome.code == "single_only"


@pytest.mark.feature("P1")
def test_a_rule_gives_its_own_time_to_decide_and_the_shortest_one_counts(
    agent: Agent, trace: Path, write_rule: Rule, settings: Any
) -> None:
    def hours(approval: Approval) -> float:
        return (approval.expires_at - approval.requested_at).total_seconds() / 3600

    assert hours(held(agent, trace)) == 24
    write_rule("a week", tool="guarded_*", expires_after=timedelta(days=7))
    assert hours(held(agent, trace, text="longer")) == 24 * 7
    write_rule("two hours", tool="*", side_effect="writes", expires_after=timedelta(hours=2))
    assert hours(held(agent, trace, text="shorter")) == 2


@pytest.mark.feature("AP9", "P8")
def test_the_terms_are_those_of_the_moment_in_which_the_call_was_held(
    approval: Approval, member: Member, write_rule: Rule
) -> None:
    kept = approval.agreed
    assert [stage.group for stage in kept.stages] == ["ops", "finance"]
    assert [line["rule"] for line in approval.trace if line["answer"] == "hold"] == [
        "approval conditions", "rule two then one",
    ]  # fmt: skip
    write_rule("more", [(1, "legal")], tool="guarded_*")
    answer = decide(member("ops-1", "ops"), approval)
    assert (answer.status_code, answer.json()["code"]) == (409, "policy_changed")
    approval.refresh_from_db()
    assert approval.status == "void"
