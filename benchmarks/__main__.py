"""How fast a call is, beside a bare view and beside ToolRampart, in one run on one machine.

`python -m benchmarks [--rounds 5] [--seconds 3] [--only floor,read,…,queue,sandbox,ledger]`

Everything is started here: PostgreSQL, Redis, granian, worker and beat, uvicorn. The subjects are
loaded in turn, round after round, so that a noisy minute strikes them all; the medians over the
rounds are printed, and each figure's ratio to the floor of its own round.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import requests

from benchmarks import load, sandbox
from rampart.initialise import initialise
from tests import servers
from tests.stack import Stack, until

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PEERS_PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"
WEB_WORKERS, WEB_THREADS = 2, 8
BODY = json.dumps({"arguments": {"a": 1, "b": 2}}).encode()
PEERS_KEY = "trp_a-key-that-is-used-by-the-benchmark-alone"
AUTHENTICATION, QUEUE, SANDBOX, LEDGER = "authentication", "queue", "sandbox", "ledger"
"""What is measured without a server."""


@dataclass(slots=True)
class Subject:
    """One thing that is measured: where to send what, over how many connections."""

    name: str
    port: int
    path: str
    headers: dict[str, str]
    connections: int
    samples: list[load.Sample] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """One stretch of load."""
        message = load.request(self.path, BODY, self.headers)
        sample = load.run(self.port, message, self.connections, seconds, b'"sum":3')
        self.samples.append(sample)

    def median(self, percent: int) -> float:
        """Milliseconds: the median over the rounds of this percentile."""
        return statistics.median(sample.percentile(percent) for sample in self.samples)

    def per_second(self) -> float:
        return statistics.median(sample.per_second for sample in self.samples)

    def ratio_to(self, other: "Subject") -> float:
        """The median over the rounds of the ratio within a round."""
        pairs = zip(self.samples, other.samples, strict=True)
        return statistics.median(own.per_second / its.per_second for own, its in pairs)


def main() -> None:
    """Start all, measure in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--events", type=int, default=1_000_000, help="of the ledger")
    parser.add_argument("--only", default="", help="a comma list of subjects")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    if not only or only - {AUTHENTICATION, QUEUE, SANDBOX, LEDGER}:
        calls(only, options.rounds, options.seconds)
    if not only or AUTHENTICATION in only:
        inside("authentication", f"{options.rounds}, {str(PEERS_PYTHON)!r}")
    if not only or QUEUE in only:
        inside("queue")
    if not only or SANDBOX in only:
        sandbox.main(options.rounds, str(PEERS_PYTHON))
    if LEDGER in only:  # It takes longer than all others together, so it is asked for by name.
        inside("ledger", f"{options.rounds}, {options.events}")


def calls(only: set[str], rounds: int, seconds: float) -> None:
    """Whole calls, over HTTP."""
    with started(only) as subjects:
        for subject in subjects:  # Once for nothing: caches fill, pools open.
            subject.measure(1.0)
            subject.samples.clear()
        for number in range(rounds):
            for subject in subjects:
                subject.measure(seconds)
            print(f"round {number + 1}: {_line(subjects)}", file=sys.stderr, flush=True)
        report(subjects)


def inside(module: str, arguments: str = "") -> None:
    """One of the modules beside this one, in a process that holds Rampart's Django."""
    with (
        servers.postgres() as (_, database),
        tempfile.TemporaryDirectory(prefix="rampart-inside-") as folder,
    ):
        initialise(Path(folder))
        code = (
            "import django; django.setup()\n"
            f"from benchmarks import {module}\n"
            f"{module}.main({arguments})"
        )
        environment = {"DATABASE_URL": database, "RAMPART_VAR": folder}
        environment |= {"DJANGO_SETTINGS_MODULE": "rampart.settings"}
        subprocess.run([sys.executable, "-c", code], env=_env(environment), cwd=ROOT, check=True)


def _line(subjects: list[Subject]) -> str:
    return ", ".join(
        f"{subject.name} {subject.samples[-1].per_second:.0f}/s" for subject in subjects
    )


