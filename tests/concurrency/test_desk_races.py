"""Several people at the desk at the same instant, each in a thread with a connection of its own."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, connections, transaction

from approvals import deciding, editing, pipeline, transitions, upkeep
from approvals.deciding import Decided, Undecided
from approvals.models import Approval, Edit, Invocation, Vote
from approvals.transitions import Said
from audit.models import Event
from audit.verification import verify
from tests.conftest import REVIEWER_PERMISSIONS, Agent, at_once, effects, held, person, work
from tests.desk_cast import Rule
from tests.stack import until

pytestmark = pytest.mark.django_db(transaction=True)


def people(count: int) -> list[User]:
    """So many people who may decide."""
    return [person(f"r{number}", *REVIEWER_PERMISSIONS) for number in range(count)]


def word(outcome: Decided | Undecided) -> str:
    """What became of it."""
    return outcome.approval.status if isinstance(outcome, Decided) else outcome.code


@pytest.mark.feature("AP9")
@pytest.mark.parametrize("needed", [1, 2, 3])
def test_ten_votes_at_once_give_one_transition(
    agent: Agent, trace: Path, write_rule: Rule, needed: int
) -> None:
    write_rule("several", [(needed, None)], tool="guarded_*")
    approval, voters = held(agent, trace), people(10)
    outcomes = at_once(10, lambda number: deciding.approve(approval, voters[number]))
    stands = Counter(isinstance(outcome, Decided) for outcome in outcomes)
    assert stands == {True: needed, False: 10 - needed}
    assert Vote.objects.count() == needed
    assert Event.objects.filter(event="approval:approved").count() == 1
    assert Event.objects.filter(event="approval:voted").count() == needed - 1
    assert {word(one) for one in outcomes if isinstance(one, Undecided)} == {"already_decided"}
    work()
    assert effects(trace) == ["ran"]
    assert verify().finding is None


@pytest.mark.feature("AP9")
def test_one_person_in_ten_windows_is_one_vote(agent: Agent, trace: Path, write_rule: Rule) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    approval, (alone,) = held(agent, trace), people(1)
    outcomes = Counter(
        word(one) for one in at_once(10, lambda _: deciding.approve(approval, alone))
    )
    assert outcomes == {"pending": 1, "already_voted": 9}
    assert Vote.objects.count() == 1


@pytest.mark.feature("AP9")
def test_the_last_two_of_a_stage_at_once_do_not_fill_the_next_group_s_place(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    write_rule("one then one", [(1, "ops"), (1, "finance")], tool="guarded_*")
    approval, voters = held(agent, trace), people(6)
    for voter in voters:
        voter.groups.add(*_groups("ops"))
    outcomes = Counter(
        word(one) for one in at_once(6, lambda number: deciding.approve(approval, voters[number]))
    )
    assert outcomes == {"pending": 1, "not_in_group": 5}
    assert deciding.fresh_approval(approval.pk).standing.votes == (1, 0)


def _groups(*names: str) -> list[Group]:
    return list(Group.objects.filter(name__in=names))


@pytest.mark.feature("AP7", "AP9")
def test_yes_and_no_at_once_leave_one_word_standing(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    voters = people(6)
    for number in range(5):
        approval = held(agent, trace, text=f"round {number}")

        def say(voter: int, approval: Approval = approval) -> Any:
            verb = deciding.approve if voter % 2 else deciding.reject
            return verb(approval, voters[voter], Said(reason_to_agent="no"))

        outcomes = at_once(6, say)
        final = deciding.fresh_approval(approval.pk)
        row = Invocation.objects.get(pk=approval.invocation_id)
        assert (final.status, row.status) in {("approved", "queued"), ("rejected", "rejected")}
        told = Event.objects.filter(
            approval_id=approval.pk, event__in=["approval:approved", "approval:rejected"]
        )
        assert told.count() == 1
        assert sum(word(one) == final.status for one in outcomes) == 1
    work()
    approved = Approval.objects.filter(status="consumed").count()
    assert len(effects(trace)) == approved


@pytest.mark.feature("AP5", "AP9")
def test_the_last_vote_and_the_end_of_time_at_once(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    first, second = people(2)
    for number in range(6):
        approval = held(agent, trace, text=f"round {number}")
        deciding.approve(approval, first)
        fresh = deciding.fresh_approval(approval.pk)
        Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())
        outcomes = at_once(
            2,
            lambda who, fresh=fresh: (
                deciding.approve(fresh, second) if who else upkeep.expire(fresh)
            ),
        )
        assert word(outcomes[1]) == "expired"
        approval.refresh_from_db()
        assert approval.status == "expired"
    work()
    assert effects(trace) == []


@pytest.mark.feature("AP18", "AP9")
def test_the_last_vote_and_the_caller_s_cancel_at_once(
    agent: Agent, trace: Path, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    first, second = people(2)
    for number in range(6):
        approval = held(agent, trace, text=f"round {number}")
        deciding.approve(approval, first)
        fresh = deciding.fresh_approval(approval.pk)

        def act(who: int, fresh: Approval = fresh) -> Any:
            if who:
                return word(deciding.approve(fresh, second))
            return pipeline.cancel(fresh.invocation, by="agent")

        cancelled, said = at_once(2, act)
        status = deciding.fresh_approval(approval.pk).status
        assert cancelled is True  # What is approved and not yet claimed can still be taken back.
        assert status == "cancelled"
        # Who approved is told how the call stands, and it may be taken back by then.
        assert said in {"approved", "already_decided", "cancelled"}
    work()
    assert effects(trace) == []


@pytest.mark.feature("AP13")
def test_an_edit_and_the_last_vote_at_once_never_run_what_nobody_approved(
    agent: Agent, trace: Path
) -> None:
    editor, voter = people(2)
    runs = []
    for number in range(8):
        approval = held(agent, trace, text=f"asked {number}")
        arguments = {**approval.invocation.arguments, "text": f"edited {number}"}

        def act(who: int, approval: Approval = approval, arguments: Any = arguments) -> Any:
            if who:
                return word(deciding.approve(approval, voter))
            digest = approval.invocation.digest
            return word(editing.edit(approval, editor, arguments, Said(), expected_digest=digest))

        was_edited, said = at_once(2, act)
        assert (was_edited, said) in {
            ("pending", "digest_mismatch"), ("already_decided", "approved"),
        }  # fmt: skip
        if said == "approved":
            runs.append(f"asked {number}")
    work()
    assert effects(trace) == runs
    assert verify().finding is None


@pytest.mark.feature("AP13")
def test_two_edits_at_once_leave_one(agent: Agent, trace: Path) -> None:
    editors = people(4)
    approval = held(agent, trace)
    arguments = approval.invocation.arguments

    def act(who: int) -> str:
        given = {**arguments, "text": f"edit {who}"}
        digest = approval.invocation.digest
        return word(editing.edit(approval, editors[who], given, Said(), expected_digest=digest))

    assert Counter(at_once(4, act)) == {"pending": 1, "digest_mismatch": 3}
    assert Edit.objects.count() == 1


WAITS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def while_held_open(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Do the first in a transaction, let the second run into its locks, then commit the first."""
    done, go, results = threading.Event(), threading.Event(), []

    def hold_open() -> None:
        try:
            with transaction.atomic():
                first()
                done.set()
                assert go.wait(30)
        finally:
            done.set()
            connections.close_all()

    def run_into_it() -> None:
        try:
            results.append(second())
        finally:
            connections.close_all()

    one, two = threading.Thread(target=hold_open), threading.Thread(target=run_into_it)
    one.start()
    assert done.wait(30)
    two.start()
    until(lambda: not two.is_alive() or _locked())
    go.set()
    one.join(30)
    two.join(30)
    return results[0]


