"""The worker's half, and what happens when a worker or a message is lost."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals import (
    deciding,
    dispatch,
    execution,
    pipeline,
    places,
    transitions,
    upkeep,
    vault,
    waiting,
)
from approvals.errors import StaleTransition, UnreadableArguments
from approvals.models import Approval, Invocation
from approvals.records import Ending
from audit.models import Event
from tests.approvals.test_deciding import decide
from tests.conftest import Agent, as_person, effects, held, work
from tools import catalogue
from tools.models import Tool

pytestmark = pytest.mark.django_db


@pytest.mark.feature("X2")
def test_a_message_that_got_lost_is_sent_again_within_ten_seconds(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(dispatch, "send", lambda row: sent.append(row.pk) or True)
    agent.invoke("leave_trace", path=str(trace))
    row = Invocation.objects.get()
    asked = row.created_at
    assert upkeep.send_unsent(asked + timedelta(seconds=3)) == 0
    assert upkeep.send_unsent(asked + timedelta(seconds=6)) == 1
    assert sent[-1] == row.pk
    row.refresh_from_db()
    assert row.dispatch_after is not None
    assert row.dispatch_after > asked + timedelta(seconds=4)


def test_messages_are_sent_again_ever_more_rarely(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace))
    waits = []
    for _ in range(8):
        row = Invocation.objects.get()
        before = transitions.now()
        transitions.note_dispatch(row)
        row.refresh_from_db()
        assert row.dispatch_after is not None
        waits.append(round((row.dispatch_after - before).total_seconds()))
    assert waits == [4, 8, 16, 32, 64, 120, 120, 120]


@pytest.mark.feature("X2")
def test_a_broker_that_is_down_costs_nothing_but_time(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(dispatch.current_app, "send_task", down)
    answer = agent.invoke("leave_trace", path=str(trace))
    assert answer.status_code == 202
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("X2")
def test_however_long_the_broker_was_away_a_call_is_sent_as_soon_as_it_is_back(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    due = Invocation.objects.get().dispatch_after
    assert due is not None
    monkeypatch.setattr(dispatch, "send", lambda row: False)
    rounds = [upkeep.send_unsent(due + timedelta(seconds=2 * number)) for number in range(200)]
    assert sum(rounds) == 0
    monkeypatch.setattr(dispatch, "send", lambda row: True)
    assert upkeep.send_unsent(due) == 1
    assert upkeep.send_unsent(due) == 0


def test_two_messages_for_one_call_run_it_once(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace))
    row = Invocation.objects.get()
    execution.run(row.pk)
    execution.run(row.pk)
    assert effects(trace) == ["ran"]


def test_a_claim_of_a_call_that_was_claimed_is_stale(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace))
    first, second = Invocation.objects.get(), Invocation.objects.get()
    transitions.claim(first, transitions.now())
    with pytest.raises(StaleTransition):
        transitions.claim(second, transitions.now())
    assert Event.objects.filter(event="invocation:started").count() == 1


def _claimed(agent: Agent, tool: str, trace: Path) -> Invocation:
    agent.invoke(tool, path=str(trace), go=str(trace))
    row = transitions.claim(Invocation.objects.get(), transitions.now())
    Invocation.objects.update(lease_expires_at=transitions.now())
    return row


def test_a_lost_worker_leaves_an_honest_unknown(agent: Agent, trace: Path) -> None:
    row = _claimed(agent, "waits_for", trace)
    assert upkeep.settle_lost(transitions.now()) == 1
    ended = agent.get(f"invocations/{row.pk}").json()
    assert (ended["status"], ended["error_type"]) == ("unknown", "OutcomeUnknown")
    work()
    assert effects(trace) == []
    with pytest.raises(StaleTransition):
        transitions.finish(row, Ending("success", 1), execution.Redactor.over({}), 1)
    assert Event.objects.newest_first()[0].event == "invocation:lost"


def test_a_lost_idempotent_call_is_run_again_and_its_first_worker_writes_nothing(
    agent: Agent, trace: Path
) -> None:
    row = _claimed(agent, "may_repeat", trace)
    assert upkeep.settle_lost(transitions.now()) == 1
    work()
    assert Invocation.objects.get().status == "success"
    assert transitions.renew_lease(row) is False
    with pytest.raises(StaleTransition):
        transitions.finish(row, Ending("error"), execution.Redactor.over({}), 1)


def test_an_approved_idempotent_call_that_was_lost_is_not_asked_for_again(
    agent: Agent, trace: Path, reviewer: User, settings: Settings
) -> None:
    settings.RAMPART_UNRULED_WRITES = "hold"
    answer = agent.invoke("may_repeat", path=str(trace), go=str(trace)).json()
    approval = deciding.fresh_approval(answer["approval_id"])
    decide(reviewer, approval)
    transitions.claim(Invocation.objects.get(), transitions.now())
    Invocation.objects.update(lease_expires_at=transitions.now())
    upkeep.settle_lost(transitions.now())
    work()
    assert Invocation.objects.get().status == "success"


def test_a_running_call_is_cancelled_by_asking_its_worker(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    answer = agent.invoke("waits_for", path=str(trace), go=f"{trace}.go").json()
    url = f"/api/v1/invocations/{answer['invocation_id']}/cancel"

    def cancelled_by_then(row: Invocation) -> bool:
        agent.client.post(url)
        return transitions.renew_lease(row)

    monkeypatch.setattr(execution, "_still_wanted", cancelled_by_then)
    work()
    ended = agent.get(f"invocations/{answer['invocation_id']}").json()
    assert (ended["status"], ended["error_type"]) == ("cancelled", "Cancelled")
    assert "done" not in effects(trace)
    assert agent.client.post(url).status_code == 409


def test_an_outcome_is_written_as_soon_as_the_database_is_back(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    whole, failures = transitions.finish, iter([OperationalError("gone"), None])

    def flaky(*arguments: object) -> object:
        if error := next(failures, None):
            raise error
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(transitions, "finish", flaky)
    monkeypatch.setattr(execution, "close_old_connections", lambda: None)
    work()
    assert (Invocation.objects.get().status, effects(trace)) == ("success", ["ran"])


def test_arguments_wait_encrypted_and_keys_rotate(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    held(agent, trace, text="a secret text")
    row = Invocation.objects.get()
    assert b"a secret text" not in bytes(row.arguments_sealed or b"")
    old, new = settings.RAMPART_ARGUMENT_KEYS, Fernet.generate_key().decode()
    settings.RAMPART_ARGUMENT_KEYS = [new, *old]
    assert vault.unseal(row.arguments_sealed or b"")["text"] == "a secret text"
    settings.RAMPART_ARGUMENT_KEYS = [new]
    with pytest.raises(UnreadableArguments):
        vault.unseal(row.arguments_sealed or b"")


def test_a_call_whose_arguments_cannot_be_read_is_void(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    settings.RAMPART_ARGUMENT_KEYS = [Fernet.generate_key().decode()]
    work()
    row = Invocation.objects.get()
    assert (row.status, row.reason, effects(trace)) == ("void", "arguments_unreadable", [])


@pytest.mark.feature("T30")
def test_arguments_of_another_call_are_never_run_under_a_yes(agent: Agent, trace: Path) -> None:
    """Whoever can write to the database can't make what was approved mean something else."""
    small, large = held(agent, trace, text="small"), held(agent, trace, text="large")
    Invocation.objects.filter(pk=small.invocation_id).update(
        arguments_sealed=large.invocation.arguments_sealed, status="queued"
    )
    Approval.objects.filter(pk=small.pk).update(status="approved")
    work()
    row = Invocation.objects.get(pk=small.invocation_id)
    assert (row.status, row.reason, effects(trace)) == ("void", "arguments_changed", [])