def report(subjects: list[Subject]) -> None:
    """The table, in Markdown."""
    print("| subject | connections | per second | of the floor | p50 ms | p95 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for subject in subjects:
        cells = [
            subject.name,
            str(subject.connections),
            f"{subject.per_second():.1f}",
            f"{subject.ratio_to(subjects[0]):.2f}",
            *(f"{subject.median(percent):.1f}" for percent in (50, 95, 99)),
        ]
        print(f"| {' | '.join(cells)} |")


@contextlib.contextmanager
def started(only: set[str]) -> Iterator[list[Subject]]:
    """All servers, each with a database of its own; yields what is to be measured."""
    with contextlib.ExitStack() as stack:
        _, database = stack.enter_context(servers.postgres())
        _, redis = stack.enter_context(servers.redis_server())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rampart-floor-"))
        initialise(Path(folder))
        subjects = [
            stack.enter_context(
                floor(_new_database(database, name.replace("-", "_")), name, folder)
            )
            for name in ("floor", "floor-in-rampart")
            if name == "floor" or not only or name in only
        ]
        rampart = {"read", "isolated"}
        if not only or only & rampart:
            subjects += stack.enter_context(ours(_new_database(database, "rampart"), redis))
        for keys in ("hashed", "plaintext"):
            if not only or f"peer-{keys}" in only:
                url = _new_database(database, f"peer_{keys}")
                subjects += stack.enter_context(theirs(url, keys))
        yield [s for s in subjects if not only or s.name in only | {"floor"}]


def _new_database(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server.rpartition('/')[0]}/{name}"


@contextlib.contextmanager
def floor(database: str, name: str, folder: str) -> Iterator[Subject]:
    """(a) A bare view in the same stack: one SELECT by key, one INSERT.

    `floor-in-rampart` is the same view behind Rampart's middleware and connection settings.
    """
    port, environment = servers.free_port(), {"DATABASE_URL": database, "RAMPART_VAR": folder}
    module = {"floor": "settings", "floor-in-rampart": "settings_in_rampart"}[name]
    environment |= {"DJANGO_SETTINGS_MODULE": f"benchmarks.floor.{module}"}
    prepare = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('migrate', run_syncdb=True, verbosity=0)\n"
        "from benchmarks.floor.models import Key; Key.objects.create(text='the-floor')"
    )
    subprocess.run([sys.executable, "-c", prepare], env=_env(environment), cwd=ROOT, check=True)
    command = [
        str(BIN / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS),
        "--log-level", "error", "benchmarks.floor.wsgi:application",
    ]  # fmt: skip
    with _process(command, environment):
        subject = Subject(name, port, "/call", {"X-Key": "the-floor"}, 8)
        until(lambda: _answers(subject), 30)
        yield subject


@contextlib.contextmanager
def ours(database: str, redis: str) -> Iterator[list[Subject]]:
    """(b) and (c) Rampart, as `make run` starts it."""
    with tempfile.TemporaryDirectory(prefix="rampart-bench-") as folder:
        stack = Stack(
            Path(folder), DATABASE_URL=database, REDIS_URL=redis,
            RAMPART_WEB_WORKERS=str(WEB_WORKERS), RAMPART_WEB_THREADS=str(WEB_THREADS),
            RAMPART_TOOL_MODULES="benchmarks.measured_tools",
        )  # fmt: skip
        try:
            stack.prepare()
            stack.start()
            key = stack.new_key("bench", ("bench.read", "bench.write"))
            headers = {"Authorization": f"Bearer {key}"}
            yield [
                Subject("read", stack.port, "/api/v1/tools/bench.add/invoke", headers, 8),
                Subject(
                    "isolated", stack.port, "/api/v1/tools/bench.add_isolated/invoke", headers, 2
                ),
            ]
        finally:
            stack.stop()


@contextlib.contextmanager
def theirs(database: str, keys: str) -> Iterator[list[Subject]]:
    """(d) ToolRampart 0.2.0 with the same tools on uvicorn, two workers."""
    port = servers.free_port()
    command = [
        str(PEERS_PYTHON), "-m", "uvicorn", "benchmarks.their_app:app", "--host", "127.0.0.1",
        "--port", str(port), "--workers", str(WEB_WORKERS), "--log-level", "warning",
    ]  # fmt: skip
    environment = {"DATABASE_URL": database, "BENCH_KEY": PEERS_KEY, "BENCH_KEYS": keys}
    with _process(command, environment):
        headers = {"Authorization": f"Bearer {PEERS_KEY}"}
        subjects = [
            Subject(f"peer-{keys}", port, "/tools/bench.add/invoke", headers, 8),
            Subject(f"peer-{keys}-isolated", port, "/tools/bench.add_isolated/invoke", headers, 2),
        ]
        until(lambda: _answers(subjects[0]), 60)
        yield subjects


def _answers(subject: Subject) -> bool:
    try:
        url = f"http://127.0.0.1:{subject.port}{subject.path}"
        headers = subject.headers | {"Content-Type": "application/json"}
        return requests.post(url, BODY, headers=headers, timeout=20).ok
    except requests.ConnectionError:
        return False


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=_env(environment), cwd=ROOT, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _env(environment: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)} | environment


if __name__ == "__main__":
    main()
