"""A tool's secret in a whole deployment whose processes were all started with it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests import memory, servers
from tests.secret_tools import NAME, digest_of
from tests.stack import Answer, Stack, running, until

pytestmark = pytest.mark.stack

SECRET = "sk_live_" + "of-the-whole-deployment/&='1"
PARTS = [SECRET[start : start + 12] for start in range(0, len(SECRET) - 12, 3)]
MODULES = "tools.examples.demo,tests.kit_tools,tests.secret_tools"
REVIEWER = ("decide_approval", "view_approval", "view_invocation", "view_event")
EVERY_TABLE = """
from django.db import connection
with connection.cursor() as cursor:
    for table in connection.introspection.table_names(cursor):
        cursor.execute(f'SELECT * FROM {connection.ops.quote_name(table)}')
        for row in cursor:
            print(table, [bytes(cell) if isinstance(cell, memoryview) else cell for cell in row])
"""


@pytest.fixture(scope="module")
def on_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """SQLite and the broker on files; the secret in a variable, as `make run` hands it on."""
    given = {NAME: SECRET, "RAMPART_TOOL_MODULES": MODULES}
    with running(**given) as stack:
        yield stack


@pytest.fixture(scope="module")
def on_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL and Redis; the secret in a file."""
    file = tmp_path_factory.mktemp("secrets") / "stripe"
    file.write_text(SECRET)
    file.chmod(0o600)
    given = {f"{NAME}_FILE": str(file), "RAMPART_TOOL_MODULES": MODULES}
    with (
        servers.postgres(durable=False) as (_, database),
        servers.redis_server() as (_, cache),
        running(DATABASE_URL=database, REDIS_URL=cache, **given) as stack,
    ):
        yield stack


@pytest.fixture(params=["on_files", "on_servers"])
def deployment(request: pytest.FixtureRequest) -> Stack:
    """Both."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def key(deployment: Stack) -> str:
    """An agent's key."""
    return deployment.new_key("keeper")


@pytest.fixture
def browser(deployment: Stack) -> Any:
    """A reviewer's session."""
    name = "keeper-of-keepers"
    if name not in deployment.manage("dumpdata", "auth.user"):
        deployment.new_person(name, *REVIEWER)
    return deployment.signed_in(name, f"{name}-has-a-long-password")


def shown(text: str) -> list[str]:
    """The parts of the secret that stand in the text."""
    return [part for part in PARTS if part in text]


def held(deployment: Stack, key: str, folder: Path) -> dict[str, Any]:
    """A call of a tool with a secret, which waits for a person."""
    arguments = {"path": str(folder / "begun"), "go": str(folder / "go")}
    call: dict[str, Any] = deployment.invoke("waits_with_it", key, **arguments).json()
    assert call["status"] == "requires_approval"
    return call


def approve(deployment: Stack, browser: Any, call: dict[str, Any]) -> None:
    """Approve it over REST, in the reviewer's session."""
    url = f"{deployment.base_url}/api/v1/approvals/{call['approval_id']}/approve"
    assert browser.post(url, json={}, timeout=30).status_code == 200


def parent_of(pid: int) -> int:
    """The process above."""
    return int(psutil.Process(pid).ppid())


@pytest.mark.feature("X9")
def test_only_workers_hold_it_and_of_their_children_the_one_that_was_approved(
    deployment: Stack, key: str, browser: Any, tmp_path: Path
) -> None:
    call = held(deployment, key, tmp_path)
    for other in ("where_am_i", "is_given_none"):  # The web's own children, and the worker's.
        assert deployment.invoke(other, key).json()["status"] == "success"
    approve(deployment, browser, call)
    begun = tmp_path / "begun"
    text = until(lambda: begun.exists() and begun.read_text(), 30, lambda: deployment.log("worker"))
    try:
        child = int(text.split()[0])
        assert text.split()[1] == digest_of(SECRET)
        keeper = parent_of(child)
        zygote = parent_of(keeper)
        web, worker, beat = (
            memory.family(deployment.processes[name].pid) for name in ("web", "worker", "beat")
        )
        assert zygote in worker
        assert len(web) >= 5  # The server, its worker, zygote, keeper, and a warm child.
        for pid in (*web, *beat, zygote, keeper, child):
            assert shown(memory.shown_in_proc(pid).decode(errors="replace")) == [], pid
        for pid in (*web, *beat, zygote, keeper):
            assert not memory.holds(pid, SECRET), memory.shown_in_proc(pid)
        for pid in (*web, *beat):
            assert NAME.encode() not in memory.shown_in_proc(pid)
            assert b"SECRET_KEY" not in memory.shown_in_proc(pid)  # It is read from secrets.env.
        assert memory.holds(child, SECRET)
    finally:
        (tmp_path / "go").touch()
    where = f"invocations/{call['invocation_id']}?wait=30"
    assert deployment.get(where, key).json()["data"] == "done"


