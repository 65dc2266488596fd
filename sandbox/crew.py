"""The server's handles: a crew is one zygote with its slots, a slot one keeper with its child."""

import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox import protocol, resources, sources
from sandbox.errors import BadFrame, LayerMissing, SandboxUnavailable, SlotGone
from sandbox.jail import Jail
from sandbox.limits import MIB, Limits
from sandbox.outcomes import Ending

_START_SECONDS = 30.0
"""The zygote imports the tools' modules in this time."""

_CLOSE_SECONDS = 2.0
"""The zygote kills all below it in this time, or is killed itself."""

_ANSWER_SECONDS = 5.0
"""A keeper starts a child in a few milliseconds; this long only where the machine is ill. Two tries
and a close take less than a lease."""

_KILL_MARGIN_SECONDS = 0.5
"""What a keeper may need beyond the grace time before it is taken for dead itself."""

_INSPECTION_SECONDS = 1.0
"""A zygote is looked at no more often: whether it has grown, or the tools' files have changed."""

_GROWTH_BYTES = 64 * MIB
"""By which a zygote may have grown: it runs no tool, so its growth is a fault, and each child's."""

_REPORT_BYTES = 64 * 1024
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from sandbox.zygote import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Slot:
    """The way to one keeper. Used by one thread at a time."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.ending: Ending | None = None
        """How the last child ended; set once nothing it started is left."""
        self.is_gone = False
        self.has_keeper = False
        """Somebody has said something: the zygote did open it."""
        self._sock = sock
        self._channel: socket.socket | None = None
        self._is_watched = False
        self._reader = protocol.Reader(sock, _REPORT_BYTES)

    @property
    def has_child(self) -> bool:
        return self._channel is not None

    @property
    def channel(self) -> socket.socket:
        """The way to the child."""
        if self._channel is None:
            raise SlotGone
        return self._channel

    def fileno(self) -> int:
        return self._sock.fileno()

    def is_quiet(self) -> bool:
        """Nothing was said unasked: the keeper lives, and so does the child if there is one."""
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN)
        if self._channel is not None:
            waiting.register(self._channel, select.POLLIN)
        return self._reader.is_empty and not waiting.poll(0)

    def start_child(self, jail: Jail) -> None:
        """Have a child wait in this jail for its job. Raises LayerMissing or SlotGone."""
        self.ending = None
        mine, theirs = socket.socketpair()
        try:
            self._ask_for_child(theirs, jail)
            _await_entry(mine)
        except BaseException:
            mine.close()
            raise
        self._channel = mine

    def have_watched(self, limits: Limits) -> None:
        """Have the keeper hold a warm child to a job's limits: the job lasts."""
        self._is_watched = True
        with contextlib.suppress(SlotGone):  # its end is in the reports
            self._tell({"do": "watch", "limits": limits.as_json()})

    def let_rest(self) -> None:
        """Have the keeper look no more: a warm child has answered."""
        if self._is_watched:
            self._is_watched = False
            with contextlib.suppress(SlotGone):
                self._tell({"do": "rest"})

    def take_reports(self) -> None:
        """Note what the keeper has said since."""
        message = self._next_report()
        while message is not None:
            self._note(message)
            message = self._next_report()

    def end_child(self, grace: float, *, willing: bool) -> bool:
        """Let a willing child end by itself, kill it otherwise; True once nothing is left of it."""
        if willing and self._is_over_within(grace):
            return True
        with contextlib.suppress(SlotGone):
            self._tell({"do": "kill", "grace": grace})
        return self._is_over_within(grace + _KILL_MARGIN_SECONDS)

    def wait_for_keeper_end(self) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not self.is_gone and self._await_report(deadline - time.monotonic()):
            pass
        self.is_gone = True

    def drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def close(self) -> None:
        self.drop_channel()
        self._sock.close()

    def _ask_for_child(self, theirs: socket.socket, jail: Jail) -> None:
        command = {"do": "run", "jail": jail.as_json()}
        with theirs:
            self._tell(command, theirs.fileno())
        answer = self._await_report(_ANSWER_SECONDS) or {}
        if "started" not in answer:
            raise SlotGone(answer.get("failed"))

    def _is_over_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.ending is None and not self.is_gone:
            message = self._await_report(deadline - time.monotonic())
            if message is None:
                break
            self._note(message)
        return self.ending is not None

    def _note(self, message: Mapping[str, Any]) -> None:
        if "ended" in message:
            self.ending = Ending(**message["ended"])

    def _await_report(self, seconds: float) -> Any | None:
        message = self._next_report()
        deadline = time.monotonic() + seconds
        while message is None and not self.is_gone:
            left = deadline - time.monotonic()
            if left <= 0 or not _is_readable(self._sock, left):
                break
            message = self._next_report()
        return message

    def _next_report(self) -> Any | None:
        try:
            while self._reader.fill():
                pass
            message = self._reader.next()
        except BadFrame:
            message, self.is_gone = None, True
        self.has_keeper = self.has_keeper or message is not None
        self.is_gone = self.is_gone or (message is None and self._reader.at_end)
        return message

    def _tell(self, command: Mapping[str, Any], descriptor: int | None = None) -> None:
        try:
            protocol.send(self._sock, command, () if descriptor is None else (descriptor,))
        except OSError as error:
            raise SlotGone from error


