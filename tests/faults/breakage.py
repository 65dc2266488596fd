"""What is done to the deployment while it works: processes killed, stores restarted, messages lost.

One thread does one thing after another; what it took down comes back a little later, as under a
service manager. A process that ends by itself is started again too, and that is noted.
"""

import contextlib
import json
import os
import random
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from celery import Celery

import rampart.file_broker  # noqa: F401 - its transport is named below
from tests.faults import limbs
from tests.faults.clients import Office
from tests.servers import Server
from tests.stack import Stack

QUEUES = ("default", "isolated", "destructive")
LONGER_THAN_A_LEASE = 17.0
ON_ALL_STORES = {
    "web": 2, "web worker": 1, "worker": 3, "worker main": 2, "pool child": 6, "beat": 3,
    "zygote": 3, "keeper": 3, "tool": 6, "freeze": 2, "drop": 4, "double": 4, "echo": 4,
}  # fmt: skip
ON_PRODUCTION_STORES = {
    "redis killed": 3, "redis restarted": 2,
    "postgres killed": 3, "postgres restarted": 2, "backend killed": 2,
}  # fmt: skip
LOSES_REDIS = ("redis killed", "redis restarted")


@dataclass(frozen=True)
class Stores:
    """The servers below a deployment; none for the embedded default."""

    postgres: Server | None = None
    redis: Server | None = None
    redis_url: str = ""


