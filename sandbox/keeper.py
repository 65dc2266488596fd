"""A keeper: one slot's thin process between the zygote and the child that runs a tool.

It is the parent that waits. A tool can close or copy its descriptors but cannot forge the wait
status its parent gets, so a child's end is told from here and nowhere else.
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NoReturn

from sandbox import child, kernel, protocol
from sandbox.jail import Jail
from sandbox.limits import Limits
from sandbox.outcomes import Ending
from sandbox.reaping import reap_orphans, sweep
from sandbox.resources import Meter

LOOK_SECONDS = 0.05
"""How often a run's use of the machine is looked at: a fast tool can pass a limit by this much."""

_REST_SECONDS = 2.0
"""How often a warm child that waits for a job is: what it does of itself is not worth more."""


def keep(slot: socket.socket, entry: child.Entry, *, zygote: int) -> NoReturn:
    """Serve a slot until the server or the zygote goes away, then leave nothing behind."""
    try:
        os.closerange(3, slot.fileno())
        os.closerange(slot.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        kernel.adopt_orphans()
        _Keeper(slot, entry, zygote).serve()
    finally:
        sweep()
        os._exit(0)


class _Run:
    """The child below a keeper, and when to do something about it next."""

    def __init__(self, pid: int, jail: Jail, meter: Meter) -> None:
        self.pid = pid
        self.end = os.pidfd_open(pid)
        """The descriptor that tells its end."""
        self.limits = jail.limits
        self.meter = meter
        self.is_resting = jail.profile.is_reused
        """It is between two jobs, or at the start of one: the server says if one lasts."""
        self._kill_at: float | None = None

    def patience(self) -> float:
        """Seconds until it must be looked at again."""
        wait = _REST_SECONDS if self.is_resting else LOOK_SECONDS
        return wait if self._kill_at is None else min(wait, self._kill_at - time.monotonic())

    def has_had_its_grace(self) -> bool:
        return self._kill_at is not None and self._kill_at <= time.monotonic()

    def be_watched(self, limits: Limits) -> None:
        """For the job that it has now: it may have been started for another."""
        self.limits = limits
        self.is_resting = False
        self.meter.forget_time()

    def be_asked_to_end(self, grace: float) -> None:
        self.is_resting = False
        self._kill_at = time.monotonic() + grace
        _signal_group(self.pid, signal.SIGTERM)

    def ending(self, endings: Mapping[int, Ending], exceeded: str | None) -> Ending:
        """The child's own, with what all that it started has used beside it."""
        return replace(
            endings[self.pid],
            exceeded=exceeded,
            cpu_seconds=self.meter.reaped_seconds(),
            max_rss_bytes=max(
                self.meter.peak_bytes, *(each.max_rss_bytes for each in endings.values())
            ),
        )


class _Keeper:
    def __init__(self, slot: socket.socket, entry: child.Entry, zygote: int) -> None:
        self._slot = slot
        self._entry = entry
        self._zygote = os.pidfd_open(zygote)
        self._run: _Run | None = None
        self._waiting = select.poll()
        self._waiting.register(slot, select.POLLIN)
        self._waiting.register(self._zygote, select.POLLIN)
        if os.getppid() != zygote:
            raise EOFError

    def serve(self) -> None:
        while True:
            patience = max(0.0, self._run.patience()) * 1000 if self._run else None
            ready = {descriptor for descriptor, _event in self._waiting.poll(patience)}
            if self._zygote in ready:
                return
            if self._run:
                self._attend_to(self._run, has_ended=self._run.end in ready)
            if self._slot.fileno() in ready and not self._obey():
                return

    def _attend_to(self, run: _Run, *, has_ended: bool) -> None:
        if has_ended:
            self._clear_up(run)
            return
        reap_orphans(spare=run.pid)
        exceeded = run.meter.exceeded(run.limits)
        if exceeded or run.has_had_its_grace():
            _signal_group(run.pid, signal.SIGKILL)
            self._clear_up(run, exceeded)

    def _obey(self) -> bool:
        try:
            command, channel = protocol.receive_with_descriptor(self._slot)
        except (EOFError, ConnectionError):
            return False
        match command["do"]:
            case "run" if channel is not None:
                self._start(socket.socket(fileno=channel), Jail.from_json(command["jail"]))
            case "watch" if self._run:
                self._run.be_watched(Limits(**command["limits"]))
            case "rest" if self._run:
                self._run.is_resting = True
            case "kill" if self._run:
                self._run.be_asked_to_end(command["grace"])
        return True

    def _start(self, channel: socket.socket, jail: Jail) -> None:
        keeper, meter = os.getpid(), Meter()
        try:
            pid = os.fork()
        except OSError as error:
            self._report({"failed": str(error)})
            channel.close()
            return
        if pid == 0:
            child.serve(channel, self._entry, parent=keeper, jail=jail)
        channel.close()
        self._run = _Run(pid, jail, meter)
        self._waiting.register(self._run.end, select.POLLIN)
        self._report({"started": pid})

    def _clear_up(self, run: _Run, exceeded: str | None = None) -> None:
        """Tell the child's end, once nothing it started is left."""
        self._waiting.unregister(run.end)
        os.close(run.end)
        self._run = None
        self._report({"ended": asdict(run.ending(sweep(), exceeded))})

    def _report(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):  # a server that went away is noticed next
            protocol.send(self._slot, message)


def _signal_group(leader: int, number: int) -> None:
    """To the child's group, or to the child alone if it has not yet made its group."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        os.kill(leader, number)  # not reaped yet, so the id is still its own
