"""Real processes on a machine whose kernel lacks a layer: what needs it is refused, and said."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.stack import PROCESSES, ROOT, Stack, until

pytestmark = pytest.mark.stack

MODULES = "tests.kit_tools,tests.jailed_tools"
WITHOUT_LANDLOCK = [sys.executable, "-m", "tests.without_layer", "landlock"]
CALL = {"left": 2, "right": 3}
Deploy = Callable[..., Stack]


@pytest.fixture(scope="module")
def deploy() -> Iterator[Deploy]:
    """Has these processes run on a kernel without Landlock, others on this one; restarts seldom."""
    with tempfile.TemporaryDirectory(prefix="rampart-stack-") as folder:
        stack = Stack(Path(folder), RAMPART_TOOL_MODULES=MODULES)

        def deploy(*thin: str, waived: str = "") -> Stack:
            commands = {
                name: [*WITHOUT_LANDLOCK, *PROCESSES[name]] if name in thin else PROCESSES[name]
                for name in ("web", "worker")
            }
            wanted = stack.environment | {"RAMPART_WAIVE_ISOLATION": waived}
            if not stack.processes or (commands, wanted) != (stack.commands, stack.environment):
                for name in list(stack.processes):
                    stack.kill(name, signal.SIGTERM)
                stack.commands = commands
                stack.environment.update(wanted)
                stack.start()
            return stack

        try:
            stack.prepare()
            yield deploy
        finally:
            stack.end()


@pytest.fixture
def thin_stack(deploy: Deploy) -> Stack:
    """No process of it can put Landlock on."""
    return deploy("web", "worker")


@pytest.fixture
def thin_worker(deploy: Deploy) -> Stack:
    """Its workers are on another machine than its web server, and lack what that has."""
    return deploy("worker")


@pytest.fixture
def waived_stack(deploy: Deploy) -> Stack:
    """No process of it can put Landlock on, and its operator accepts it."""
    return deploy("web", "worker", waived="landlock")


def ready(stack: Stack) -> requests.Response:
    """The answer of `GET /ready`."""
    return requests.get(f"{stack.base_url}/api/v1/ready", timeout=30)


def events(stack: Stack, key: str, **filters: str) -> list[dict[str, object]]:
    """What the ledger tells the key of its own calls."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    found: list[dict[str, object]] = stack.get(f"audit?{query}", key).json()["events"]
    return found


def tool_names(stack: Stack, key: str) -> set[str]:
    return {tool["name"] for tool in stack.get("tools", key).json()["tools"]}


@pytest.mark.feature("S3", "O4")
def test_a_server_without_a_layer_lives_and_is_not_ready(thin_stack: Stack) -> None:
    answer = ready(thin_stack)
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok", "broker": "ok", "migrations": "ok", "sandbox": "failed",
    }  # fmt: skip
    assert thin_stack.answers()


@pytest.mark.feature("S3")
def test_what_can_not_be_jailed_is_not_listed_and_all_else_works(thin_stack: Stack) -> None:
    key = thin_stack.new_key()
    names = tool_names(thin_stack, key)
    assert "jailed_sum" not in names and "echo" in names
    assert thin_stack.get("tools/jailed_sum", key).status_code == 404
    assert thin_stack.invoke("echo", key, value=1).json()["data"] == 1


@pytest.mark.feature("S3")
def test_a_call_of_it_is_refused_with_the_layer_and_leaves_one_line(thin_stack: Stack) -> None:
    key = thin_stack.new_key("refused-agent", ("kit.*", "audit.read"))
    answer = thin_stack.invoke("jailed_sum", key, **CALL)
    assert answer.status_code == 503
    assert answer.json()["error_type"] == "SandboxUnavailable"
    assert "the jail native lacks landlock" in answer.json()["error"]
    (line,) = events(thin_stack, key, tool="jailed_sum")
    assert (line["event"], line["reason"]) == ("invocation:refused", "sandbox_unavailable")
    assert line["invocation_id"] is None


@pytest.mark.feature("S3")
def test_the_worker_says_at_its_start_what_it_can_not_jail(thin_stack: Stack) -> None:
    said = "calls of jailed_sum are not taken here: the jail native lacks landlock"
    until(lambda: said in thin_stack.log("worker"), explain=lambda: thin_stack.log("worker"))


@pytest.mark.feature("S3")
def test_a_worker_without_the_layer_runs_nothing_of_what_was_queued(thin_worker: Stack) -> None:
    key = thin_worker.new_key("queued-agent", ("kit.*", "audit.read"))
    assert ready(thin_worker).status_code == 200
    answer = thin_worker.invoke("jailed_sum", key, **CALL)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (500, "killed")
    assert (body["error_type"], body["attempts"]) == ("SandboxUnavailable", 0)
    assert "nothing was run" in body["error"] and "landlock" in body["error"]
    told = events(thin_worker, key, tool="jailed_sum")
    assert [line["event"] for line in told] == [
        "invocation:finished", "invocation:started", "invocation:queued",
    ]  # fmt: skip


@pytest.mark.feature("S3")
def test_what_the_operator_waived_runs_and_every_line_says_so(waived_stack: Stack) -> None:
    key = waived_stack.new_key("waived-agent", ("kit.*", "audit.read"))
    assert ready(waived_stack).status_code == 200
    assert "jailed_sum" in tool_names(waived_stack, key)
    assert waived_stack.invoke("jailed_sum", key, **CALL).json()["data"] == 5
    told = events(waived_stack, key)
    assert {line["event"] for line in told} >= {
        "invocation:queued", "invocation:started", "invocation:finished",
    }  # fmt: skip
    assert all(line["metadata"]["waived"] == ["landlock"] for line in told)  # type: ignore[index]
    (finished,) = [line for line in told if line["event"] == "invocation:finished"]
    assert finished["metadata"]["jail"] == "native"  # type: ignore[index]


@pytest.mark.feature("S3", "K3")
def test_the_checklist_names_the_layer_that_is_missing_and_the_one_that_is_waived(
    waived_stack: Stack,
) -> None:
    done = subprocess.run(
        [*WITHOUT_LANDLOCK, sys.executable, "manage.py", "checklist", "--json"],
        cwd=ROOT, env=waived_stack.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    lines = {line["id"]: line for line in json.loads(done.stdout)}
    assert lines["jail.native"]["status"] == lines["jail.waived"]["status"] == "FAIL"
    assert "missing: landlock" in lines["jail.native"]["finding"]
    assert "landlock" in lines["jail.waived"]["finding"]
    assert lines["jail.fresh"]["status"] == "PASS"