def test_the_raw_result_is_kept_for_its_time_and_redacted_afterwards(
    agent: Agent, trace: Path
) -> None:
    answer = agent.invoke("pay", path=str(trace), amount=1, card_number="4111222233334444").json()
    work()
    where = f"invocations/{answer['invocation_id']}"
    assert agent.get(where).json()["data"]["card"] == "4111222233334444"
    Invocation.objects.update(result_expires_at=transitions.now())
    assert agent.get(where).json()["data"]["card"] == "[REDACTED]"
    assert transitions.drop_keepsakes(transitions.now()) == 1
    assert Invocation.objects.get().result_sealed is None


@pytest.mark.parametrize(
    ("value", "is_sealed"),
    [
        ({"b": [1, "two", None], "a": True}, False),
        ("plain", False),
        ({"password": "hunter2"}, True),
        (1.0, True),
        (2**60, True),
        ("nul\u0000", True),
    ],
)
def test_a_result_that_is_recorded_as_it_is_is_kept_once(
    agent: Agent, value: object, is_sealed: bool
) -> None:
    """What the ledger can only show otherwise (a secret, 1.0, a large number) is kept as well."""
    first = agent.invoke("echo", value=value)
    assert (Invocation.objects.get().result_sealed is not None) is is_sealed
    again = agent.get(f"invocations/{first.json()['invocation_id']}")
    assert again.json()["data"] == first.json()["data"] == value
    assert type(again.json()["data"]) is type(value)


@pytest.mark.feature("E29")
def test_a_wait_ends_with_the_time_and_says_so(agent: Agent, trace: Path) -> None:
    answer = agent.post(
        "guarded_trace", {"arguments": {"path": str(trace)}}, headers={"Prefer": "wait=1"}
    )
    assert (answer.status_code, answer["Preference-Applied"]) == (202, "wait=1")
    assert int(answer["Retry-After"]) > 0
    assert answer["Location"] == f"/api/v1/invocations/{answer.json()['invocation_id']}"
    assert agent.get(f"invocations/{answer.json()['invocation_id']}?wait=x").status_code == 400


