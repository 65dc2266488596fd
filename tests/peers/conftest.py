"""ToolRampart's client, in an environment of its own, and its examples as tools of ours."""

import contextlib
import json
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import servers
from tests.stack import ROOT, Stack, running
from tests.tools.conftest import bench

__all__ = ["bench"]

IMPORT = "from toolrampart import"
"""The line that changes; a module without it holds no tool."""
REVIEWER = ("decide_approval", "view_approval", "view_invocation", "view_event")


@pytest.fixture(scope="session")
def their_folder() -> Path:
    """Where `make` keeps their package; made now if a test is run by hand."""
    subprocess.run(["make", "--silent", ".venv/peers.stamp"], cwd=ROOT, check=True, timeout=170)
    return ROOT / ".venv" / "peers"


class TheirClient:
    """A process that holds their client and does with it what it is told."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).with_name("their_client.py")
        self.process = subprocess.Popen(
            [folder / "bin" / "python", "-I", script], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, options: dict[str, Any], method: str, *arguments: Any, **named: Any) -> Any:
        """One call of the client; what it returned or raised."""
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in and pipe_out
        pipe_in.write(json.dumps([options, method, arguments, named]) + "\n")
        pipe_in.flush()
        return json.loads(pipe_out.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=20)


@pytest.fixture(scope="session")
def their_client(their_folder: Path) -> Iterator[TheirClient]:
    """The process with their client, for all tests."""
    client = TheirClient(their_folder)
    yield client
    client.close()


@dataclass
class User:
    """Somebody who has used ToolRampart so far, and now names our address and a key of ours."""

    client: TheirClient
    base_url: str
    actor: str
    key: str

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What their client returns or raises."""
        return self.ask_as({"api_key": self.key}, method, *arguments, **named)

    def ask_as(self, options: dict[str, Any], method: str, *arguments: Any, **named: Any) -> Any:
        """The same of a client that is made with these options."""
        return self.client.ask({"base_url": self.base_url, **options}, method, *arguments, **named)

    def get(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What their client returns."""
        made = self.ask(method, *arguments, **named)
        assert "returned" in made, made
        return made["returned"]

    def invoke(self, tool: str, arguments: dict[str, Any] | None = None, **named: Any) -> Any:
        """A result, as their client reads it."""
        return self.get("invoke", tool, arguments, **named)


MakeUser = Callable[..., User]


def users_of(client: TheirClient, stack: Stack) -> MakeUser:
    """Makes users of a deployment, each under a name that nobody else has."""

    def make(*scopes: str) -> User:
        actor = f"mover-{time.monotonic_ns()}"
        key = stack.new_key(actor, scopes or ("*",))
        return User(client, f"{stack.base_url}/api/v1", actor, key)

    return make


def reviewer_of(stack: Stack) -> requests.Session:
    """A person who may decide, signed in with a browser's session."""
    name = f"reviewer{time.monotonic_ns()}"
    return stack.signed_in(name, stack.new_person(name, *REVIEWER))


def decide(stack: Stack, person: requests.Session, approval_id: str, verb: str = "approve") -> None:
    """Decide a held call, as the person."""
    url = f"{stack.base_url}/api/v1/approvals/{approval_id}/{verb}"
    answer = person.post(url, json={"reason_to_agent": "because"}, timeout=30)
    assert answer.status_code == 200, answer.text


def moved_examples(source: Path, into: Path) -> list[str]:
    """Write their example modules as their authors did, but for the import; returns the names."""
    names = []
    with tarfile.open(source) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            if path.parent.name != "examples" or path.suffix != ".py":
                continue
            file = archive.extractfile(member)
            assert file is not None
            text = file.read().decode()
            if IMPORT in text:
                (into / path.name).write_text(text.replace(IMPORT, "from tools import"))
                names.append(path.stem)
    return sorted(names)


class GitHub(ThreadingHTTPServer):
    """Takes issues in GitHub's place, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Issues)
        self.issues: list[dict[str, Any]] = []


class _Issues(BaseHTTPRequestHandler):
    server: GitHub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.issues.append(
            {"path": self.path, "authorization": self.headers["Authorization"], **body}
        )
        number = len(self.server.issues)
        answer = {**body, "number": number, "html_url": f"https://here{self.path}/{number}"}
        self.send_response(201)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def github() -> Iterator[GitHub]:
    """A GitHub on this machine."""
    with GitHub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass
class Moved:
    """A deployment that serves their examples as its tools, on production's stores."""

    stack: Stack
    examples: list[str]
    postgres: servers.Server
    database_url: str


@pytest.fixture(scope="session")
def moved(
    their_folder: Path, github: GitHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Moved]:
    """What a user of ToolRampart has after moving: the same modules, behind our API."""
    folder = tmp_path_factory.mktemp("examples")
    (source,) = their_folder.glob("toolrampart-*.tar.gz")
    examples = moved_examples(source, folder)
    _fill(folder / "orders.db")
    here = {"database": str(folder / "orders.db"), "port": github.server_address[1]}
    (folder / "here.json").write_text(json.dumps(here))
    modules = ",".join([*examples, "tests.peers.surroundings", "tests.peers.calendar_tools"])
    with (
        servers.postgres() as (postgres, database),
        servers.redis_server() as (_, redis),
        running(
            DATABASE_URL=database, REDIS_URL=redis, PYTHONPATH=str(folder),
            RAMPART_TOOL_MODULES=modules, GITHUB_TOKEN="ghp_of-the-server-itself",
        ) as stack,
    ):  # fmt: skip
        yield Moved(stack, examples, postgres, database)


def _fill(path: Path) -> None:
    """A table for the read-only query."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("create table orders (id integer, total real)")
        database.executemany("insert into orders values (?, ?)", [(1, 10.5), (2, 99.0)])
