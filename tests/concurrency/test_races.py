"""Many callers at the same instant, each in a thread with a connection of its own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from approvals import deciding, execution, transitions, upkeep
from approvals.models import Approval, Invocation, Vote
from audit.models import Event
from audit.verification import verify
from tests.conftest import Agent, as_person, at_once, effects, held, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.feature("AP3", "T1")
def test_fifty_callers_with_one_approval_get_one_run_and_all_its_result(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    deciding.approve(approval, reviewer)
    body = {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}

    def post(number: int) -> Any:
        if number % 10 == 0:
            execution.run(approval.invocation_id)
        while (answer := agent.post("guarded_trace", body)).status_code == 202:
            pass
        return answer.status_code, answer.json()["data"], answer.json()["replayed"]

    assert Counter(at_once(50, post)) == {(200, 1, True): 50}
    assert effects(trace) == ["ran"]
    assert Event.objects.filter(event="invocation:started").count() == 1


@pytest.mark.feature("X6")
@pytest.mark.parametrize("tool", ["leave_trace", "trace_read"])
def test_twenty_at_once_with_one_idempotency_key_run_it_once(
    agent: Agent, trace: Path, tool: str
) -> None:
    def post(number: int) -> str:
        answer = agent.invoke(tool, path=str(trace), headers={"Idempotency-Key": "k"})
        body = answer.json()
        return str(body["error_type"] or body["status"])

    answers = Counter(at_once(20, post))
    work()
    assert len(effects(trace)) == 1
    assert Invocation.objects.count() == 1
    assert set(answers) <= {"pending", "success", "IdempotencyInProgress"}
    again = agent.invoke(tool, path=str(trace), headers={"Idempotency-Key": "k"})
    assert (again.json()["data"], again.json()["replayed"]) == (1, True)


@pytest.mark.feature("P4", "T9")
def test_forty_at_once_on_a_limit_of_ten_pass_exactly_ten(agent: Agent) -> None:
    codes = Counter(at_once(40, lambda _: agent.invoke("ten_an_hour").status_code))
    passed = codes[200] + codes[202]  # Where all places are taken, a call goes to the workers.
    assert (passed, codes[429]) == (10, 30)


@pytest.mark.feature("P4", "T9")
def test_forty_at_once_on_a_limit_of_one_run_exactly_one(agent: Agent, trace: Path) -> None:
    codes = Counter(
        at_once(40, lambda _: agent.invoke("once_an_hour", path=str(trace)).status_code)
    )
    assert codes == {202: 1, 429: 39}
    work()
    assert effects(trace) == ["hourly"]


@pytest.mark.feature("AP8", "T11")
def test_fifty_identical_calls_wait_as_one(agent: Agent, trace: Path) -> None:
    answers = at_once(50, lambda _: str(held(agent, trace).pk))
    assert len(set(answers)) == 1
    assert Approval.objects.count() == 1


@pytest.mark.feature("AP8")
def test_the_ceiling_of_waiting_calls_cannot_be_raced(
    agent: Agent, trace: Path, settings: Any
) -> None:
    settings.RAMPART_MAX_PENDING_PER_KEY = 5

    def post(number: int) -> int:
        return agent.invoke("guarded_trace", path=str(trace), text=str(number)).status_code

    assert Counter(at_once(20, post)) == {202: 5, 429: 15}


@pytest.mark.feature("AP7", "V2")
def test_of_many_decisions_at_once_exactly_one_stands(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    people = [User.objects.create_superuser(f"person{n}") for n in range(8)]

    def decide(number: int) -> int:
        verb = "approve" if number % 2 else "reject"
        url = f"/api/v1/approvals/{approval.pk}/{verb}"
        return as_person(people[number]).post(url, {}, format="json").status_code

    assert Counter(at_once(8, decide)) == {200: 1, 409: 7}
    assert Vote.objects.count() == 1
    work()
    approval.refresh_from_db()
    assert len(effects(trace)) == (approval.status == "consumed")


def test_deciding_cancelling_and_expiring_at_once_end_in_one_story(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    for number in range(6):
        trace.write_text("")
        approval = held(agent, trace, text=str(number))
        cancel = f"/api/v1/approvals/{approval.pk}/cancel"
        Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())
        acts = [
            lambda: deciding.approve(approval, reviewer),
            lambda: agent.client.post(cancel),
            lambda: upkeep.expire_due(transitions.now()),
            lambda: execution.run(approval.invocation_id),
        ]
        at_once(4, lambda which: acts[which]())
        work()
        row = Invocation.objects.select_related("approval").get(pk=approval.invocation_id)
        assert (row.status, row.approval.status) in {
            ("cancelled", "cancelled"), ("expired", "expired"),
        }  # fmt: skip
        assert effects(trace) == []
        ends = Event.objects.filter(
            invocation_id=row.pk, event__in=["invocation:cancelled", "invocation:expired"]
        )
        assert ends.count() == 1


def test_approving_and_cancelling_at_once_run_it_or_not_but_never_both(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    for number in range(6):
        trace.write_text("")
        approval = held(agent, trace, text=str(number))
        cancel = f"/api/v1/approvals/{approval.pk}/cancel"
        acts = [
            lambda: deciding.approve(approval, reviewer),
            lambda: agent.client.post(cancel),
            lambda: execution.run(approval.invocation_id),
        ]
        at_once(3, lambda which: acts[which]())
        work()
        row = Invocation.objects.get(pk=approval.invocation_id)
        assert (row.status, effects(trace)) in [("success", [str(number)]), ("cancelled", [])]


@pytest.mark.feature("X3")
def test_twenty_workers_with_one_message_run_it_once(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace))
    row = Invocation.objects.get()
    at_once(20, lambda _: execution.run(row.pk))
    assert effects(trace) == ["ran"]
    assert verify().finding is None
