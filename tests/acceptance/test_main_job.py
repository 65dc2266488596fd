"""The main job with real processes: from a REST call to the ledger, through a browser's session."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.memory import family
from tests.stack import PROCESSES, ROOT, Stack, gone, running, until

pytestmark = pytest.mark.stack

REVIEWER = ("decide_approval", "view_approval", "view_invocation", "view_event")


@pytest.fixture(params=["stack", "production_stack"])
def deployment(request: pytest.FixtureRequest) -> Stack:
    """The embedded default, and PostgreSQL with Redis."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def key(deployment: Stack) -> str:
    """An agent's key."""
    return deployment.new_key()


@pytest.fixture(scope="module")
def browsers() -> dict[Stack, Any]:
    """One reviewer's session for each deployment."""
    return {}


@pytest.fixture
def browser(deployment: Stack, browsers: dict[Stack, Any]) -> Any:
    """A reviewer's session."""
    if deployment not in browsers:
        password = deployment.new_person("main-reviewer", *REVIEWER)
        browsers[deployment] = deployment.signed_in("main-reviewer", password)
    return browsers[deployment]


def approve(deployment: Stack, browser: Any, approval_id: str) -> Any:
    """Approve over REST, in the reviewer's session."""
    url = f"{deployment.base_url}/api/v1/approvals/{approval_id}/approve"
    return browser.post(url, json={}, timeout=30)