class Breaker:
    """Breaks the deployment and mends it again."""

    def __init__(self, stack: Stack, stores: Stores, office: Office, seed: str) -> None:
        self.stack, self.stores, self.office = stack, stores, office
        self.dice = random.Random(seed)
        self.census = limbs.Census(stack)
        self.frozen: list[psutil.Process] = []
        self.repairs: list[tuple[float, str, Callable[[], None]]] = []
        self.weights = ON_ALL_STORES | (ON_PRODUCTION_STORES if stores.postgres else {})
        self.verbs: dict[str, Callable[[], bool]] = {
            "web": lambda: self._kill_group("web", 1),
            "web worker": lambda: self._kill_one("fork", "web"),
            "worker": lambda: self._kill_group("worker", 3),
            "worker main": self._behead_worker,
            "pool child": lambda: self._kill_one("fork", "worker"),
            "beat": lambda: self._kill_group("beat", 3),
            "zygote": lambda: self._kill_one("zygote", "web", "worker"),
            "keeper": lambda: self._kill_one("keeper", "web", "worker"),
            "tool": lambda: self._kill_one("child", "web", "worker"),
            "freeze": self._freeze,
            "drop": self._drop_messages,
            "double": self._double_messages,
            "echo": self._send_anew,
            "redis killed": lambda: self._stop(stores.redis, "redis", signal.SIGKILL),
            "redis restarted": lambda: self._stop(stores.redis, "redis", signal.SIGTERM),
            "postgres killed": self._crash_postgres,
            "postgres restarted": lambda: self._stop(stores.postgres, "postgres", signal.SIGINT),
            "backend killed": self._kill_backend,
        }

    # The course of a run.

    def work(self, seconds: float, pause: tuple[float, float]) -> None:
        """Break something every so often, for so many seconds; then mend everything."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tend_until(min(until, time.monotonic() + self.dice.uniform(*pause)))
            self.census.take()
            for attempt in range(5):  # What is not there can't be broken: then something else.
                soon = not attempt and not self.frozen  # A freeze takes the longest to be felt.
                if self.verbs["freeze" if soon else self._any()]():
                    break

    def _any(self) -> str:
        return self.dice.choices(list(self.weights), list(self.weights.values()))[0]

    def mend(self) -> None:
        """Bring everything back at once."""
        for _, _, repair in self.repairs:
            repair()
        self.repairs.clear()
        for process in self.frozen:
            limbs.send(process, signal.SIGCONT)
        self.tend()

    def tend(self) -> None:
        """Do the repairs that are due; start what has ended by itself."""
        due = [one for one in self.repairs if one[0] <= time.monotonic()]
        self.repairs = [one for one in self.repairs if one not in due]
        for _, _, repair in due:
            repair()
        down = {name for _, name, _ in self.repairs}
        for name, process in list(self.stack.processes.items()):
            if name not in down and process.poll() is not None:
                self.office.journal.breaking("ended by itself", f"{name} {process.returncode}")
                del self.stack.processes[name]
                self._later(0.5, name, lambda name=name: self.stack.launch(name))
        self.census.take()

    def _tend_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self.tend()
            self.office.over.wait(min(left, 0.25))

    def _later(self, most: float, name: str, repair: Callable[[], None]) -> None:
        due = time.monotonic() + self.dice.uniform(0.1, most)
        self.repairs.append((due, name, repair))

    # Processes.

    def _is_down(self, name: str) -> bool:
        return any(down == name for _, down, _ in self.repairs)

    def _kill_group(self, name: str, most: float) -> bool:
        if self._is_down(name) or name not in self.stack.processes:
            return False
        self.office.journal.breaking(name)
        self.stack.kill(name)
        self._later(most, name, lambda: self.stack.launch(name))
        return True

    def _kill_one(self, kind: str, *names: str) -> bool:
        """One process of a kind, wherever it stands; nobody is told."""
        if found := limbs.below(self.stack, *names)[kind]:
            told = {"fork": "web worker" if names == ("web",) else "pool child", "child": "tool"}
            process = self.dice.choice(found)
            self.office.journal.breaking(told.get(kind, kind), str(process.pid))
            limbs.send(process, signal.SIGKILL)
        return bool(found)

    def _behead_worker(self) -> bool:
        """The worker's main process alone; what it has forked is left to itself."""
        if self._is_down("worker") or "worker" not in self.stack.processes:
            return False
        self.office.journal.breaking("worker main")
        main = self.stack.processes.pop("worker")
        main.kill()
        main.wait()
        self._later(2, "worker", lambda: self.stack.launch("worker"))
        return True

    def _freeze(self) -> bool:
        """Stop a pool child for longer than its lease, then let it go on as if nothing was."""
        busy = [
            fork
            for fork in limbs.below(self.stack, "worker")["fork"]
            if fork not in self.frozen and _is_busy(fork)
        ]
        if not busy:
            return False
        process = self.dice.choice(busy)
        self.office.journal.breaking("freeze", str(process.pid))
        limbs.send(process, signal.SIGSTOP)
        self.frozen.append(process)
        due = time.monotonic() + LONGER_THAN_A_LEASE + self.dice.uniform(0, 4)
        self.repairs.append((due, "frozen", lambda: limbs.send(process, signal.SIGCONT)))
        return True

    # Stores.

    def _stop(self, server: Server | None, name: str, how: signal.Signals) -> bool:
        if server is None or self._is_down(name):
            return False
        self.office.journal.breaking(f"{name} {'killed' if how is signal.SIGKILL else 'restarted'}")
        server.stop(how)
        self._later(3, name, lambda: self._start(name, server))
        return True

    def _crash_postgres(self) -> bool:
        server = self.stores.postgres
        if server is None or self._is_down("postgres"):
            return False
        self.office.journal.breaking("postgres killed")
        server.crash()
        most = self.dice.choice([1, 2, 12])
        self._later(most, "postgres", lambda: self._start("postgres", server))
        return True

    def _start(self, name: str, server: Server) -> None:
        server.start()
        self.office.journal.mended(name)

    def _kill_backend(self) -> bool:
        """One backend: PostgreSQL then ends all of them and recovers by itself."""
        server = self.stores.postgres
        if server is None or server.process is None:
            return False
        with contextlib.suppress(psutil.Error):
            forks = psutil.Process(server.process.pid).children()
            serving = [fork for fork in forks if "127.0.0.1" in " ".join(fork.cmdline())]
            if serving:
                self.office.journal.breaking("backend killed")
                limbs.send(self.dice.choice(serving), signal.SIGKILL)
                return True
        return False

    # Messages.

    def _drop_messages(self) -> bool:
        count = 0
        if self.stores.redis:
            with contextlib.suppress(redis.RedisError), self._redis() as client:
                count = sum(client.llen(queue) for queue in QUEUES)
                client.delete(*QUEUES)
        else:
            for message in self._messages():
                with contextlib.suppress(FileNotFoundError):
                    message.unlink()
                    count += 1
        if count:
            self.office.journal.breaking("drop", str(count))
        return count > 0

    def _double_messages(self) -> bool:
        """Another copy of each message that waits, byte for byte."""
        count = 0
        if self.stores.redis:
            with contextlib.suppress(redis.RedisError), self._redis() as client:
                for queue in QUEUES:
                    for message in client.lrange(queue, 0, -1):
                        client.lpush(queue, message)
                        count += 1
        else:
            for message in self._messages():
                with contextlib.suppress(FileNotFoundError):
                    self._put_copy(message)
                    count += 1
        if count:
            self.office.journal.breaking("double", str(count))
        return count > 0

    def _put_copy(self, message: Path) -> None:
        text = message.read_text()
        json.loads(text)
        aside = message.with_name(f".{uuid.uuid4().hex}")
        aside.write_text(text)
        os.rename(aside, message.with_name(f"{time.time_ns()}_{message.name.partition('_')[2]}"))

    def _send_anew(self) -> bool:
        """A second message for calls that were accepted lately, whatever has become of them."""
        known = list(self.office.accepted)[-20:]
        chosen = self.dice.sample(known, min(len(known), 5))
        with contextlib.suppress(Exception), _celery(self.stack) as app:  # The broker may be down.
            for call in chosen:
                apart = call["tool"] == "write_apart"
                queue = "isolated" if apart else "default"
                app.send_task("approvals.run", args=[call["id"]], queue=queue, retry=False)
                self.office.journal.breaking("echo")
        return bool(chosen)

    def waiting(self) -> int:
        """How many messages no worker has taken yet."""
        if self.stores.redis:
            with self._redis() as client:
                return sum(client.llen(queue) for queue in QUEUES)
        return len(self._messages())

    def _messages(self) -> list[Path]:
        return list((self.stack.folder / "broker" / "messages").glob("*.msg"))

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stores.redis_url, socket_timeout=2)


def _is_busy(fork: psutil.Process) -> bool:
    """Whether a tool runs below it: zygote, keeper, child."""
    with contextlib.suppress(psutil.Error):
        return len(fork.children(recursive=True)) >= 3
    return False


def _celery(stack: Stack) -> Celery:
    """A sender of our own, on the deployment's broker."""
    app = Celery("faults", set_as_current=False)
    if url := stack.environment.get("REDIS_URL"):
        app.conf.broker_url = url
        return app
    broker = stack.folder / "broker"
    app.conf.broker_url = "filesystem://localhost//"
    app.conf.broker_transport = "rampart.file_broker:Transport"
    app.conf.broker_transport_options = {
        "data_folder_in": str(broker / "messages"),
        "data_folder_out": str(broker / "messages"),
        "control_folder": str(broker / "control"),
    }
    return app