def test_only_half_of_the_threads_wait(agent: Agent, trace: Path, settings: Settings) -> None:
    row_id = held(agent, trace).invocation_id
    places._waiting.cache_clear()
    settings.RAMPART_WEB_THREADS = 2
    with places.for_waiting() as first, places.for_waiting() as second:
        assert (first, second) == (True, False)
        assert waiting.wait_until(lambda: None, row_id, 30) is None
    places._waiting.cache_clear()


def test_a_read_only_call_without_a_place_goes_to_the_workers(
    agent: Agent, settings: Settings, monkeypatch: MonkeyPatch
) -> None:
    places._running.cache_clear()
    settings.RAMPART_WEB_THREADS = 2
    monkeypatch.setattr(places, "PATIENCE", 0.01)
    with places.for_running():
        answer = agent.invoke("echo", value=1)
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    places._running.cache_clear()
    work()
    assert Invocation.objects.get().status == "success"


def test_queues_follow_the_risk() -> None:
    queues = [dispatch.queue_of(name) for name in ("echo", "waits_for", "destroy", "no such tool")]
    assert queues == ["default", "isolated", "destructive", "default"]


@pytest.mark.feature("X3")
def test_progress_is_kept(agent: Agent, trace: Path, reviewer: User) -> None:
    Path(f"{trace}.go").touch()
    answer = agent.invoke("waits_for", path=str(trace), go=f"{trace}.go").json()
    work()
    ended = agent.get(f"invocations/{answer['invocation_id']}").json()
    assert (ended["status"], ended["progress"]) == ("success", {"stage": "waiting"})
    assert as_person(reviewer).get(f"/api/v1/invocations/{answer['invocation_id']}").json()


# Trying again.


@pytest.mark.feature("X1")
def test_between_attempts_there_are_pauses_that_grow(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr(execution, "_pause", lambda seconds, wanted: paused.append(seconds) or True)
    read = agent.invoke("fails_twice", path=str(trace)).json()
    assert (read["status"], read["attempts"]) == ("success", 3)
    first, second = paused
    assert 0.1 <= first <= 0.2 <= second <= 0.4


def test_a_pause_is_never_longer_than_said_and_never_the_same_for_all() -> None:
    for number, longest in ((2, 0.2), (3, 0.4), (4, 0.8), (30, execution.LONGEST_PAUSE)):
        pauses = {execution.seconds_before_attempt(number) for _ in range(50)}
        assert len(pauses) > 1
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest


@pytest.mark.feature("X1", "X4")
def test_a_call_that_is_cancelled_in_a_pause_ends_there(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    """The pause would be long; the wait for it is over with the next look at the row."""
    monkeypatch.setattr(execution, "seconds_before_attempt", lambda number: 3600.0)
    monkeypatch.setattr(execution, "TICK", 0.01)
    agent.invoke("fails_on_its_way", path=str(trace))
    row = Invocation.objects.get()
    looks = execution._still_wanted

    def cancelled_in_the_pause(row: Invocation) -> bool:
        if effects(trace):
            transitions.ask_to_stop(row, by="agent")
        return looks(row)

    monkeypatch.setattr(execution, "_still_wanted", cancelled_in_the_pause)
    execution.run(row.pk)
    row.refresh_from_db()
    assert (row.status, row.error_type, row.attempts) == ("cancelled", "Cancelled", 1)
    assert effects(trace) == ["try"]


@pytest.mark.feature("X1")
def test_the_lease_is_renewed_in_a_pause(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "TICK", 0.01)
    renewed: list[bool] = []
    looks = execution._still_wanted
    monkeypatch.setattr(
        execution, "_still_wanted", lambda row: renewed.append(looks(row)) or renewed[-1]
    )
    agent.invoke("fails_on_its_way", path=str(trace))
    row = Invocation.objects.get()
    execution.run(row.pk)
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("error", 2)
    assert len(renewed) > 3
    assert all(renewed)


@pytest.mark.feature("X5")
@pytest.mark.parametrize(("how", "status"), [("cancelled", "cancelled"), ("switched off", "void")])
def test_a_call_that_a_dead_worker_had_begun_says_so_though_it_never_runs_again(
    agent: Agent, trace: Path, how: str, status: str
) -> None:
    for _ in range(2):
        agent.invoke("may_repeat", path=str(trace), go=str(trace))
    begun, waiting_only = Invocation.objects.order_by("pk")
    transitions.claim(begun, transitions.now())
    Invocation.objects.filter(pk=begun.pk).update(lease_expires_at=transitions.now())
    assert upkeep.settle_lost(transitions.now()) == 1
    if how == "cancelled":
        for row in Invocation.objects.all():
            assert pipeline.cancel(row, by="owner")
    else:
        catalogue.set_enabled(Tool.objects.get(name="may_repeat"), False, by="operator")
        work()
    told = [agent.get(f"invocations/{row.pk}").json() for row in (begun, waiting_only)]
    assert [answer["status"] for answer in told] == [status, status]
    assert ["may or may not have happened" in answer["error"] for answer in told] == [True, False]
    assert effects(trace) == []
