"""Real workers behind a real broker: what is lost, doubled or spoilt on the way, and what is not.

Each on both stores: files hold a message only until it is read, Redis until a worker has begun.
"""

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from tests.acceptance.test_main_job import lines
from tests.stack import Stack, gone, until

pytestmark = pytest.mark.stack

SOON = 40
"""Seconds on a busy machine; what has to be quicker says so."""


@pytest.fixture(params=["stack", "production_stack"])
def deployment(request: pytest.FixtureRequest) -> Stack:
    """Files and SQLite; Redis and PostgreSQL."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def key(deployment: Stack) -> str:
    """An agent's key."""
    return deployment.new_key(f"agent-{uuid.uuid4().hex[:8]}")


class Calls:
    """Calls of one agent, by the names that a test gives them."""

    def __init__(self, deployment: Stack, key: str, folder: Path) -> None:
        self.deployment, self.key, self.folder = deployment, key, folder
        self.ids: dict[str, str] = {}

    def ask(self, name: str, tool: str, **more: str) -> str:
        """Ask and do not wait; the tool leaves its lines in a file of the call's name."""
        given = {"path": str(self.trace(name)), **more}
        answer = self.deployment.invoke(tool, self.key, "respond-async", **given)
        assert answer.status_code == 202, answer.text
        self.ids[name] = answer.json()["invocation_id"]
        return self.ids[name]

    def trace(self, name: str) -> Path:
        return self.folder / name

    def begun(self, name: str) -> list[str]:
        """The lines of a call, once there are any."""
        return until(lambda: lines(self.trace(name)), SOON, lambda: self.deployment.log("worker"))

    def now(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = self.deployment.get(f"invocations/{self.ids[name]}", self.key).json()
        return body

    def ended(self, name: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            body = self.now(name)
            return None if body["status"] == "pending" else body

        return until(look, SOON, lambda: self.deployment.log("worker"))

    def story(self, name: str) -> list[str]:
        """The ledger's lines about a call, in their order."""
        path = f"audit?invocation={self.ids[name]}&limit=100"
        events = self.deployment.get(path, self.key).json()["events"]
        return [event["event"].partition(":")[2] for event in reversed(events)]


@pytest.fixture
def calls(deployment: Stack, key: str, tmp_path: Path) -> Calls:
    """The agent's calls."""
    return Calls(deployment, key, tmp_path)


def send(deployment: Stack, *messages: str, task: str = "approvals.run") -> None:
    """Messages of our own, as a broker might deliver them once more."""
    deployment.python(
        "from celery import current_app\n"
        f"for one in {messages!r}: current_app.send_task({task!r}, args=[one], queue='default')"
    )


def throw_in(deployment: Stack, text: bytes) -> None:
    """Something in the queue that no sender of ours has written."""
    if url := deployment.environment.get("REDIS_URL"):
        with redis.Redis.from_url(url) as client:
            client.lpush("default", text)
    else:
        folder = deployment.folder / "broker" / "messages"
        (folder / f"1_{uuid.uuid4().hex}.default.msg").write_bytes(text)


@contextlib.contextmanager
def nothing_is_written_of(deployment: Stack, invocation_id: str) -> Iterator[None]:
    """Nobody can write about the call meanwhile: its row, or on SQLite all of it, is locked."""
    if url := deployment.environment.get("DATABASE_URL"):
        with psycopg.connect(url) as connection:
            lock = "SELECT 1 FROM approvals_invocation WHERE id = %s FOR UPDATE"
            connection.execute(lock, [invocation_id])
            yield
            connection.rollback()
        return
    connection = sqlite3.connect(deployment.folder / "rampart.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


# Doubled.


@pytest.mark.feature("X2", "X3")
def test_a_message_that_comes_again_and_again_runs_its_call_once(
    deployment: Stack, calls: Calls
) -> None:
    """Before a worker comes, while the tool runs, and after it has ended."""
    go = calls.folder / "go"
    deployment.kill("worker")
    try:
        mine = calls.ask("mine", "waits_for", go=str(go))
        send(deployment, mine, mine, mine)
    finally:
        deployment.start("worker")
    (begun,) = calls.begun("mine")
    send(deployment, mine, mine)
    calls.ask("behind", "leave_trace")  # Whoever takes this has taken those before it.
    calls.ended("behind")
    go.touch()
    assert calls.ended("mine")["status"] == "success"
    send(deployment, mine)
    calls.ask("last", "leave_trace")
    calls.ended("last")
    assert lines(calls.trace("mine")) == [begun, "done"]
    assert calls.story("mine") == ["queued", "started", "finished"]


# Lost.


@pytest.mark.feature("X2", "X5")
def test_a_killed_worker_loses_what_it_ran_and_nothing_that_it_had_only_taken(
    deployment: Stack, calls: Calls
) -> None:
    """Two run, one of which may run again; others were taken off the broker and not begun."""
    go = calls.folder / "go"
    calls.ask("once", "waits_for", go=str(go))
    calls.ask("again", "may_repeat", go=str(go))
    tools = [int(calls.begun(name)[0].split()[1]) for name in ("once", "again")]
    for name in ("first", "second"):
        calls.ask(name, "leave_trace")
    deployment.kill("worker")
    try:
        until(lambda: all(gone(pid) for pid in tools), SOON)
        go.touch()
    finally:
        deployment.start("worker")
    lost, repeated = calls.ended("once"), calls.ended("again")
    assert (lost["status"], lost["error_type"]) == ("unknown", "OutcomeUnknown")
    assert repeated["status"] == "success"
    assert len(lines(calls.trace("once"))) == 1
    assert len(lines(calls.trace("again"))) == 2
    for name in ("first", "second"):
        assert calls.ended(name)["status"] == "success"
        assert lines(calls.trace(name)) == ["ran"]
        assert calls.story(name) == ["queued", "started", "finished"]
    assert calls.story("once") == ["queued", "started", "lost"]
    assert calls.story("again") == ["queued", "started", "requeued", "started", "finished"]


@pytest.mark.feature("X5")
def test_a_worker_killed_between_the_effect_and_its_record_leaves_an_honest_unknown(
    deployment: Stack, calls: Calls
) -> None:
    go = calls.folder / "go"
    mine = calls.ask("mine", "waits_for", go=str(go))
    calls.begun("mine")
    try:
        with nothing_is_written_of(deployment, mine):
            go.touch()
            until(lambda: lines(calls.trace("mine"))[-1] == "done", SOON)
            deployment.kill("worker")
    finally:
        deployment.start("worker")
    assert calls.ended("mine")["status"] == "unknown"
    assert lines(calls.trace("mine"))[1:] == ["done"]
    seen = json.loads(deployment.manage("reconcile", "--json"))
    assert mine in [call["id"] for call in seen]
    deployment.manage(
        "reconcile", "--invocation", mine, "--as", "succeeded", "--note", "its line is there"
    )
    assert (calls.now("mine")["status"], calls.now("mine")["message"]) == ("success", "reconciled")
    assert calls.story("mine") == ["queued", "started", "lost", "reconciled"]
    assert deployment.manage("verify_audit").startswith("OK")


# Spoilt.


@pytest.mark.feature("X3")
@pytest.mark.parametrize(
    "spoilt",
    ["no id", "an id of nothing", "another task", "no message", "no JSON", "no body"],
)
def test_a_poisoned_message_costs_no_worker_and_no_call(
    deployment: Stack, calls: Calls, spoilt: str
) -> None:
    worker = psutil.Process(deployment.processes["worker"].pid)
    match spoilt:
        case "no id":
            send(deployment, "nonsense")
        case "an id of nothing":
            send(deployment, str(uuid.uuid4()))
        case "another task":
            send(deployment, "x", task="os.system")
        case "no message":
            throw_in(deployment, b"{}")
        case "no JSON":
            throw_in(deployment, b"\x80garbage")
        case "no body":
            throw_in(deployment, b'{"body": "!!", "content-type": "application/json"}')
    calls.ask("after", "leave_trace")
    assert calls.ended("after")["status"] == "success"
    assert lines(calls.trace("after")) == ["ran"]
    assert worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE


# Order, limits, switches.


@pytest.mark.feature("X10")
def test_what_waits_for_a_place_is_sent_for_by_whoever_leaves_one(
    deployment: Stack, calls: Calls
) -> None:
    """Beat, which would find it too, is not there."""
    go = calls.folder / "go"
    deployment.manage("limit_tool", "waits_for", "--running", "1")
    deployment.kill("beat")
    try:
        for name in ("first", "second", "third"):
            calls.ask(name, "waits_for", go=str(go))
            if name == "first":
                calls.begun(name)
        calls.ask("other", "leave_trace")
        assert calls.ended("other")["status"] == "success"
        places = [calls.now(name)["queue_position"] for name in ("first", "second", "third")]
        assert places == [None, 1, 2]
        assert not calls.trace("second").exists()
        go.touch()
        for name in ("first", "second", "third"):
            assert calls.ended(name)["status"] == "success"
    finally:
        deployment.start("beat")
        deployment.manage("limit_tool", "waits_for", "--running", "none")


@pytest.mark.feature("TD7")
@pytest.mark.parametrize("how", ["switch", "stop"])
def test_what_waits_when_a_switch_is_thrown_never_starts(
    deployment: Stack, calls: Calls, how: str
) -> None:
    """Every worker is busy while it is thrown, and free within the second after."""
    go = calls.folder / "go"
    for name in ("one", "two"):
        calls.ask(name, "waits_for", go=str(go))
    for name in ("one", "two"):
        calls.begun(name)
    waiting = [f"waiting-{number}" for number in range(4)]
    for name in waiting:
        calls.ask(name, "leave_trace")
    switch = "from tools.models import Tool; from tools.catalogue import set_enabled\n"
    turn = "set_enabled(Tool.objects.get(name='leave_trace'), {}, by='test')"
    stop = "from tools.models import EmergencyStop as Stop\n"
    off = switch + turn.format(False)
    on = switch + turn.format(True)
    if how == "stop":
        off = stop + "Stop.objects.create(reason='drill', engaged_by='test')"
        on = stop + "Stop.objects.all().delete()"
    deployment.python(off)
    try:
        go.touch()
        for name in waiting:
            ended = calls.ended(name)
            assert (ended["status"], ended["message"]) == ("void", "tool_disabled")
            assert not calls.trace(name).exists()
        assert calls.ended("one")["status"] == "success", "what runs already is not stopped by it"
    finally:
        deployment.python(on)


# Progress.


@pytest.mark.feature("X11")
def test_progress_is_seen_within_two_seconds(deployment: Stack, calls: Calls) -> None:
    go = calls.folder / "go"
    calls.ask("mine", "waits_for", go=str(go))
    calls.begun("mine")
    until(lambda: calls.now("mine")["progress"] == {"stage": "waiting"}, 2)
    assert calls.now("mine")["status"] == "pending"
    go.touch()
    assert calls.ended("mine")["progress"] == {"stage": "waiting"}


@pytest.mark.feature("X11")
def test_progress_shows_no_secret(deployment: Stack, calls: Calls, key: str) -> None:
    go = calls.folder / "go"
    answer = deployment.invoke(
        "tells_too_much", key, "respond-async", card_number="4111222233334444", go=str(go)
    )
    calls.ids["mine"] = answer.json()["invocation_id"]
    told = until(lambda: calls.now("mine")["progress"], SOON)
    go.touch()
    assert told == {"paying with": "[REDACTED]", "done": 1}
    assert calls.ended("mine")["status"] == "success"