class Crew:
    """A zygote and the slots it opened. Thread-safe."""

    def __init__(self, entry: str, modules: Sequence[str], path: Sequence[str]) -> None:
        self._zygote, self._control = _spawn()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._slots: set[Slot] = set()
        self._idle: list[Slot] = []
        self._warm: list[Slot] = []
        self._is_closed = False
        self._is_retired = False
        self._files: dict[str, sources.Stamp] = {}
        self._loaded = 0
        self._inspect_at = 0.0
        try:
            self._greet({"entry": entry, "modules": list(modules), "path": list(path)})
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._zygote.pid

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def is_alive(self) -> bool:
        """The zygote has nothing to say unasked: what can be read is the end of the socket."""
        return not self._is_closed and not _is_readable(self._control, 0)

    def is_outdated(self) -> bool:
        """Whether a new crew would be better: this one has grown, or the tools' files changed."""
        now = time.monotonic()
        if now < self._inspect_at:
            return False
        self._inspect_at = now + _INSPECTION_SECONDS
        has_grown = resources.resident_bytes(self.pid) > self._loaded + _GROWTH_BYTES
        return has_grown or sources.have_changed(self._files)

    def retire(self) -> None:
        """Take on no more runs: end what waits, and all once the runs under way have ended."""
        with self._lock:
            self._is_retired = True
            self._discard_waiting()
        self._close_if_done()

    def take(self, *, warm: bool) -> Slot:
        """A slot for this thread alone; for a warm run one whose child waits, if there is one."""
        with self._lock:
            while (warm and self._warm) or self._idle:
                slot = (self._warm if warm and self._warm else self._idle).pop()
                if slot.is_quiet():
                    return slot
                self._discard(slot)
            return self._open()

    def give_back(self, slot: Slot, *, warm: bool = False) -> None:
        """Keep a slot for the next run, with its child if that is warm, or let go of it.

        A slot whose child is neither at its end nor waiting is closed: then its keeper kills.
        """
        with self._lock:
            is_wanted = not (self._is_closed or self._is_retired or slot.is_gone)
            if not is_wanted or not (warm or slot.ending):
                self._discard(slot)
            elif warm:
                slot.let_rest()
                self._warm.append(slot)
            else:
                slot.drop_channel()
                self._idle.append(slot)
        self._close_if_done()

    def end_child(self, slot: Slot, grace: float, *, willing: bool) -> None:
        """End what runs in a slot; a keeper that fails to (stopped, say) is killed with it."""
        if not slot.end_child(grace, willing=willing) and not slot.is_gone:
            self.drop(slot)
            slot.wait_for_keeper_end()

    def drop(self, slot: Slot) -> None:
        """Have the zygote kill a keeper with all below it: a stopped one sees no slot close."""
        with self._lock, contextlib.suppress(OSError):
            protocol.send(self._control, {"do": "drop", "slot": slot.number})

    def close(self) -> None:
        """End the zygote and all below it. A run under way in another thread ends as killed."""
        with self._lock:
            self._is_closed = True
            self._control.close()
            self._discard_waiting()
        try:
            self._zygote.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()

    def forget(self) -> None:
        """In a fork of the server: let go of what belongs to the parent, without a word to it."""
        self._is_closed = True
        self._control.close()
        for slot in self._slots:
            slot.close()
        self._zygote.returncode = 0  # not our child, so not ours to wait for or warn about

    def _greet(self, hello: Mapping[str, Any]) -> None:
        self._control.settimeout(_START_SECONDS)
        try:
            protocol.send(self._control, hello)
            answer = protocol.receive(self._control)
        except (OSError, EOFError, BadFrame) as error:
            raise SandboxUnavailable(f"the zygote does not answer: {error!r}") from error
        if "ready" not in answer:
            raise SandboxUnavailable(f"the zygote cannot start: {answer.get('failed')}")
        self._control.settimeout(None)
        self._files = answer["files"]
        self._loaded = resources.resident_bytes(self.pid)

    def _close_if_done(self) -> None:
        if self._is_retired and not self._slots:
            self.close()

    def _open(self) -> Slot:
        mine, theirs = socket.socketpair()
        slot = Slot(mine, next(self._numbers))
        self._slots.add(slot)
        with theirs, contextlib.suppress(OSError):  # a dead zygote shows in the slot's first use
            command = {"do": "open", "slot": slot.number}
            protocol.send(self._control, command, [theirs.fileno()])
        return slot

    def _discard_waiting(self) -> None:
        for slot in self._idle + self._warm:
            self._discard(slot)
        self._idle.clear()
        self._warm.clear()

    def _discard(self, slot: Slot) -> None:
        self._slots.discard(slot)
        slot.close()


def _await_entry(channel: socket.socket) -> None:
    """The child's word that it is in its jail; until then nothing of a tool has run in it."""
    channel.settimeout(_ANSWER_SECONDS)
    try:
        word = protocol.receive(channel, _REPORT_BYTES)
    except (OSError, EOFError, BadFrame) as error:
        raise SlotGone("the child did not come as far as its jail") from error
    channel.settimeout(None)
    if "missing" in word:
        raise LayerMissing(word["missing"], word["why"])


def _spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    mine, theirs = socket.socketpair()
    with theirs:
        try:
            return _exec(theirs.fileno()), mine
        except OSError as error:
            mine.close()
            raise SandboxUnavailable(f"the zygote cannot be started: {error}") from error


def _exec(control: int) -> subprocess.Popen[bytes]:
    """Exec, never fork: what the server holds must not come along."""
    root = str(Path(__file__).resolve().parent.parent)
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT, root, str(control), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        cwd="/",
        pass_fds=[control],
        start_new_session=True,
    )


def _is_readable(sock: socket.socket, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
