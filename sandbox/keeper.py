"""A keeper: one slot's thin process between the zygote and the child that runs a tool.

It is the parent that waits. A tool can close or copy its descriptors but cannot forge the wait
status its parent gets, so a child's end is told from here and nowhere else.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple, NoReturn

from sandbox import child, kernel, protocol, resources
from sandbox.jail import Jail
from sandbox.limits import Limits
from sandbox.reaping import sweep

_LOOK_SECONDS = 0.05
"""How often a run's use of the machine is looked at: a fast tool can pass a limit by this much."""


def keep(
    slot: socket.socket, entry: child.Entry, *, zygote: int, environment: Mapping[str, str]
) -> NoReturn:
    """Serve a slot until the server or the zygote goes away, then leave nothing behind."""
    try:
        os.closerange(3, slot.fileno())
        os.closerange(slot.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        kernel.adopt_orphans()
        _Keeper(slot, entry, zygote, environment).serve()
    finally:
        sweep()
        os._exit(0)


class _Child(NamedTuple):
    pid: int
    end: int
    """The descriptor that tells its end."""
    limits: Limits


class _Keeper:
    def __init__(
        self, slot: socket.socket, entry: child.Entry, zygote: int, environment: Mapping[str, str]
    ) -> None:
        self._slot = slot
        self._entry = entry
        self._environment = environment
        self._zygote = os.pidfd_open(zygote)
        self._child: _Child | None = None
        self._waiting = select.poll()
        self._waiting.register(slot, select.POLLIN)
        self._waiting.register(self._zygote, select.POLLIN)
        if os.getppid() != zygote:
            raise EOFError

    def serve(self) -> None:
        while True:
            look = _LOOK_SECONDS * 1000 if self._child else None
            ready = {descriptor for descriptor, _event in self._waiting.poll(look)}
            if self._zygote in ready:
                return
            if self._child and self._child.end in ready:
                self._clear_up(self._child)
            elif self._child:
                self._look_at(self._child)
            if self._slot.fileno() in ready and not self._obey():
                return

    def _obey(self) -> bool:
        try:
            command, channel = protocol.receive_with_descriptor(self._slot)
        except (EOFError, ConnectionError):
            return False
        if command["do"] == "run" and channel is not None:
            self._start(socket.socket(fileno=channel), Jail.from_json(command["jail"]))
        elif command["do"] == "kill" and self._child:
            self._stop(self._child, command["grace"])
        return True

    def _start(self, channel: socket.socket, jail: Jail) -> None:
        keeper = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._report({"failed": str(error)})
            channel.close()
            return
        if pid == 0:
            child.serve(
                channel, self._entry, parent=keeper, jail=jail, environment=self._environment
            )
        channel.close()
        self._child = _Child(pid, os.pidfd_open(pid), jail.limits)
        self._waiting.register(self._child.end, select.POLLIN)
        self._report({"started": pid})

    def _stop(self, running: _Child, grace: float) -> None:
        _signal_group(running.pid, signal.SIGTERM)
        end = select.poll()
        end.register(running.end, select.POLLIN)
        end.poll(grace * 1000)
        _signal_group(running.pid, signal.SIGKILL)
        self._clear_up(running)

    def _look_at(self, running: _Child) -> None:
        exceeded = resources.used_below(os.getpid()).exceeded(running.limits)
        if exceeded:
            _signal_group(running.pid, signal.SIGKILL)
            self._clear_up(running, exceeded)

    def _clear_up(self, running: _Child, exceeded: str | None = None) -> None:
        """Tell the child's end, once nothing it started is left."""
        self._waiting.unregister(running.end)
        os.close(running.end)
        self._child = None
        ending = sweep()[running.pid]
        self._report({"ended": asdict(replace(ending, exceeded=exceeded))})

    def _report(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):  # a server that went away is noticed next
            protocol.send(self._slot, message)


def _signal_group(leader: int, number: int) -> None:
    """To the child's group, or to the child alone if it has not yet made its group."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        os.kill(leader, number)  # not reaped yet, so the id is still its own
