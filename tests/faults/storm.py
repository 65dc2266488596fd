"""One fault run: a deployment is started, used, broken, left in peace, and read."""

import contextlib
import json
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests import servers
from tests.faults import stories, traits
from tests.faults.breakage import Breaker, Stores
from tests.faults.checker import Finding, check, story
from tests.faults.clients import Agent, Desk, Office
from tests.faults.journal import Journal
from tests.faults.stories import World
from tests.stack import PROCESSES, Stack

STORES = ("postgres", "embedded")
AGENTS = ("agent-1", "agent-2", "agent-3")
PEOPLE = ("ann", "bob", "cem")
POOL_CHILDREN = "4"
OPEN = "SELECT count(*) FROM approvals_invocation WHERE status IN ('queued', 'running')"


@dataclass(frozen=True)
class Plan:
    """How long, on what, and how hard."""

    stores: str
    seconds: float
    seed: str
    ttl: str
    threads: int = 6
    pause: float = 0.5
    """The longest that a client rests between two requests."""
    between: tuple[float, float] = (0.3, 1.5)
    """Seconds from one fault to the next."""
    quiet: float = 150.0
    """The longest that all is waited for: messages are sent again ever more rarely."""

    repeats: int = 150
    """How many calls are asked for again in the end."""


SHORT = {
    "seconds": 12.0, "between": (0.1, 0.7), "pause": 0.3, "ttl": "20s", "quiet": 60.0,
    "repeats": 40,
}  # fmt: skip
"""The short form, which the tests run."""


@dataclass(frozen=True)
class Result:
    """What a run has shown."""

    plan: Plan
    world: World
    findings: list[Finding]
    seconds_to_quiet: float
    logs: str

    def tell(self) -> str:
        """The seed, each finding, and the story of the first one of each rule."""
        lines = [f"seed {self.plan.seed} on {self.plan.stores}: {len(self.findings)} finding(s)"]
        told: Counter[str] = Counter()
        for finding in self.findings:
            told[finding.rule] += 1
            if told[finding.rule] <= 5:
                lines.append(f"{finding.rule}: {finding.subject}: {finding.text}")
            if told[finding.rule] == 1:
                lines.append(story(self.world, finding.subject))
        return "\n".join(lines)


def run(plan: Plan, keep: Path | None = None) -> Result:
    """One whole run, in a folder of its own; `keep` has the logs copied there."""
    with _stores(plan.stores) as stores, tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return _Run(plan, stores, Path(folder)).whole(keep)


@contextlib.contextmanager
def _stores(name: str) -> Iterator[tuple[Stores, dict[str, str]]]:
    """The servers, and the settings that name them."""
    if name == "embedded":
        yield Stores(), {}
        return
    with servers.postgres() as (postgres, database), servers.redis_server() as (redis, url):
        settings = {"DATABASE_URL": database, "REDIS_URL": url}
        yield Stores(postgres, redis, url), settings


