"""`smoke`: the six release paths on a running server, and what a run leaves behind."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals.models import Approval
from audit.models import Event
from rampart.management import release_paths
from rampart.management.base import operator
from rampart.management.commands import smoke
from rampart.management.release_paths import PATHS, Walk
from rampart.management.wire import Server
from tests.conftest import Agent, effects, held, work
from tests.processes import ROOT, Deployment, heed_interrupts
from tests.rampart.test_commands import run
from tests.stack import Stack, until
from tools import registry
from tools.models import ApiKey

SIX = [
    "successful", "denied", "approval-required", "approved", "rate-limited", "idempotent replay",
]  # fmt: skip

TRACES = """\
import json
from django.contrib.auth.models import User
from approvals.models import Approval, Invocation
from audit.models import Event
from tools.models import ApiKey
reviewer = User.objects.filter(username="smoke:reviewer").first()
keys = ApiKey.objects.filter(actor="smoke")
calls = Invocation.objects.filter(actor="smoke")
print(json.dumps({
    "usable": keys.filter(revoked_at=None).count(),
    "lifetimes": [(key.expires_at - key.created_at).total_seconds() for key in keys],
    "open": calls.filter(status__in=["held", "queued", "running"]).count(),
    "approved": Approval.objects.filter(
        invocation__actor="smoke", resolved_by__username="smoke:reviewer"
    ).count(),
    "reviewer": reviewer and [
        reviewer.is_active, reviewer.has_usable_password(), reviewer.is_staff,
        reviewer.user_permissions.count(), reviewer.groups.count(),
    ],
    "events": sorted({(e.event, e.actor) for e in Event.objects.filter(actor__contains="smoke")}),
}))
"""


def traces(stack: Stack) -> Any:
    """What smoke runs have left in a deployment."""
    return json.loads(stack.python(TRACES))


def started(stack: Stack, *arguments: str) -> "subprocess.Popen[str]":
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "smoke", "--json", *arguments],
        cwd=ROOT, env=stack.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
    )  # fmt: skip


# On a server that is as it should be.


@pytest.mark.stack
@pytest.mark.feature("K7", "K1", "E33")
def test_all_six_paths_pass_on_the_embedded_stores(stack: Stack) -> None:
    results = json.loads(stack.manage("smoke", "--json"))
    assert [result["path"] for result in results] == SIX
    assert all(result["ok"] for result in results), results
    assert all(result["seen"] == result["expected"] for result in results)


@pytest.mark.stack
@pytest.mark.feature("K7", "E33")
def test_all_six_paths_pass_on_postgresql_and_redis(production_stack: Stack) -> None:
    table = production_stack.manage("smoke", "--base-url", f"{production_stack.base_url}/")
    head, *rows = table.splitlines()
    assert head.split() == ["path", "expected", "seen", "ok"]
    assert [row.split("  ")[0] for row in rows] == SIX
    assert all(row.endswith("  yes") for row in rows), table


@pytest.mark.stack
@pytest.mark.feature("K7", "U1")
def test_a_run_leaves_lines_in_the_ledger_and_nobody_who_could_do_anything(stack: Stack) -> None:
    before = traces(stack)["approved"]
    stack.manage("smoke")
    left = traces(stack)
    assert (left["usable"], left["open"], left["approved"]) == (0, 0, before + 1)
    assert max(left["lifetimes"]) <= 600
    assert left["reviewer"] == [False, False, False, 0, 0]
    told = {tuple(pair) for pair in left["events"]}
    assert {
        ("approval:approved", "smoke:reviewer"),
        ("invocation:finished", "smoke"),
        ("invocation:refused", "smoke"),
        ("invocation:replayed", "smoke"),
    } <= told
    assert json.loads(stack.manage("verify_audit", "--json"))["ok"]


@pytest.mark.stack
@pytest.mark.feature("K7")
@pytest.mark.parametrize("name", ["stack", "production_stack"])
def test_two_runs_at_once_do_not_disturb_each_other(
    name: str, request: pytest.FixtureRequest
) -> None:
    on: Stack = request.getfixturevalue(name)
    runs = [started(on), started(on)]
    for process in runs:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert traces(on)["reviewer"] == [False, False, False, 0, 0]


# On one that is not.


@pytest.fixture(scope="module")
def lame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment whose web serves, and no worker."""
    stack = Stack(tmp_path_factory.mktemp("lame") / "var")
    try:
        stack.prepare()
        stack.start("web")
        yield stack
    finally:
        stack.end()