def lines(path: Path) -> list[str]:
    """What tools have left."""
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.feature("X2", "E29")
def test_the_six_release_paths(deployment: Stack, key: str, browser: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    read = deployment.invoke("lookup_order", key, order_id="A-1")
    assert (read.status_code, read.json()["data"]["order_id"]) == (200, "A-1")

    denied = deployment.invoke("refund_payment", key, order_id="A-1", amount=20_000)
    assert (denied.status_code, denied.json()["error_type"]) == (403, "PolicyDenied")

    held = deployment.invoke("guarded_trace", key, path=str(trace))
    assert (held.status_code, held.json()["status"]) == (202, "requires_approval")

    assert approve(deployment, browser, held.json()["approval_id"]).status_code == 200
    ended = deployment.get(f"invocations/{held.json()['invocation_id']}?wait=30", key).json()
    assert (ended["status"], ended["data"], lines(trace)) == ("success", 1, ["ran"])

    codes = [deployment.invoke("exchange_rate", key, currency="USD").status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]

    replay = [
        deployment.post(
            "tools/leave_trace/invoke", {"arguments": {"path": str(trace)}}, key,
            **{"Idempotency-Key": "k"},
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [answer.json()["data"] for answer in replay] == [2, 2]
    assert replay[1].headers["Idempotency-Replayed"] == "true"
    assert deployment.manage("verify_audit").startswith("OK")


@pytest.mark.feature("X1", "X3", "T16", "T17")
def test_a_hung_tool_is_gone_with_its_children_two_seconds_after_its_deadline(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    trace = tmp_path / "pids"
    answer = deployment.invoke("hangs_with_children", key, path=str(trace))
    assert (answer.status_code, answer.json()["status"]) == (504, "timeout")
    assert answer.json()["error"] == "tool timed out after 1 seconds"
    pids = [int(line) for line in lines(trace)]
    assert len(pids) == 3
    until(lambda: all(gone(pid) for pid in pids), 2)


@pytest.mark.feature("E29")
def test_a_decision_ends_the_wait_within_a_second(
    deployment: Stack, key: str, browser: Any, tmp_path: Path
) -> None:
    from threading import Thread

    held = deployment.invoke("guarded_trace", key, path=str(tmp_path / "trace")).json()
    answered: list[float] = []
    where = f"invocations/{held['invocation_id']}?wait=30"

    def wait() -> None:
        deployment.get(where, key)
        answered.append(time.monotonic())

    thread = Thread(target=wait)
    thread.start()
    approve(deployment, browser, held["approval_id"])
    decided = time.monotonic()
    thread.join(30)
    assert answered[0] - decided < 1.5  # One second, and what a shared machine adds.


@pytest.mark.feature("X2")
def test_the_web_process_killed_right_after_the_approval_still_runs_it_once(
    deployment: Stack, key: str, browser: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    held = deployment.invoke("guarded_trace", key, path=str(trace)).json()
    deployment.kill("worker")  # So that only the row can bring the call back.
    try:
        answer = approve(deployment, browser, held["approval_id"])
        assert answer.status_code == 200
        deployment.kill("web")
        _forget_messages(deployment)
    finally:
        deployment.start("worker", "web")
    ended = until(
        lambda: _ended(deployment, key, held["invocation_id"]), 40, deployment_logs(deployment)
    )
    assert (ended["status"], lines(trace)) == ("success", ["ran"])


@pytest.mark.feature("X2")
def test_a_lost_message_is_sent_again_within_ten_seconds(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    deployment.kill("worker")
    try:
        accepted = deployment.invoke("leave_trace", key, "respond-async", path=str(trace)).json()
        _forget_messages(deployment)
    finally:
        deployment.start("worker")
    until(lambda: lines(trace), 30, deployment_logs(deployment))
    assert lines(trace) == ["ran"]
    ended = until(lambda: _ended(deployment, key, accepted["invocation_id"]))
    assert ended["status"] == "success"


@pytest.mark.feature("X6")
def test_a_worker_killed_while_a_tool_runs_leaves_an_honest_unknown_and_no_process(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    accepted = deployment.invoke(
        "waits_for", key, "respond-async", path=str(trace), go=str(go)
    ).json()
    begun = until(lambda: lines(trace), 20, deployment_logs(deployment))
    pid = int(begun[0].split()[1])
    deployment.kill("worker")
    try:
        until(lambda: gone(pid), 5)
    finally:
        deployment.start("worker")
    ended = until(lambda: _ended(deployment, key, accepted["invocation_id"]), 60)
    assert (ended["status"], ended["error_type"]) == ("unknown", "OutcomeUnknown")
    go.touch()
    assert lines(trace) == begun


@pytest.mark.feature("X4")
def test_a_running_call_is_cancelled_within_three_seconds(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    accepted = deployment.invoke(
        "waits_for", key, "respond-async", path=str(trace), go=str(tmp_path / "never")
    ).json()
    pid = int(until(lambda: lines(trace), 20, deployment_logs(deployment))[0].split()[1])
    deployment.post(f"invocations/{accepted['invocation_id']}/cancel", {}, key)
    until(lambda: gone(pid), 3)
    ended = until(lambda: _ended(deployment, key, accepted["invocation_id"]))
    assert ended["status"] == "cancelled"


@pytest.mark.feature("I2", "TD7")
def test_revoking_and_switching_off_are_felt_within_a_second_by_the_server(
    deployment: Stack, tmp_path: Path
) -> None:
    key = deployment.new_key("short-lived")
    assert deployment.invoke("echo", key, value=1).status_code == 200
    deployment.python(
        "from tools.key_cabinet import revoke_key; from tools.models import Tool\n"
        "from tools.catalogue import set_enabled\n"
        f"revoke_key({key[:14]!r}, by='test')\n"
        "set_enabled(Tool.objects.get(name='where_am_i'), False, by='test')"
    )
    other = deployment.new_key("long-lived")
    until(lambda: deployment.invoke("echo", key, value=1).json().get("code") == "key_revoked", 2)
    until(lambda: where_am_i(deployment, other) == "ToolDisabled", 2)
    deployment.python(
        "from tools.models import Tool; from tools.catalogue import set_enabled\n"
        "set_enabled(Tool.objects.get(name='where_am_i'), True, by='test')"
    )
    until(lambda: where_am_i(deployment, other) is None, 2)


def where_am_i(deployment: Stack, key: str) -> str | None:
    """Why a tool that reads does not run, if it does not."""
    error: str | None = deployment.invoke("where_am_i", key).json()["error_type"]
    return error


@pytest.mark.feature("T16")
def test_a_tool_sees_neither_the_servers_secrets_nor_its_environment(
    deployment: Stack, key: str
) -> None:
    seen = deployment.invoke("where_am_i", key).json()["data"]
    assert set(seen["environment"]) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}


def test_everything_is_ready(deployment: Stack, key: str) -> None:
    answer = deployment.get("ready", key)
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "broker": "ok", "migrations": "ok", "sandbox": "ok"},
    }


@pytest.mark.feature("U4")
def test_a_planted_secret_is_nowhere_in_the_database_or_the_logs(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    secret = "4929-planted-7731"
    deployment.invoke("pay", key, path=str(tmp_path / "t"), amount=1, card_number=secret)
    deployment.invoke("pay", key, path=str(tmp_path / "t"), amount=900, card_number=secret)
    deployment.invoke("fails", key, pin=secret)
    deployment.invoke("pay", key, amount="x", card_number=secret)
    dump = deployment.manage("dumpdata", "audit", "approvals", "tools")
    assert "[REDACTED]" in dump
    assert secret not in dump
    assert not any(secret in deployment.log(name) for name in ("web", "worker", "beat"))


@pytest.mark.feature("H2")
def test_a_body_in_chunks_is_refused_rather_than_read_as_empty(
    deployment: Stack, key: str, browser: Any, tmp_path: Path
) -> None:
    def chunks() -> Any:
        yield b'{"expected_digest": "0000"}'

    held = deployment.invoke("guarded_trace", key, path=str(tmp_path / "trace")).json()
    url = f"{deployment.base_url}/api/v1"
    decided = browser.post(
        f"{url}/approvals/{held['approval_id']}/approve", data=chunks(),
        headers={"Content-Type": "application/json"}, timeout=30,
    )  # fmt: skip
    called = requests.post(
        f"{url}/tools/echo/invoke", data=chunks(), timeout=30,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )  # fmt: skip
    for answer in (decided, called):
        assert (answer.status_code, answer.json()["code"]) == (411, "length_required")
    shown = deployment.get(f"approvals/{held['approval_id']}", key).json()
    assert shown["status"] == "pending"


@pytest.mark.feature("X2")
def test_upkeep_goes_on_while_every_worker_is_busy(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    busy = [
        deployment.invoke(
            "waits_for", key, "respond-async", path=str(tmp_path / str(n)), go=str(go)
        ).json()["invocation_id"]
        for n in range(4)
    ]
    held = deployment.invoke("guarded_trace", key, path=str(tmp_path / "trace")).json()
    deployment.python(
        "from approvals.models import Approval; from approvals.transitions import now\n"
        f"Approval.objects.filter(pk={held['approval_id']!r}).update(expires_at=now())"
    )
    try:
        ended = until(lambda: _ended(deployment, key, held["invocation_id"]), 15)
        assert ended["status"] == "expired"
    finally:
        go.touch()
    for invocation_id in busy:
        until(lambda: _ended(deployment, key, invocation_id), 30)


def test_a_port_in_use_is_said_and_not_shared(deployment: Stack) -> None:
    done = subprocess.run(
        PROCESSES["web"], cwd=ROOT, env=deployment.environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, "in use" in done.stderr) == (1, True)


def _ended(deployment: Stack, key: str, invocation_id: str) -> dict[str, Any] | None:
    body: dict[str, Any] = deployment.get(f"invocations/{invocation_id}", key).json()
    return None if body.get("status") in (None, "pending", "requires_approval") else body


def _forget_messages(deployment: Stack) -> None:
    """Lose every message that is on its way."""
    if url := deployment.environment.get("REDIS_URL"):
        import redis

        with redis.Redis.from_url(url) as client:
            client.delete("default", "isolated", "destructive")
    for message in (deployment.folder / "broker" / "messages").glob("*.msg"):
        message.unlink(missing_ok=True)


def deployment_logs(deployment: Stack) -> Any:
    """What the processes said, for a failure's message."""
    return lambda: "\n".join(deployment.log(name) for name in ("web", "worker", "beat"))


@pytest.mark.feature("K5", "T26")
def test_a_deployment_on_production_stores_survives_their_absence(tmp_path: Path) -> None:
    """Broker down: stored, 202, run when it is back. Database down: 503, then well again."""
    from tests import servers

    with (
        servers.postgres() as (postgres, database),
        servers.redis_server() as (redis, redis_url),
        running(DATABASE_URL=database, REDIS_URL=redis_url) as deployment,
    ):
        key = deployment.new_key()
        assert deployment.invoke("echo", key, value=1).status_code == 200

        redis.stop(signal.SIGKILL)
        trace = tmp_path / "trace"
        accepted = deployment.invoke("leave_trace", key, "respond-async", path=str(trace))
        assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
        limited = deployment.invoke("ten_an_hour", key)
        assert (limited.status_code, limited.json()["error_type"]) == (503, "LimiterUnavailable")
        ready = deployment.get("ready", key)
        assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, "failed")
        redis.start()
        until(lambda: lines(trace), 60, deployment_logs(deployment))
        assert lines(trace) == ["ran"]

        postgres.stop(signal.SIGINT)
        down = deployment.invoke("echo", key, value=1)
        assert (down.status_code, down.json()["code"]) == (503, "database_unavailable")
        assert down.headers["Content-Type"] == "application/problem+json"
        ready = deployment.get("ready", key)
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "failed")
        postgres.start()
        until(lambda: deployment.invoke("echo", key, value=2).status_code == 200, 30)
        again = deployment.invoke("leave_trace", key, path=str(trace))
        assert (again.status_code, lines(trace)) == (200, ["ran", "ran"]), again.text
        assert json.loads(deployment.manage("verify_audit", "--json"))["ok"] is True


def test_a_stopped_deployment_leaves_no_process(tmp_path: Path) -> None:
    with running() as deployment:
        key = deployment.new_key()
        deployment.invoke("echo", key, value=1)
        deployment.invoke("leave_trace", key, path=str(tmp_path / "trace"))
        there = [pid for one in deployment.processes.values() for pid in family(one.pid)]
        assert len(there) > 8  # Web, worker and beat, and below the first two who runs tools.
        deployment.stop()
        until(lambda: all(gone(pid) for pid in there), 5)


OUTSIDE = '''
from __future__ import annotations
from pydantic import BaseModel
from tools import (tool, scope, require_approval, redact, rate_limit, policy, timeout,
                   max_retries, side_effects, isolated_process, require_idempotency_key,
                   secrets, preview, progress, ToolContext)

class Item(BaseModel):
    name: str
    count: int = 1

@side_effects(read_only=True)
@tool
@scope("shop.read")
def price(item: Item) -> float:
    """The price of an item."""
    return item.count * 2.5

@require_approval(over_count=10)
@tool
@scope("shop.write")
@isolated_process
async def order(name: str, count: int) -> Item:
    """Order something."""
    progress("ordering")
    return Item(name=name, count=count)
'''


@pytest.mark.feature("TD1", "TD2", "T23")
def test_a_tool_module_outside_the_tree_is_served(tmp_path: Path) -> None:
    (tmp_path / "shop_tools.py").write_text(OUTSIDE)
    with running(PYTHONPATH=str(tmp_path), RAMPART_TOOL_MODULES="shop_tools") as deployment:
        key = deployment.new_key("shopper", ("shop.*",))
        names = [tool["name"] for tool in deployment.get("tools", key).json()["tools"]]
        assert names == ["order", "price"]
        read = deployment.invoke("price", key, item={"name": "tea", "count": 4})
        assert read.json()["data"] == 10.0
        ran = deployment.invoke("order", key, name="tea", count=2)
        assert (ran.status_code, ran.json()["data"]) == (200, {"name": "tea", "count": 2})
        held = deployment.invoke("order", key, name="tea", count=11)
        assert (held.status_code, held.json()["message"]) == (202, "count exceeds 10")
