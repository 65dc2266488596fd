"""The ledger where much is in it: sealing, verifying, exporting, looking, pruning, and what
sealing costs those who call.

One process that holds Rampart's Django, on a PostgreSQL that it fills; each subject stands beside
its floor, which is the least that the same bytes could cost.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from audit import sealing
from audit.canonical import rfc3339
from audit.models import Event, Unsealed
from audit.records import Stored
from audit.verification import verify
from benchmarks import load, past_events
from tests import servers
from tests.stack import BIN, ROOT, Stack, until
from tools.key_cabinet import create_key

LITTLE = 1000
TIMES = 20
LONGEST_PAGE = 100
"""Milliseconds."""
CONNECTIONS = 8
BODY = json.dumps({"arguments": {"a": 1, "b": 2}}).encode()
WITHOUT_SEALS = [
    str(BIN / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--workers", "2",
    "--blocking-threads", "8", "--log-level", "error", "benchmarks.without_seals:application",
]  # fmt: skip
"""The web process as `serve` becomes it, but for its application."""
PAGES = {
    "newest": "",
    "one actor": "actor=agent-7",
    "one tool": "tool=tool_7",
    "one kind": "event=invocation%3Aheld",
    "a rare status": "status=denied",
    "one call": "invocation={call}",
    "one request": "request_id={request}",
    "a day": "since={since}&until={until}",
    "an actor and a tool": "actor=agent-7&tool=tool_7",
    "nobody's": "actor=nobody",
}


class Table:
    """What was found, in Markdown, with its aim where there is one."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, str]] = []

    def add(self, subject: str, found: str, aim: str = "", is_met: bool | None = None) -> None:
        verdict = {True: "met", False: "**missed**", None: ""}[is_met]
        self._rows.append((subject, found, aim, verdict))
        print(f"ledger: {subject}: {found}", file=sys.stderr, flush=True)

    def print(self) -> None:
        print("| subject | found | aim | |")
        print("|---|---|---|---|")
        for row in self._rows:
            print(f"| {' | '.join(row)} |")


def main(rounds: int, events: int) -> None:
    """Fill, measure, print."""
    table = Table()
    call_command("migrate", verbosity=0)
    client, headers = readers()
    past_events.write(LITTLE)
    sealing.seal()
    little = pages(client, headers)
    begun = time.perf_counter()
    past_events.write(events - LITTLE, seed=8)
    print(f"ledger: {events} written in {_since(begun):.0f} s", file=sys.stderr, flush=True)
    seal_all(table, events - LITTLE)
    look(table, little, pages(client, headers), events)
    verify_all(table)
    export_all(table)
    prune_all(table)
    calls(table, rounds)
    table.print()


def _since(begun: float) -> float:
    return time.perf_counter() - begun


# Sealing.


def seal_all(table: Table, count: int) -> None:
    """Beside a COPY of the same leaves, in transactions of the same size."""
    begun = time.perf_counter()
    done = sealing.seal()
    taken = _since(begun)
    assert done.events >= count
    floor = _leaves_by_copy()
    found = f"{done.events / taken:.0f} events/s; COPY of the leaves {done.events / floor:.0f}/s"
    table.add("sealing", f"{found}, {taken / floor:.1f} times as long")


def _leaves_by_copy() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT index, event_id, hash FROM audit_leaf ORDER BY index")
        rows = cursor.fetchall()
        cursor.execute("CREATE TABLE floor (LIKE audit_leaf INCLUDING ALL)")
    size = sealing.BATCH["postgresql"]
    begun = time.perf_counter()
    for first in range(0, len(rows), size):
        with connection.cursor() as cursor, cursor.copy("COPY floor FROM STDIN") as copy:
            for row in rows[first : first + size]:
                copy.write_row(row)
    taken = _since(begun)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE floor")
    return taken


# Verifying and exporting.


