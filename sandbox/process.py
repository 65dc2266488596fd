"""Runs a job in a process that can be killed.

Threads will not do: Python cannot end one, so a tool that hangs in a thread hangs for good and
keeps what it holds. A process group can be ended whatever its members do, and a deadline counted
outside of it cannot be talked to.
"""

import atexit
import math
import os
import secrets
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sandbox import capabilities, protocol
from sandbox.capabilities import Report
from sandbox.child import PROGRESS_BYTES, PROGRESS_PER_SECOND
from sandbox.crew import Crew, Slot
from sandbox.errors import BadFrame, SandboxUnavailable, SlotGone
from sandbox.jail import Jail
from sandbox.keeper import LOOK_SECONDS
from sandbox.layers import Layer
from sandbox.limits import STANDARD, Limits
from sandbox.outcomes import Ending, Outcome, Status
from sandbox.profiles import FRESH, NOTHING, PROFILES, Grants, Profile

_CHECK_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 3600.0
"""poll() counts milliseconds in 32 bits; a wait without end is a row of these."""
_FRAME_MARGIN = 4096
"""What a frame holds beside a result, an error message or a progress value."""
_UTF8_BYTES = 6
"""The most bytes one character of a message takes in JSON."""
_PROGRESS_BURST = 100


class Workshop:
    """A zygote and the processes below it, started at the first use.

    Thread-safe: as many threads as call have a slot each. A fork of the server starts its own,
    and a zygote that died is replaced at the next run. Runs go on without the layers that were
    `waived`, where they are not to be had. Modules are looked for in the folders of
    `path` first (the server's `sys.path` if none are given), then in the interpreter's own.
    """

    def __init__(
        self,
        entry: str,
        modules: Sequence[str] = (),
        *,
        path: Sequence[str] | None = None,
        waived: Iterable[Layer] = (),
    ) -> None:
        self._entry = entry
        self._waived = frozenset(waived)
        self._modules = tuple(modules)
        self._path = None if path is None else tuple(path)
        self._crew: Crew | None = None
        self._retired: list[Crew] = []
        """Those that are replaced and still have runs under way."""
        self._lock = threading.Lock()
        _workshops.add(self)

    def run(
        self,
        job: Mapping[str, Any],
        *,
        timeout: float | None,
        profile: Profile = FRESH,
        grants: Grants = NOTHING,
        limits: Limits = STANDARD,
        secrets: Mapping[str, str] | None = None,
        on_tick: Callable[[], bool] | None = None,
        tick_seconds: float = 1.0,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Outcome:
        """Call the entry with the job; its outcome, also where it hangs, crashes or lies.

        A profile that reuses processes is only for tools that do not write. A job that was sent is
        never sent again, since it may have had its effect. SandboxUnavailable: it was not sent.
        `secrets` become environment variables of this one process.
        Returning False from `on_tick` cancels the run; what it raises ends the run and goes on.
        """
        if (timeout is not None and not timeout > 0) or not tick_seconds > 0:
            raise ValueError("a timeout or tick must be longer than nothing")
        if secrets and profile.is_reused:
            raise ValueError("a process that is reused is given no secrets")
        request = _request({"job": dict(job), "secrets": dict(secrets or {})}, limits)
        watch = _Watch(request, Jail(profile, limits, grants, self._waived), timeout)
        watch.on_tick, watch.tick_seconds, watch.on_progress = on_tick, tick_seconds, on_progress
        return self._do(watch)

    def check(self) -> None:
        """Raise SandboxUnavailable unless a child answers, without calling the entry."""
        outcome = self._ask(Jail(FRESH, waived=self._waived), {})
        if outcome.status is not Status.SUCCESS:
            raise SandboxUnavailable(f"a child does not answer: {outcome.error}")

    def examine(self, profiles: Iterable[Profile] = tuple(PROFILES.values())) -> Report:
        """Try what holds on this machine; nothing is raised for what does not."""
        return capabilities.examine(self._ask, profiles)

    def close(self) -> None:
        """End every process; a later run starts anew."""
        with self._lock:
            crews = self._let_go()
        for crew in crews:
            crew.close()

    def forget(self) -> None:
        """In a fork of the server: the parent keeps its processes, this one starts its own."""
        self._lock = threading.Lock()  # a thread that is not here may have held the old one
        for crew in self._let_go():
            crew.forget()

    def _ask(self, jail: Jail, question: Mapping[str, Any]) -> Outcome:
        return self._do(_Watch(_request(question, jail.limits), jail, _CHECK_SECONDS))

    def _do(self, watch: "_Watch") -> Outcome:
        crew, slot = self._ready_slot(watch.jail)
        try:
            try:
                watch.listen(slot)
            finally:
                if not watch.keeps_child:
                    crew.end_child(slot, watch.limits.grace_seconds, willing=watch.is_willing)
            return watch.outcome()
        finally:
            crew.give_back(slot, warm=watch.keeps_child)

    def _ready_slot(self, jail: Jail) -> tuple[Crew, Slot]:
        """A slot with a child that waits for its job; one more try, for a zygote just killed."""
        try:
            return self._try_for_slot(self._living_crew(), jail)
        except SlotGone:
            pass
        try:
            return self._try_for_slot(self._living_crew(), jail)
        except SlotGone as error:
            raise SandboxUnavailable(f"no process could be started: {error}") from error

    def _try_for_slot(self, crew: Crew, jail: Jail) -> tuple[Crew, Slot]:
        slot = crew.take(warm=jail.profile.is_reused)
        try:
            if not slot.has_child:
                slot.start_child(jail)
        except BaseException:
            crew.drop(slot)
            crew.give_back(slot)
            if not slot.has_keeper:
                self._retire(crew)  # the zygote lives and does not work: it is stopped, say
            raise
        return crew, slot

    def _living_crew(self) -> Crew:
        """The crew for a new run; another one if it died, has grown, or has old code."""
        with self._lock:
            crew = self._crew
            if crew is not None and not crew.is_alive():
                self._crew = None
                crew.close()
            elif crew is not None and crew.is_outdated():
                self._replace(crew)
            if self._crew is None:
                path = _search_path() if self._path is None else self._path
                self._crew = Crew(self._entry, self._modules, path)
            return self._crew

    def _retire(self, crew: Crew) -> None:
        with self._lock:
            if crew is self._crew:
                self._replace(crew)

    def _replace(self, crew: Crew) -> None:
        self._crew = None
        self._retired = [one for one in self._retired if not one.is_closed] + [crew]
        crew.retire()

    def _let_go(self) -> list[Crew]:
        crews = self._retired + ([self._crew] if self._crew else [])
        self._crew, self._retired = None, []
        return crews


class _Watch:
    """One run as the supervisor sees it: sends the job, counts the time, hears the answer."""

    def __init__(self, request: tuple[str, bytes], jail: Jail, timeout: float | None) -> None:
        self.jail = jail
        self.limits = jail.limits
        self.warm = jail.profile.is_reused
        self.keeps_child = False
        """A warm child has answered and waits for its next job."""
        self.is_willing = False
        """The child has answered or is at its end: no need yet to kill it."""
        self.on_tick: Callable[[], bool] | None = None
        self.tick_seconds = 1.0
        self.on_progress: Callable[[Any], None] | None = None
        self._label, self._unsent = request
        self._timeout = timeout
        self._verdict: Outcome | None = None
        self._progress_heard = 0

    def listen(self, slot: Slot) -> None:
        """Until the answer, the child's end, the deadline, or the caller's loss of interest."""
        self._slot = slot
        self._channel = slot.channel
        self._reader = protocol.Reader(slot.channel, _frame_cap(self.limits))
        self._started = self._now = time.monotonic()
        self._deadline = math.inf if self._timeout is None else self._started + self._timeout
        self._next_tick = math.inf if self.on_tick is None else self._started + self.tick_seconds
        self._watch_at = self._started + LOOK_SECONDS if self.warm else math.inf
        self._waiting = select.poll()
        self._waiting.register(slot, select.POLLIN)
        self._waiting.register(slot.channel, select.POLLIN | select.POLLOUT)
        self._send()
        slot.take_reports()  # one may have come along with the word that the child was started
        while not self._is_over():
            self._wait()
            if self._verdict is None:
                self._look_at_the_clock()
                self._have_watched()

    def outcome(self) -> Outcome:
        ending = self._slot.ending
        while ending and self._verdict is None and self._reader.fill():
            self._hear_all()  # said before the end; with all dead it cannot go on for ever
        verdict = self._verdict or _died(ending)
        died = verdict.status not in (Status.SUCCESS, Status.ERROR)
        if not self.keeps_child:
            self._now = time.monotonic()  # an answer is not the end: its process may go on
        return replace(
            verdict,
            jail=self.jail.profile.name,
            seconds=self._now - self._started,
            signal=ending.signal if ending and died else None,
            cpu_seconds=ending.cpu_seconds if ending and not self.warm else None,
            max_rss_bytes=ending.max_rss_bytes if ending and not self.warm else None,
        )

    def _is_over(self) -> bool:
        if self._slot.ending or self._slot.is_gone or self._reader.at_end:
            self.is_willing = True
        return self.is_willing or self._verdict is not None

    def _wait(self) -> None:
        until = min(
            self._deadline, self._next_tick, self._watch_at, self._now + _LONGEST_WAIT_SECONDS
        )
        ready = dict(self._waiting.poll(max(0.0, until - self._now) * 1000))
        self._now = time.monotonic()
        events = ready.get(self._channel.fileno(), 0)
        if events & select.POLLOUT:
            self._send()
        if events & ~select.POLLOUT and self._reader.fill():
            self._hear_all()
        if self._slot.fileno() in ready:
            self._slot.take_reports()

    def _send(self) -> None:
        """As much of the job as there is room for: a child may hang before it reads any."""
        try:
            sent = self._channel.send(self._unsent, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # the child is dead; the keeper tells of what
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._waiting.modify(self._channel, select.POLLIN)

    def _look_at_the_clock(self) -> None:
        if self._now >= self._deadline:
            message = f"tool timed out after {self._timeout:g} seconds"
            self._verdict = Outcome(Status.TIMEOUT, error=message, error_type="TimeoutError")
        elif self.on_tick is not None and self._now >= self._next_tick:
            self._next_tick = self._now + self.tick_seconds
            if not self.on_tick():
                message = "the run was cancelled"
                self._verdict = Outcome(Status.CANCELLED, error=message, error_type="Cancelled")

    def _have_watched(self) -> None:
        """A fresh child is watched from its start; for a warm one only what lasts is worth it."""
        if self._now >= self._watch_at:
            self._watch_at = math.inf
            self._slot.have_watched(self.limits)

    def _hear_all(self) -> None:
        try:
            message = self._reader.next()
            while message is not None and self._verdict is None:
                self._hear(message)
                message = self._reader.next()
        except BadFrame:
            self.is_willing = self.keeps_child = False
            self._verdict = _crashed("the tool's process sent something that is no answer")

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise BadFrame
        if "progress" in message:
            self._hear_progress(message["progress"])
        elif message.get("id") == self._label:
            self._verdict = _answer(message, self.limits)
            self.is_willing = True
            is_spent = message.get("spent") is not False or not self._reader.is_empty
            self.keeps_child = self.warm and not is_spent
        else:
            raise BadFrame

    def _hear_progress(self, value: Any) -> None:
        """A child of ours drops what is too much; more than that is a tool's own flood."""
        self._progress_heard += 1
        allowed = _PROGRESS_BURST + (self._now - self._started) * PROGRESS_PER_SECOND
        if self._progress_heard > allowed or len(protocol.encode(value)) > PROGRESS_BYTES:
            raise BadFrame
        if self.on_progress is not None:
            self.on_progress(value)


def _request(body: Mapping[str, Any], limits: Limits) -> tuple[str, bytes]:
    """A job's frame and its label, which no earlier job of the same process can have known."""
    label = secrets.token_hex(8)
    if len(protocol.encode(body.get("job"))) > limits.job_bytes:
        raise ValueError(f"the job is larger than {limits.job_bytes} bytes")
    payload = protocol.encode({"id": label, "limits": limits.of_answers(), **body})
    return label, protocol.frame(payload)


def _frame_cap(limits: Limits) -> int:
    message = limits.error_characters * _UTF8_BYTES
    return max(limits.result_bytes, message, PROGRESS_BYTES) + _FRAME_MARGIN


def _answer(message: Mapping[str, Any], limits: Limits) -> Outcome:
    match message:
        case {"end": "success", "data": data}:
            return Outcome(Status.SUCCESS, data=data)
        case {"end": "error", "type": str(kind), "error": str(text)}:
            return Outcome(Status.ERROR, error=text, error_type=kind)
        case {"end": "too large"}:
            text = f"the tool's result is larger than {limits.result_bytes} bytes"
            return Outcome(Status.KILLED, error=text, error_type="OutputLimit")
    raise BadFrame


def _died(ending: Ending | None) -> Outcome:
    if ending is None:
        return _crashed("the tool's keeper went away")
    return Outcome(Status.KILLED, error=str(ending), error_type=ending.error_type)


def _crashed(message: str) -> Outcome:
    return Outcome(Status.KILLED, error=message, error_type="Crashed")


def _search_path() -> list[str]:
    return [os.path.abspath(folder) for folder in sys.path]


_workshops: weakref.WeakSet[Workshop] = weakref.WeakSet()


def _close_all() -> None:
    for workshop in list(_workshops):
        workshop.close()


def _forget_all() -> None:
    for workshop in list(_workshops):
        workshop.forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