@pytest.mark.feature("X9")
def test_a_tool_beside_it_has_nothing_of_it(deployment: Stack, key: str) -> None:
    found = deployment.invoke("is_given_none", key).json()["data"]
    assert set(found) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}


@pytest.mark.feature("X9")
def test_a_tool_that_only_reads_is_run_by_a_worker_each_time_in_a_new_process(
    deployment: Stack, key: str
) -> None:
    answers = [deployment.invoke("reads_with_it", key).json() for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["success", "success"]
    assert answers[0]["data"] != answers[1]["data"]


@pytest.mark.feature("X9")
def test_a_worker_says_at_its_start_what_it_lacks_and_a_call_says_it_again(
    deployment: Stack, key: str, tmp_path: Path
) -> None:
    said = "the secret NEVER_SET_KEY is not here"
    assert f"lacks_it can't be run here: {said}" in deployment.log("worker")
    answer = deployment.invoke("lacks_it", key, path=str(tmp_path / "ran"))
    ended = answer.json()
    assert (answer.status_code, ended["status"]) == (500, "killed")
    assert (ended["error_type"], ended["attempts"]) == ("SecretUnavailable", 0)
    assert ended["error"] == f"nothing was run: {said}"
    assert not (tmp_path / "ran").exists()
    assert deployment.get("ready", key).status_code == 200


@pytest.mark.feature("X9", "U4", "O3")
def test_however_tools_give_it_away_it_is_found_nowhere(
    deployment: Stack, key: str, browser: Any
) -> None:
    calls = [deployment.invoke(name, key) for name in ("gives_it_away", "fails_with_it")]
    assert [call.json()["status"] for call in calls] == ["success", "error"]
    for page in (*calls, *seen_over_rest(deployment, key, calls)):
        assert "REDACTED" in page.text
        assert shown(page.text) == []
    for page in seen_in_the_admin(deployment, browser, calls):
        assert shown(page) == []
    stored = deployment.python(EVERY_TABLE)
    assert "gives_it_away" in stored and "REDACTED" in stored
    assert shown(stored) == []
    assert shown(everything_below(deployment.folder)) == []
    if cache := deployment.environment.get("REDIS_URL"):
        assert shown(everything_in_redis(cache)) == []


def seen_over_rest(deployment: Stack, key: str, calls: list[Answer]) -> list[Answer]:
    """The same calls, asked for again."""
    where = [f"invocations/{call.json()['invocation_id']}" for call in calls]
    return [deployment.get(path, key) for path in (*where, "invocations", "audit")]


def seen_in_the_admin(deployment: Stack, browser: Any, calls: list[Answer]) -> Iterator[str]:
    """Pages of the calls and of the ledger's lines about them, and the metrics."""
    base = deployment.base_url
    listed = browser.get(f"{base}/admin/audit/event/", timeout=30)
    lines = re.findall(r"/admin/audit/event/[0-9a-f-]{36}/change/", listed.text)
    assert len(lines) > 2
    paths = [
        f"/admin/approvals/invocation/{call.json()['invocation_id']}/change/" for call in calls
    ]
    for path in ("/metrics", "/admin/approvals/invocation/", *paths, *lines[:10]):
        page = browser.get(f"{base}{path}", timeout=30)
        assert page.status_code == 200, path
        yield page.text


def everything_below(folder: Path) -> str:
    """Logs, the database on files with its journal, and the broker's messages."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"web.log", "worker.log", "beat.log"} <= {path.name for path in files}
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def everything_in_redis(url: str) -> str:
    """All keys and what they hold."""
    with redis.Redis.from_url(url) as client:
        return json.dumps([repr((name, client.dump(name))) for name in client.scan_iter()])
