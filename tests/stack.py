"""The real thing: web, worker and beat as processes, on stores of their own."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from rampart.initialise import initialise
from tests import servers
from tests.console import ROOT, Console

BIN = Path(sys.executable).parent
PROCESSES = {
    "web": [sys.executable, "manage.py", "serve"],
    "worker": [
        str(BIN / "celery"), "-A", "rampart", "worker", "-Q", "default,isolated,destructive",
        "--loglevel", "WARNING", "--concurrency", "2",
    ],
    "beat": [str(BIN / "celery"), "-A", "rampart", "beat", "--loglevel", "WARNING"],
}  # fmt: skip
SECONDS_TO_START = 40
Answer = requests.Response


_empty_databases: list[bytes] = []
"""The migrated SQLite database of this process's first deployment, with nothing in it."""


class Stack:
    """A running Rampart; every process can be killed and started by name."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = servers.free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.commands = dict(PROCESSES)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "PYTHONPATH")
            if name in os.environ
        } | {
            "RAMPART_VAR": str(folder),
            "RAMPART_PORT": str(self.port),
            "RAMPART_TOOL_MODULES": "tools.examples.demo,tests.kit_tools",
            **settings,
        }
        self.console = Console(self.environment)

    def prepare(self) -> None:
        """What `make run` does before it starts the processes."""
        initialise(self.folder)
        self._make_tables()
        self.manage("sync_tools")

    def _make_tables(self) -> None:
        """Migrate; the second deployment on SQLite gets a copy of what the first one made."""
        on_files = "DATABASE_URL" not in self.environment
        file = self.folder / "rampart.sqlite3"
        if on_files and _empty_databases:
            file.write_bytes(_empty_databases[0])
            return
        self.manage("migrate", "--verbosity", "0")
        if on_files:
            with contextlib.closing(sqlite3.connect(file)) as made:
                _empty_databases.append(made.serialize())

    def start(self, *names: str) -> None:
        """Start the named processes, or all; wait until the web answers."""
        for name in names or self.commands:
            self.launch(name)
        if not names or "web" in names:
            until(self.answers, SECONDS_TO_START, lambda: self.log("web"))

    def launch(self, name: str) -> None:
        """Start a process and wait for nothing."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name], cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process, SIGKILL to its whole group, and wait for it."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            send = os.killpg if how is signal.SIGKILL else os.kill
            send(process.pid, how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """Stop everything, gently."""
        self.console.close()
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM)

    def end(self) -> None:
        """End everything at once: nobody needs it any more."""
        self.console.close()
        for name in list(self.processes):
            self.kill(name)

    def log(self, name: str) -> str:
        """What a process has said."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def manage(self, *arguments: str, expect: int = 0, stdin: str | None = None) -> str:
        """Run a management command; returns its stdout."""
        done = self.console.manage(*arguments, stdin=stdin)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """Run a few lines inside the deployment's Django."""
        return self.manage("shell", "--verbosity", "0", "--command", code)

    def new_key(
        self, actor: str = "agent", scopes: tuple[str, ...] = ("*",), **options: str
    ) -> str:
        """A key of its own."""
        extra = [part for name, value in options.items() for part in (f"--{name}", value)]
        made = self.manage("create_key", "--json", "--actor", actor, "--scope", *scopes, *extra)
        return str(json.loads(made)["key"])

    def new_person(self, username: str, *permissions: str) -> str:
        """A staff member with these permissions (codenames); returns the password."""
        password = f"{username}-has-a-long-password"
        self.python(
            "from django.contrib.auth.models import User, Permission\n"
            f"u = User.objects.create_user({username!r}, password={password!r}, is_staff=True)\n"
            f"u.user_permissions.set(Permission.objects.filter(codename__in={permissions!r}))"
        )
        return password

    def signed_in(self, username: str, password: str) -> requests.Session:
        """A browser's session after the admin's login form."""
        return signed_in(self.base_url, username, password)

    def post(self, path: str, body: Any, key: str, **headers: str) -> Answer:
        """POST JSON to the API."""
        return requests.post(
            f"{self.base_url}/api/v1/{path}", json=body, timeout=90,
            headers={"Authorization": f"Bearer {key}", **headers},
        )  # fmt: skip

    def get(self, path: str, key: str) -> Answer:
        """GET from the API."""
        return requests.get(
            f"{self.base_url}/api/v1/{path}", timeout=90, headers={"Authorization": f"Bearer {key}"}
        )

    def invoke(self, tool: str, key: str, /, prefer: str = "", **arguments: Any) -> Answer:
        """Call a tool."""
        headers = {"Prefer": prefer} if prefer else {}
        return self.post(f"tools/{tool}/invoke", {"arguments": arguments}, key, **headers)

    def answers(self) -> bool:
        """Whether the web process answers."""
        try:
            return requests.get(f"{self.base_url}/api/v1/health", timeout=2).ok
        except (requests.ConnectionError, requests.Timeout):
            return False


def signed_in(base_url: str, username: str, password: str) -> requests.Session:
    """A browser's session after the admin's login form, and before the page it leads to."""
    session = requests.Session()
    session.get(f"{base_url}/admin/login/")
    form = {
        "username": username, "password": password, "next": "/admin/",
        "csrfmiddlewaretoken": session.cookies["csrftoken"],
    }  # fmt: skip
    answer = session.post(f"{base_url}/admin/login/", form, allow_redirects=False)
    assert "sessionid" in session.cookies, answer.text[:500]
    session.headers.update({"X-CSRFToken": session.cookies["csrftoken"], "Referer": base_url})
    return session


def until(
    condition: Callable[[], Any], seconds: float = 20, explain: Callable[[], str] = lambda: ""
) -> Any:
    """Wait for a condition; fail with an explanation when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {seconds} s\n{explain()}")
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Stack]:
    """A stack that is ended when it is over, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="rampart-stack-") as folder:
        stack = Stack(Path(folder), **settings)
        try:
            stack.prepare()
            stack.start()
            yield stack
        finally:
            stack.end()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The embedded default: SQLite and the filesystem broker."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def production_stack() -> Iterator[Stack]:
    """PostgreSQL and Redis, servers of its own."""
    with (
        servers.postgres() as (_, database),
        servers.redis_server() as (_, redis),
        running(DATABASE_URL=database, REDIS_URL=redis) as started,
    ):
        yield started