def _locked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])


@pytest.mark.postgres
@pytest.mark.feature("AP5")
def test_a_yes_in_time_is_not_expired_by_who_comes_while_it_is_written(
    agent: Agent, trace: Path
) -> None:
    (voter,) = people(1)
    approval = held(agent, trace)
    soon = transitions.now() + timedelta(seconds=1)
    Approval.objects.filter(pk=approval.pk).update(expires_at=soon)
    fresh = deciding.fresh_approval(approval.pk)

    def sweep() -> int:
        until(lambda: transitions.now() > soon)
        return upkeep.expire_due(transitions.now())

    while_held_open(lambda: transitions.approve(fresh, voter, Said(), transitions.now()), sweep)
    ended = deciding.fresh_approval(approval.pk)
    assert (ended.status, ended.invocation.status) == ("approved", "queued")


@pytest.mark.postgres
@pytest.mark.feature("AP5", "AP8")
def test_the_same_call_while_its_twin_is_being_expired_is_held_anew(
    agent: Agent, trace: Path
) -> None:
    approval = held(agent, trace)
    Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())
    answer = while_held_open(
        lambda: transitions.expire(approval),
        lambda: agent.invoke("guarded_trace", path=str(trace)),
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "requires_approval")
    assert answer.json()["approval_id"] != str(approval.pk)
