"""Pruning beside everything else: other prunings, calls under way, readers, holds, and SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from pytest import MonkeyPatch

from approvals import deciding, execution, transitions
from approvals.models import Approval, Invocation, Vote
from audit import holds
from audit.models import Event, LegalHold, local_now
from audit.verification import verify
from rampart import retention
from tests.conftest import Agent, as_person, at_once, effects, held, work
from tests.console import ROOT
from tests.past import Past
from tests.stack import until
from tools.models import ToolVersion

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.feature("K2")]

OVER = 300
ALL = dict.fromkeys(retention.PERIODS, timedelta(0))
TAKEN_TOGETHER = ("approvals.Vote", "approvals.Approval", "approvals.Invocation")


def database_url() -> str:
    """Where another process finds this test's database."""
    to = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{to['NAME']}"
    return f"postgres://{to['USER']}:{to['PASSWORD']}@{to['HOST']}:{to['PORT']}/{to['NAME']}"


def start(*arguments: str) -> "subprocess.Popen[str]":
    """A process that prunes what is over."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "prune", "--older-than", "0d", "--json", *arguments],
        cwd=ROOT, env=os.environ | {"DATABASE_URL": database_url()}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def counts_of(process: "subprocess.Popen[str]") -> Counter[str]:
    """How many rows of each table it took, when it has ended well."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return Counter({line["table"]: line["count"] for line in json.loads(out)})


def sweep() -> Counter[str]:
    """Prune from here."""
    lines = list(retention.sweep(ALL, most=3))
    assert not [line.fault for line in lines if line.fault]
    return Counter({line.table: line.count for line in lines})


@contextmanager
def sweeping() -> Iterator[None]:
    """Somebody prunes all the while, in another thread."""
    enough, faults = threading.Event(), list[BaseException]()

    def body() -> None:
        try:
            while not enough.is_set():
                sweep()
        except BaseException as error:
            faults.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(60)
    assert not faults and not thread.is_alive(), faults


@pytest.fixture
def past(agent: Agent, reviewer: User) -> Past:
    """Calls that are over, each decided by a vote."""
    lived = Past(agent.row, ToolVersion.objects.get(tool__name="guarded_trace"))
    moment = local_now() - timedelta(days=1)
    for _ in range(OVER):
        lived.vote(lived.call(moment, "consumed", decided_by=reviewer), reviewer, moment)
    lived.write()
    return lived


# Other prunings.


def test_two_processes_at_once_take_each_row_once_between_them(past: Past) -> None:
    lines = Event.objects.exclude(event__startswith="ledger:").count()
    both = [start("--batch-size", "4") for _ in range(2)]
    first, second = (counts_of(process) for process in both)
    together = first + second
    assert {table: together[table] for table in TAKEN_TOGETHER} == dict.fromkeys(
        TAKEN_TOGETHER, OVER
    )
    assert together["audit.Event"] >= lines > 0
    assert not Invocation.objects.exists() and not Vote.objects.exists()
    assert verify().finding is None


def test_a_pruning_that_was_killed_left_no_half_call_and_the_next_takes_the_rest(
    past: Past,
) -> None:
    process = start("--batch-size", "1")
    until(lambda: Invocation.objects.count() < OVER, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = Invocation.objects.count()
    assert 0 < left < OVER
    assert (Approval.objects.count(), Vote.objects.count()) == (left, left)
    rest = counts_of(start())
    assert {table: rest[table] for table in TAKEN_TOGETHER} == dict.fromkeys(TAKEN_TOGETHER, left)
    assert not Invocation.objects.exists()
    assert verify().finding is None


# Calls under way.


@pytest.mark.feature("K2", "T1")
def test_calls_live_and_end_while_somebody_prunes_all_that_is_over(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    """Each is held, approved, claimed and finished, and each runs once."""

    def live(number: int) -> int:
        for turn in range(4):
            approval = held(agent, trace, text=f"{number}.{turn}")
            assert isinstance(deciding.approve(approval, reviewer), deciding.Decided)
            execution.run(approval.invocation_id)
        return 4

    with sweeping():
        assert sum(at_once(3, live)) == 12
    assert len(set(effects(trace))) == len(effects(trace)) == 12
    sweep()
    assert not Invocation.objects.exists()
    assert verify().finding is None


def test_what_waits_is_there_to_be_decided_however_often_somebody_prunes(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    waiting = [held(agent, trace, text=str(number)) for number in range(6)]
    with sweeping():
        decided = at_once(3, lambda at: [deciding.approve(one, reviewer) for one in waiting[at::3]])
    assert all(isinstance(one, deciding.Decided) for some in decided for one in some)
    work()
    assert len(effects(trace)) == 6


@pytest.mark.postgres
def test_a_row_that_somebody_holds_is_passed_over_and_nobody_waits(past: Past) -> None:
    busy = Approval.objects.earliest("pk")
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Approval.objects.select_for_update().get(pk=busy.pk)
            locked.set()
            done.wait(60)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(30)
    try:
        assert sweep()["approvals.Invocation"] == OVER - 1
    finally:
        done.set()
        holder.join()
    assert Invocation.objects.get() == busy.invocation and Vote.objects.count() == 1
    assert sweep()["approvals.Invocation"] == 1


# Holds.


@pytest.mark.feature("K2", "U3")
def test_once_a_hold_is_placed_nothing_goes_that_it_names(past: Past) -> None:
    process = start("--batch-size", "1")
    until(lambda: Invocation.objects.count() < OVER, 60)
    holds.place(LegalHold(reason="a lawsuit", actor=past.key.actor), by="counsel")
    left = Invocation.objects.count()
    assert counts_of(process)["approvals.Invocation"] == OVER - left
    assert Invocation.objects.count() == Approval.objects.count() == left > 0


# Readers.


@pytest.mark.feature("K2", "X6")
def test_who_reads_what_goes_at_that_moment_finds_it_or_finds_nothing(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    person = as_person(User.objects.create_superuser("admin"))

    def read(number: int) -> Counter[int]:
        statuses = Counter[int]()
        for turn in range(5):
            key = {"Idempotency-Key": f"{number}.{turn}"}
            made = agent.invoke("trace_read", path=str(trace), headers=key)
            row = made.json().get("invocation_id")
            for answer in (
                made,
                agent.get(f"invocations/{row}"),
                agent.get("invocations"),
                agent.invoke("trace_read", path=str(trace), headers=key),
                person.get(f"/admin/approvals/invocation/{row}/change/"),
                person.get("/admin/approvals/invocation/"),
            ):
                statuses[answer.status_code] += 1
        return statuses

    with sweeping():
        statuses = sum(at_once(3, read), Counter[int]())
    assert statuses.keys() <= {200, 302, 404}, statuses


@pytest.mark.feature("K2", "X6")
def test_a_call_that_goes_while_its_caller_is_being_answered_is_not_found(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    """The one instant in which only `0d` can take it: after its end, before its answer."""
    run = execution.run_entered

    def run_and_prune(*given: Any) -> None:
        run(*given)
        Invocation.objects.update(finished_at=transitions.now() - timedelta(seconds=1))
        sweep()

    monkeypatch.setattr(execution, "run_entered", run_and_prune)
    answer = agent.invoke("trace_read", path=str(trace), headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert Event.objects.filter(event="invocation:finished").count() == 0