class _Run:
    def __init__(self, plan: Plan, stores: tuple[Stores, dict[str, str]], folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.stores, settings = stores
        self.stack = Stack(
            folder, RAMPART_TOOL_MODULES=traits.MODULE, RAMPART_APPROVAL_TTL=plan.ttl,
            RAMPART_WEB_THREADS="16", RAMPART_SYNC_WAIT_SECONDS="4", **settings,
        )  # fmt: skip
        worker = PROCESSES["worker"]
        self.stack.commands["worker"] = [*worker[:-1], POOL_CHILDREN]
        self.database = settings.get("DATABASE_URL", "")
        self.journal = Journal(folder / "journal")
        self.office = Office(self.stack.base_url, self.journal, folder / "effects")
        self.breaker = Breaker(self.stack, self.stores, self.office, f"{plan.seed} breaker")

    def whole(self, keep: Path | None) -> Result:
        """From the first process to the last."""
        self.stack.prepare()
        try:
            self.stack.start()
            agents, desk = self._people()
            self._warm(agents[0])
            self._storm(agents, desk)
            seconds = self._quiet()
            self._repeat(agents)
            self._quiet()
            world = self._read()
        finally:
            self.breaker.mend()
            self.stack.stop()
            self.journal.close()
            if keep:
                self._keep(keep)
        self._look_for_leftovers(world)
        logs = "\n".join(self.stack.log(name) for name in PROCESSES)
        return Result(self.plan, world, check(world), seconds, logs)

    def _people(self) -> tuple[list[Agent], Desk]:
        made = json.loads(self.stack.python(_CAST.format(agents=AGENTS, people=PEOPLE)))
        agents = [
            Agent(name, made[name], self.office, f"{self.plan.seed} {number}", self.plan.pause)
            for number, name in enumerate(list(AGENTS) * (self.plan.threads // len(AGENTS)))
        ]
        sessions = {name: self.stack.signed_in(name, f"{name}-has-a-password") for name in PEOPLE}
        return agents, Desk(self.office, sessions, agents[0], f"{self.plan.seed} desk")

    def _warm(self, agent: Agent) -> None:
        """Until a call has gone all the way: what has not begun to work can't be broken."""
        self.office.accepted.append(agent.first())
        self._quiet()

    def _storm(self, agents: list[Agent], desk: Desk) -> None:
        """Everybody works, and everything breaks."""
        threads = [threading.Thread(target=one.work) for one in (*agents, desk)]
        for thread in threads:
            thread.start()
        try:
            self.breaker.work(self.plan.seconds, self.plan.between)
        finally:
            self.office.over.set()
            for thread in threads:
                thread.join()
            self.breaker.mend()
            for session in desk.people.values():
                session.close()

    def _quiet(self) -> float:
        """Until every call has ended and no message waits, but not for ever; how long it took."""
        begun, calm = time.monotonic(), 0
        pause = threading.Event()
        while calm < 3 and time.monotonic() < begun + self.plan.quiet:
            self.breaker.tend()
            calm = calm + 1 if self._is_quiet() else 0
            pause.wait(0.25)
        return time.monotonic() - begun

    def _is_quiet(self) -> bool:
        if not self.stack.answers():
            return False
        if self.database:
            try:
                with psycopg.connect(self.database) as connection:
                    counted = connection.execute(OPEN).fetchone()
            except psycopg.OperationalError:  # It recovers from the last blow.
                return False
        else:
            path = self.folder / "rampart.sqlite3"
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as lite:
                counted = lite.execute(OPEN).fetchone()
        return counted == (0,) and self.breaker.waiting() == 0

    def _repeat(self, agents: list[Agent]) -> None:
        """Ask again for what carries a key, now that all has ended; the unanswered first."""
        asks, _ = stories.read_journal(self.journal.path)
        unanswered = {ask.ticket for ask in asks if ask.verb == "invoke" and ask.answer is None}
        calls = sorted(self.office.keyed, key=lambda call: call["ticket"] not in unanswered)
        by_name = {agent.name: agent for agent in agents}
        for call in calls[: self.plan.repeats]:
            by_name[call["who"]].call(call, "respond-async")

    def _read(self) -> World:
        path = self.folder / "records.json"
        self.stack.python(f"from tests.faults import records; records.write({str(path)!r})")
        rows, lines = stories.read_records(path)
        asks, breaks = stories.read_journal(self.journal.path)
        effects = stories.read_effects(self.office.effects)
        now = time.time()
        ledger = self.stack.manage("verify_audit").strip()
        return World(asks, rows, lines, effects, breaks, now, ledger)

    def _look_for_leftovers(self, world: World) -> None:
        """Processes, and messages; a hidden file is one whose writer died, and is never read."""
        messages = self.folder / "broker" / "messages"
        world.files += [str(path.relative_to(self.folder)) for path in messages.glob("[!.]*")]
        pids = {effect.pid for effect in world.effects}
        world.processes += self.breaker.census.alive(pids)

    def _keep(self, keep: Path) -> None:
        keep.mkdir(parents=True, exist_ok=True)
        for name in ("journal", "effects", "records.json", *(f"{n}.log" for n in PROCESSES)):
            if (path := self.folder / name).exists():
                (keep / name).write_bytes(path.read_bytes())


_CAST = """
import json
from django.contrib.auth.models import Permission, User
from tools.key_cabinet import create_key
made = {{}}
for name in {agents!r}:
    made[name] = create_key(actor=name, scopes=("faults.*",), by="faults")[1]
for name in {people!r}:
    person = User.objects.create_user(name, password=name + "-has-a-password", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
print(json.dumps(made))
"""