@pytest.mark.stack
@pytest.mark.feature("K7")
def test_a_missing_worker_is_a_finding_within_a_bounded_time(
    lame: Stack, monkeypatch: MonkeyPatch
) -> None:
    """Walked here, with less patience than the command has."""
    monkeypatch.setattr(release_paths, "SECONDS_FOR_A_WORKER", 1.0)
    key = lame.new_key("smoke-here", ("rampart.smoke",))
    lame.new_person("walks", "decide_approval")

    def approve(approval_id: str) -> None:
        lame.manage("approvals", "approve", approval_id, "--user", "walks")

    results = Walk(Server(lame.base_url, key), approve).results()
    found = {result.path: result.seen for result in results if not result.ok}
    assert set(found) == {"approved", "idempotent replay"}
    assert all("no worker has run it within 1 s" in seen for seen in found.values()), found


@pytest.mark.stack
@pytest.mark.feature("K7")
def test_a_run_that_is_killed_halfway_leaves_no_reviewer_and_a_key_for_minutes(
    lame: Stack,
) -> None:
    process = started(lame)
    until(lambda: traces(lame)["approved"] == 1, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    left = traces(lame)
    assert left["reviewer"] == [False, False, False, 0, 0]
    assert (left["usable"], left["lifetimes"]) == (1, [600.0])


@pytest.mark.stack
@pytest.mark.feature("K7")
def test_an_interrupted_run_clears_away_what_it_has_begun(lame: Stack) -> None:
    before = traces(lame)
    process = started(lame)
    until(lambda: traces(lame)["approved"] > before["approved"], 60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    left = traces(lame)
    assert (left["usable"], left["open"]) == (before["usable"], before["open"])


@pytest.mark.stack
@pytest.mark.feature("K7", "E33", "E34")
def test_the_emergency_stop_is_a_finding_on_every_path(lame: Stack) -> None:
    stop, key = "from tools.models import EmergencyStop as E\n", lame.new_key("bystander")
    lame.python(stop + "E.objects.create(reason='fire', engaged_by='test')")
    try:
        until(lambda: not lame.invoke("echo", key, value=1).ok)  # The server has felt it.
        results = json.loads(lame.manage("smoke", "--json", expect=6))
    finally:
        lame.python(stop + "E.objects.all().delete()")
    assert [result["path"] for result in results] == SIX
    assert not any(result["ok"] for result in results)
    stopped = [result for result in results if "all tools are stopped" in result["seen"]]
    assert len(stopped) == 5, results


@pytest.mark.stack
@pytest.mark.feature("K7")
def test_a_server_of_another_deployment_cannot_be_tried(lame: Stack, stack: Stack) -> None:
    process = started(stack, "--base-url", lame.base_url)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "401 invalid_credentials" in err and "this deployment's" in err
    assert traces(stack)["usable"] == 0


@pytest.mark.feature("K7", "E33")
@pytest.mark.parametrize(
    ("base_url", "code", "says"),
    [
        ("http://127.0.0.1:1", 1, "Connection refused"),
        ("ftp://127.0.0.1", 2, "--base-url"),
        ("localhost:8000", 2, "--base-url"),
        ("http://127.0.0.1:99999", 2, "--base-url"),
    ],
)
def test_a_server_that_is_not_there_is_said_in_one_line(
    migrated: Deployment, base_url: str, code: int, says: str
) -> None:
    done = migrated.manage("smoke", "--base-url", base_url)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


# On one that lies.


@contextmanager
def lying(answer: Callable[[str], tuple[int, dict[str, str], Any]]) -> Iterator[str]:
    """A server that answers each path as it is told; yields its address."""

    class Liar(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.feature("K7")
@pytest.mark.django_db(transaction=True)
def test_a_server_that_lets_everything_through_is_found_out_on_five_paths() -> None:
    body = {"status": "success", "data": 1, "invocation_id": "x", "approval_id": "x"}
    with lying(lambda path: (200, {}, body)) as address:
        out, _, code = run("smoke", "--json", "--base-url", address)
    assert code == 6
    assert [result["path"] for result in json.loads(out) if result["ok"]] == ["successful"]


@pytest.mark.feature("K7")
def test_a_replay_with_another_result_is_a_finding() -> None:
    count = iter(range(9))

    def answer(path: str) -> tuple[int, dict[str, str], Any]:
        body = {"status": "success", "data": next(count)}
        return 200, {"Idempotency-Replayed": "true"}, body

    with lying(answer) as address:
        result = release_paths.idempotent_replay(Walk(Server(address, ""), lambda _: None))
    assert (result.ok, "with another result" in result.seen) == (False, True)


@pytest.mark.feature("K7")
def test_a_refusal_that_does_not_say_when_to_come_again_is_a_finding() -> None:
    statuses = iter([(200, "success"), (429, "rate_limited")])

    def answer(path: str) -> tuple[int, dict[str, str], Any]:
        status, word = next(statuses)
        return status, {}, {"status": word, "error_type": "RateLimited" if status == 429 else None}

    with lying(answer) as address:
        result = release_paths.rate_limited(Walk(Server(address, ""), lambda _: None))
    assert (result.ok, "without Retry-After" in result.seen) == (False, True)


@pytest.mark.feature("K7")
@pytest.mark.django_db(transaction=True)
def test_a_server_cannot_have_another_callers_call_approved(
    agent: Agent, trace: Path, reviewer: User, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(release_paths, "SECONDS_FOR_A_WORKER", 0.2)  # The liar has none.
    approval = held(agent, trace)
    body = {
        "status": "requires_approval", "error_type": "ApprovalRequired",
        "approval_id": str(approval.pk), "invocation_id": str(approval.invocation_id),
    }  # fmt: skip
    with lying(lambda path: (202 if "write" in path else 200, {}, body)) as address:
        out, _, code = run("smoke", "--json", "--base-url", address)
    assert code == 6 and "not of this run" in out
    approval.refresh_from_db()
    assert approval.is_pending
    work()
    assert effects(trace) == []


@pytest.mark.feature("K7")
def test_the_key_follows_no_redirect() -> None:
    asked: list[str] = []

    def away(path: str) -> tuple[int, dict[str, str], Any]:
        asked.append(path)
        return 307, {"Location": "/elsewhere"}, {}

    with lying(away) as address:
        reply = Server(address, "key").post("/tools/x/invoke", {})
    assert (reply.status, asked) == (307, ["/api/v1/tools/x/invoke"])


# What it uses.


@pytest.mark.feature("K7")
def test_its_tools_are_there_in_every_deployment_behind_a_scope(bare: Deployment) -> None:
    assert bare.manage("migrate", "--verbosity", "0").returncode == 0
    named = bare.manage("sync_tools").stdout.split()
    assert set(named[1::2]) >= set(smoke.TOOLS)
    for name in smoke.TOOLS:
        assert str(registry.find(name).scope).startswith("rampart.smoke")


@pytest.mark.feature("K7")
@pytest.mark.django_db
@pytest.mark.parametrize("setting", ["allow", "hold", "deny"])
def test_its_writing_tool_has_a_rule_and_so_runs_whatever_becomes_of_unruled_writes(
    tools_synced: None, settings: Settings, setting: str
) -> None:
    settings.RAMPART_UNRULED_WRITES = setting
    as_agent = ("--actor", "smoke", "--scope", *smoke.SCOPES)
    assert run("simulate", "rampart.smoke.write", *as_agent)[2] == 0
    assert run("simulate", "rampart.smoke.write", "--args", '{"hold": true}', *as_agent)[2] == 4
    assert run("simulate", "rampart.smoke.closed", *as_agent)[2] == 3


@pytest.mark.feature("K7")
@pytest.mark.django_db(transaction=True)
def test_outside_of_its_transaction_the_reviewer_can_never_decide(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    """Looked at through a second connection, at the moment at which it decides."""
    seen: list[Any] = []
    real = smoke.deciding.approve

    def look() -> None:
        found = User.objects.filter(username=smoke.REVIEWER).values_list("is_active", flat=True)
        seen.append(list(found))
        connections.close_all()

    def approve(*args: Any, **options: Any) -> Any:
        assert args[1].is_active and args[1].has_perm(smoke.reviewers.DECIDE)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return real(*args, **options)

    for expected in ([], [False]):
        approval = held(agent, trace, text=str(expected))
        with monkeypatch.context() as patch:
            patch.setattr(smoke.deciding, "approve", approve)
            assert smoke.approve(str(approval.pk), agent.row) is None
        assert seen.pop() == expected
    line = Event.objects.filter(event="approval:approved")[0]
    assert (line.actor, line.metadata["operator"]) == (smoke.REVIEWER, operator())


@pytest.mark.feature("K7")
@pytest.mark.django_db
def test_a_run_that_cannot_begin_leaves_no_usable_key() -> None:
    assert run("smoke", "--base-url", "http://127.0.0.1:1")[2] == 1
    assert ApiKey.objects.get().revoked_at is not None
    assert not Approval.objects.exists()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("rampart.local", "http://rampart.local:8000"),
    ],
)
def test_without_an_address_it_knocks_where_the_server_listens(
    settings: Settings, host: str, address: str
) -> None:
    settings.RAMPART_HOST, settings.RAMPART_PORT = host, 8000
    assert smoke.own_address() == address


@pytest.mark.feature("K7")
def test_the_paths_are_the_six_of_the_how_to_page() -> None:
    page = (ROOT / "docs/how-to/check-a-release.md").read_text()
    table = page.split("```\npath ", 1)[1].split("```", 1)[0]
    rows = [line.split("  ")[0] for line in table.splitlines()[1:]]
    assert rows == SIX and len(PATHS) == 6
