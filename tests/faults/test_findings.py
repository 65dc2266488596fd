"""What fault runs have found, each in its smallest form."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
import pytest
from django.db import OperationalError
from pytest import MonkeyPatch
from redis import Redis

from approvals import dispatch, execution, transitions, upkeep
from approvals.models import Invocation
from sandbox.errors import SandboxUnavailable
from sandbox.outcomes import Outcome, Status
from tests import servers
from tests.conftest import Agent
from tests.faults import limbs, traits
from tests.stack import ROOT, Stack, gone, running, until
from tools import registry

CRASHED = Outcome(Status.KILLED, error="the tool's keeper went away", error_type="Crashed")


@pytest.fixture
def claimed(agent: Agent, trace: Path) -> Invocation:
    """A call of a tool that may run again, in a worker's hands."""
    agent.invoke("may_repeat", path=str(trace), go=str(trace))
    return transitions.claim(Invocation.objects.get(), transitions.now())


@pytest.mark.django_db
@pytest.mark.feature("K5")
def test_progress_that_the_database_does_not_take_leaves_the_tool_at_work(
    claimed: Invocation, monkeypatch: MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("the server closed the connection")

    def told_twice(*_: Any, on_progress: Callable[[Any], None], **__: Any) -> Outcome:
        on_progress(1)
        on_progress(2)
        return Outcome(Status.SUCCESS, data="done")

    monkeypatch.setattr(transitions, "note_progress", away)
    monkeypatch.setattr(execution, "close_old_connections", lambda: None)  # The test holds one.
    monkeypatch.setattr(execution, "run_tool", told_twice)
    execution._run_claimed(claimed, registry.find("may_repeat"), {})
    assert Invocation.objects.get().status == "success"


@pytest.mark.django_db
@pytest.mark.feature("X5")
def test_a_retry_that_could_not_start_does_not_deny_the_run_before_it(
    claimed: Invocation, monkeypatch: MonkeyPatch
) -> None:
    attempts: Iterator[Outcome] = iter([CRASHED])

    def once(*_: object, **__: object) -> Outcome:
        for outcome in attempts:
            return outcome
        raise SandboxUnavailable("no process could be started")

    monkeypatch.setattr(execution, "run_tool", once)
    execution._run_claimed(claimed, registry.find("fails_twice"), {})
    row = Invocation.objects.get()
    assert (row.status, row.error_type, row.attempts) == ("killed", "Crashed", 1)


@pytest.mark.django_db
@pytest.mark.feature("X4")
def test_a_call_that_was_asked_to_stop_is_not_run_again_when_its_worker_is_lost(
    claimed: Invocation,
) -> None:
    transitions.ask_to_stop(claimed, by="agent")
    upkeep.settle_lost(transitions.now() + timedelta(minutes=1))
    assert Invocation.objects.get().status == "running"  # The lease holds, by the row's own clock.
    Invocation.objects.update(lease_expires_at=transitions.now())
    assert upkeep.settle_lost(transitions.now()) == 1
    assert Invocation.objects.get().status == "unknown"


@pytest.mark.django_db
@pytest.mark.feature("K5")
def test_a_broker_that_is_away_costs_a_round_of_upkeep_one_wait(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    for _ in range(3):
        agent.invoke("leave_trace", path=str(trace))
    answers = itertools.chain([True, False], itertools.repeat(True))
    asked: list[Any] = []

    def send(row: Invocation) -> bool:
        asked.append(row.pk)
        return next(answers)

    monkeypatch.setattr(dispatch, "send", send)
    later = transitions.now() + timedelta(minutes=1)
    assert upkeep.send_unsent(later) == 1
    assert len(asked) == 2
    Invocation.objects.update(dispatch_after=later)
    assert upkeep.send_unsent(later) == 3


@pytest.mark.stack
@pytest.mark.feature("K5", "X2")
def test_a_worker_with_messages_in_hand_outlives_its_redis(tmp_path: Path) -> None:
    """Its calls go on and end well, and it takes new ones from the Redis that comes back."""
    with (
        servers.postgres() as (_, database),
        servers.redis_server() as (redis, url),
        Redis.from_url(url) as client,
        running(
            DATABASE_URL=database, REDIS_URL=url, RAMPART_TOOL_MODULES=traits.MODULE
        ) as deployment,
    ):
        key, worker = deployment.new_key(), deployment.processes["worker"]
        calls = [slow(deployment, key, tmp_path) for _ in range(3)]
        in_hand = client.hlen  # Two run; the third is taken, and the worker listens for a fourth.
        until(lambda: len(begun(tmp_path)) == 2 and in_hand("unacked") == 1, 30)
        redis.stop(signal.SIGKILL)
        log = deployment.folder / "worker.log"
        until(lambda: "Connection to broker lost" in log.read_text(), 30, log.read_text)
        redis.start()
        calls.append(slow(deployment, key, tmp_path))
        ends = [ended(deployment, key, call) for call in calls]
        assert ends == ["success"] * len(calls)
        assert worker.poll() is None, deployment.log("worker")


@pytest.mark.stack
@pytest.mark.feature("K5", "X2")
def test_a_worker_on_the_embedded_broker_goes_on_when_its_listening_child_is_killed(
    tmp_path: Path,
) -> None:
    with running(RAMPART_TOOL_MODULES=traits.MODULE) as deployment:
        key = deployment.new_key()
        assert ended(deployment, key, slow(deployment, key, tmp_path)) == "success"
        listening = until(lambda: [one for one in children(deployment) if is_reading(one)])
        listening[0].kill()
        until(lambda: gone(listening[0].pid))
        assert ended(deployment, key, slow(deployment, key, tmp_path)) == "success"


def children(deployment: Stack) -> list[psutil.Process]:
    """The worker's pool children."""
    return limbs.below(deployment, "worker")["fork"]


def is_reading(process: psutil.Process) -> bool:
    """Whether it waits at the pipe by which calls come; the others wait for their turn."""
    return "pipe" in Path(f"/proc/{process.pid}/wchan").read_text()


@pytest.mark.feature("K5")
def test_a_reader_that_dies_over_a_message_leaves_no_file(tmp_path: Path) -> None:
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    message = tmp_path / "messages" / "1_a.default.msg"
    os.mkfifo(message)  # Reading it takes until somebody closes the other end.
    reader = subprocess.Popen([sys.executable, "-c", READ_ONE, str(tmp_path)], cwd=ROOT)
    with until(lambda: writing_end(tmp_path), 30):
        until(lambda: not message.exists())
        reader.kill()
        reader.wait()
    assert list(tmp_path.glob("*/*.msg")) == []


READ_ONE = """
import sys
from pathlib import Path
from tests.rampart.test_file_broker import channel
channel(Path(sys.argv[1]))._get("default")
"""


def writing_end(folder: Path) -> IO[bytes] | None:
    """The message's other end, once somebody reads it."""
    for path in folder.glob("*/*.msg"):
        with contextlib.suppress(OSError):
            return os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb")
    return None


def begun(folder: Path) -> list[str]:
    """The runs that have started."""
    effects = folder / "effects"
    lines = effects.read_text().splitlines() if effects.exists() else []
    return [line for line in lines if line.startswith("start")]


def slow(deployment: Stack, key: str, folder: Path) -> str:
    """A call that takes a while; more of them wait than the worker has children."""
    arguments = {"path": str(folder / "effects"), "ticket": "one", "seconds": 3}
    accepted = deployment.invoke("write_slowly", key, "respond-async", **arguments)
    return str(accepted.json()["invocation_id"])


def ended(deployment: Stack, key: str, invocation: str) -> str:
    """How the call ended."""

    def final() -> str | None:
        status: str = deployment.get(f"invocations/{invocation}?wait=5", key).json()["status"]
        return None if status == "pending" else status

    return str(until(final, 60, lambda: deployment.log("worker")))


@pytest.mark.stack
@pytest.mark.feature("K5", "X2")
def test_a_caller_whose_database_goes_away_while_it_waits_learns_where_to_look_again() -> None:
    with (
        servers.postgres() as (database, url),
        servers.redis_server() as (_, redis_url),
        running(DATABASE_URL=url, REDIS_URL=redis_url) as stack,
        ThreadPoolExecutor(1) as pool,
    ):
        stack.kill("worker")
        key, trace = stack.new_key(), stack.folder / "trace"
        answer = pool.submit(stack.invoke, "leave_trace", key, "wait=30", path=str(trace))
        with psycopg.connect(url) as connection:
            until(lambda: connection.execute("SELECT 1 FROM approvals_invocation").fetchone())
        with Redis.from_url(redis_url) as client:
            until(client.pubsub_channels)
        database.stop()
        given = answer.result()
        assert (given.status_code, given.json()["status"]) == (202, "pending")
        database.start()
        stack.start("worker")
        end = f"invocations/{given.json()['invocation_id']}?wait=30"
        assert until(lambda: stack.get(end, key)).json()["status"] == "success"
        assert trace.read_text().splitlines() == ["ran"]