def verify_all(table: Table) -> None:
    """Beside a reading of all columns with one SHA-256 over each row."""
    begun = time.perf_counter()
    report = verify()
    taken = _since(begun)
    assert report.finding is None, report.finding
    floor = _read_and_hash()
    rate = report.events / taken
    found = f"{taken:.1f} s, {rate:.0f} events/s; reading and hashing {floor:.1f} s"
    table.add("verifying", f"{found}, {taken / floor:.1f} times as long")


def _read_and_hash() -> float:
    begun = time.perf_counter()
    with transaction.atomic(), connection.connection.cursor("floor") as cursor:
        cursor.itersize = 2000
        cursor.execute(f"SELECT {', '.join(Stored._fields)} FROM audit_event ORDER BY id")
        for row in cursor:
            hashlib.sha256(repr(row).encode()).digest()
    return _since(begun)


def export_all(table: Table) -> None:
    """By the command, whose own peak of memory is taken, beside COPY TO STDOUT."""
    with tempfile.TemporaryDirectory(prefix="rampart-export-") as folder:
        for form in ("jsonl", "csv", "ocsf"):
            file = Path(folder) / form
            taken, peak = command("export_audit", "--format", form, "--output", str(file))
            floor = _copy_out(Path(folder) / "floor")
            found = f"{taken:.1f} s, {file.stat().st_size / 1e6:.0f} MB, {peak:.0f} MB of memory"
            table.add(f"export, {form}", f"{found}; COPY {floor:.1f} s")


WITH_ITS_PEAK = """
import atexit, pathlib, runpy, sys
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(next(l for l in status.open() if l.startswith("VmHWM")).split()[1]))
sys.argv[0] = "manage.py"
runpy.run_path("manage.py", run_name="__main__")
"""


