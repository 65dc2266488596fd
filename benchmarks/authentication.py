"""What it takes to know a caller, and nothing else: beside one SHA-256, and beside ToolRampart.

One thread of one process that holds Rampart's Django, on a PostgreSQL with 100 000 keys, and one
process that holds ToolRampart. No server and no network but to the database.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.test import APIRequestFactory

from audit.models import local_now
from tools import identity, keys
from tools.identity import BadCredentials, identify
from tools.models import ApiKey

KEYS = 100_000
USED = 1_000
"""So many of them are asked for in turn where nothing is remembered."""
HERE = "127.0.0.1"
THEIR_NUMBERS = (1, 10, 100)

Act = Callable[[], object]
Timed = Callable[[], list[float]]


@dataclass(slots=True)
class Subject:
    """One way to know a caller; `timed` gives the seconds that some of them took."""

    name: str
    timed: Timed
    rounds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One stretch; what counts of it is the median."""
        self.rounds.append(statistics.median(self.timed()))

    def median(self) -> float:
        """Microseconds."""
        return statistics.median(self.rounds) * 1e6

    def ratio_to(self, other: "Subject") -> float:
        """The median over the rounds of the ratio within a round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(own / its for own, its in pairs)


def main(rounds: int, peers_python: str) -> None:
    """Fill the database, measure in turn, print the table."""
    texts = stored_keys()
    cold_is_one_query_on_the_index(texts[0])
    command = [peers_python, "-I", str(Path(__file__).with_name("their_keys.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as peer:
        subjects = [*ours(texts), *theirs(peer)]
        for subject in subjects:  # Once for nothing.
            subject.timed()
        for number in range(rounds):
            for subject in subjects:
                subject.measure()
            print(f"authentication: round {number + 1}", file=sys.stderr, flush=True)
        report(subjects)


def report(subjects: list[Subject]) -> None:
    """The table, in Markdown."""
    print("| subject | µs | times `sha256` |")
    print("|---|---|---|")
    for subject in subjects:
        figures = (subject.median(), subject.ratio_to(subjects[0]))
        print(f"| {subject.name} | {' | '.join(map(_figure, figures))} |")


def _figure(number: float) -> str:
    """With a decimal only where it tells something: `6.7`, `4 563 965`."""
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}".replace(",", " ")


def stored_keys() -> list[str]:
    """Store the keys; the texts of those that are asked for."""
    call_command("migrate", verbosity=0)
    owner = User.objects.create(username="owner")
    made = [keys.new_key() for _ in range(KEYS)]
    later = local_now() + timedelta(days=1)  # As last use, it is never written anew.
    for start in range(0, KEYS, USED):
        ApiKey.objects.bulk_create(
            ApiKey(
                prefix=new.prefix, digest=new.digest, actor="agent", owner=owner,
                scopes=["orders.read", "refunds.*"], last_used_at=later, expires_at=later,
            )
            for new in made[start : start + USED]
        )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tools_apikey")
    return [new.text for new in made[:USED]]


def cold_is_one_query_on_the_index(text: str) -> None:
    """What the figures for a key that is not remembered stand on."""
    identity.forget_all()
    with CaptureQueriesContext(connection) as queries:
        identify(text, HERE)
    (query,) = queries.captured_queries
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {query['sql']}".replace("%", "%%"))
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on tools_apikey" not in plan and "Index Scan" in plan, plan
    print(f"a key that is not remembered, among {KEYS}: one query\n{plan}", file=sys.stderr)


def ours(texts: list[str]) -> list[Subject]:
    """The floor, and Rampart with and without what it remembers."""
    text, known = texts[0], {sha256(text.encode()).digest(): text for text in texts}
    request = Request(
        APIRequestFactory().get("/api/v1/tools", headers={"Authorization": f"Bearer {text}"})
    )
    authenticator = api_settings.DEFAULT_AUTHENTICATION_CLASSES[0]()
    in_turn, strangers = cycle(texts), cycle([keys.new_key().text for _ in range(USED)])
    wrong = cycle([text[:15] + keys.new_key().text[15:] for text in texts])
    return [
        Subject("`sha256`", often(lambda: known[sha256(text.encode()).digest()])),
        Subject("`identify`, remembered", often(lambda: identify(text, HERE))),
        Subject("REST, remembered", often(lambda: authenticator.authenticate(request))),
        Subject("`identify`, not remembered", singly(lambda: identify(next(in_turn), HERE))),
        Subject("an unknown key", singly(lambda: refused(next(strangers)))),
        Subject("a wrong secret", singly(lambda: refused(next(wrong)))),
    ]


def refused(text: str) -> None:
    """Identify with a bad key."""
    try:
        identify(text, HERE)
    except BadCredentials:
        return
    raise AssertionError("it was let in")


def often(act: Act) -> Timed:
    """Twenty times the mean of a thousand: too short for the clock to take each."""

    def timed() -> list[float]:
        return [seconds(act, 1000) / 1000 for _ in range(20)]

    return timed


def singly(act: Act) -> Timed:
    """Three hundred, each on its own, with nothing remembered."""

    def timed() -> list[float]:
        taken = []
        for _ in range(300):
            identity.forget_all()
            taken.append(seconds(act, 1))
        return taken

    return timed


def seconds(act: Act, times: int) -> float:
    """What it takes to do something so many times."""
    begun = time.perf_counter()
    for _ in range(times):
        act()
    return time.perf_counter() - begun


def theirs(peer: "subprocess.Popen[str]") -> list[Subject]:
    """ToolRampart with hashed keys: the good one stands last, or there is none."""
    return [
        Subject(f"ToolRampart, {count} hashed, {which} key", asked(peer, count, which))
        for count in THEIR_NUMBERS
        for which in ("good", "bad")
    ]


def asked(peer: "subprocess.Popen[str]", count: int, which: str) -> Timed:
    """The other process does it."""

    def timed() -> list[float]:
        assert peer.stdin and peer.stdout
        peer.stdin.write(json.dumps([count, which, max(1, 10 // count)]) + "\n")
        peer.stdin.flush()
        return list(json.loads(peer.stdout.readline()))

    return timed