def command(*words: str) -> tuple[float, float]:
    """Seconds that a command takes, and the most megabytes that it has.

    The command says so itself: what `wait4` tells of a child has this process's peak in it.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WITH_ITS_PEAK, *words],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return _since(begun), int(done.stdout.split()[-1]) / 1024


def _copy_out(file: Path) -> float:
    begun = time.perf_counter()
    connection.ensure_connection()
    with (
        file.open("wb") as out,
        connection.connection.cursor() as cursor,
        cursor.copy("COPY audit_event TO STDOUT") as copy,
    ):
        for piece in copy:
            out.write(piece)
    return _since(begun)


# Looking.

Taken = dict[tuple[str, str], list[float]]
"""Milliseconds, by the kind of page and what was asked for."""


def readers() -> tuple[Client, dict[str, str]]:
    """The browser of somebody who may read all, and a key that may."""
    person = User.objects.create_superuser("rosa")
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(person)
    _, key = create_key(actor="auditor", scopes=["audit.read_all"], owner=person, by="bench")
    return client, {"authorization": f"Bearer {key}", "host": "127.0.0.1"}


def pages(client: Client, headers: dict[str, str]) -> Taken:
    """Each page some times, in the admin and over REST; the first time is for nothing."""
    middle = Event.objects.filter(request_id__startswith="0000").order_by("id")[LITTLE // 2]
    since = middle.ended_at
    known = {
        "call": middle.invocation_id,
        "request": middle.request_id,
        "since": rfc3339(since),
        "until": rfc3339(since + timedelta(days=1)),
    }
    taken: Taken = {}
    for name, query in PAGES.items():
        words = query.format(**known)
        for kind, address, sent in (
            ("admin", reverse("admin:audit_event_changelist"), {}),
            ("REST", "/api/v1/audit", headers),
        ):
            asked = Client(headers=sent) if sent else client
            taken[kind, name] = [_page(asked, f"{address}?{words}") for _ in range(TIMES + 1)][1:]
    return taken


def _page(client: Client, address: str) -> float:
    begun = time.perf_counter()
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code)
    return _since(begun) * 1000


def look(table: Table, little: Taken, much: Taken, events: int) -> None:
    """The least is what a page takes when nothing comes between: noise only ever adds."""
    for (kind, name), taken in much.items():
        median, slow = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        found = f"p50 {median:.0f} ms, p95 {slow:.0f}, least {min(taken):.0f}"
        before = f"with {LITTLE} events p50 {statistics.median(little[kind, name]):.0f}"
        before += f", least {min(little[kind, name]):.0f}"
        aim, is_met = f"{LONGEST_PAGE} ms", median <= LONGEST_PAGE
        table.add(f"{kind}, {name}, {events} events", f"{found}; {before}", aim, is_met)


# Pruning, and calls beside it.


def prune_all(table: Table) -> None:
    """Everything, while a server answers read-only calls."""
    due = Event.objects.count()
    with serving("web") as stack:
        message = _message(stack)
        _load(stack, message)  # Once for nothing.
        before = _load(stack, message)
        ended = threading.Event()
        taken: list[float] = []

        def prune() -> None:
            taken.append(command("prune", "--older-than", "1h", "--json")[0])
            ended.set()

        pruning = threading.Thread(target=prune)
        pruning.start()
        beside = [_load(stack, message)]
        while not ended.is_set():
            beside.append(_load(stack, message))
        pruning.join()
    found = f"{taken[0]:.0f} s for {due} events, {due / taken[0]:.0f}/s, beside a loaded server"
    table.add("pruning", found)
    during = statistics.median(beside)
    found = f"{during:.0f} a second; {before:.0f} before, {during / before:.2f} of that"
    table.add("calls while pruning", found)


def calls(table: Table, rounds: int) -> None:
    """Read-only calls as they are, while beat seals, and without the row that waits for it."""
    with serving("web") as usual, serving("web", web=WITHOUT_SEALS) as bare:
        messages = {stack: _message(stack) for stack in (usual, bare)}
        for stack, message in messages.items():  # Once for nothing.
            _load(stack, message)
        alone, sealed, without = [], [], []
        for _ in range(rounds):
            without.append(_load(bare, messages[bare]))
            alone.append(_load(usual, messages[usual]))
            usual.start("beat")
            until(lambda: Unsealed.objects.count() < sealing.BATCH["postgresql"], 120)
            sealed.append(_load(usual, messages[usual]))
            usual.kill("beat")
    for name, found, floor in (
        ("calls while beat seals", sealed, alone),
        ("calls that note what waits for its seal", alone, without),
    ):
        ratio = statistics.median(one / other for one, other in zip(found, floor, strict=True))
        rates = f"{statistics.median(found):.0f} a second; {statistics.median(floor):.0f} without"
        table.add(name, f"{rates}, {ratio:.2f} of that")


@contextmanager
def serving(*names: str, web: list[str] | None = None) -> Iterator[Stack]:
    """These processes of Rampart, on this database and a Redis of their own."""
    with (
        servers.redis_server() as (_, redis),
        tempfile.TemporaryDirectory(prefix="rampart-bench-") as folder,
    ):
        (Path(folder) / "secrets.env").write_text(
            (settings.RAMPART_VAR / "secrets.env").read_text()
        )
        stack = Stack(
            Path(folder), DATABASE_URL=_url(), REDIS_URL=redis,
            RAMPART_WEB_WORKERS="2", RAMPART_WEB_THREADS="8",
            RAMPART_TOOL_MODULES="benchmarks.measured_tools",
        )  # fmt: skip
        if web:
            stack.commands["web"] = [*web, "--port", str(stack.port)]
        try:
            stack.prepare()
            stack.start(*names)
            yield stack
        finally:
            stack.stop()


def _url() -> str:
    given = settings.DATABASES["default"]
    return f"postgres://{given['USER']}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


def _message(stack: Stack) -> bytes:
    key = stack.new_key("bench", ("bench.read",))
    headers = {"Authorization": f"Bearer {key}"}
    return load.request("/api/v1/tools/bench.add/invoke", BODY, headers)


def _load(stack: Stack, message: bytes, seconds: float = 3.0) -> float:
    """Calls a second in one stretch."""
    return load.run(stack.port, message, CONNECTIONS, seconds, b'"sum":3').per_second
