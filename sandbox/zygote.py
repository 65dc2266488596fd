"""The zygote: a clean process with the tools' modules loaded, from which keepers are forked.

It is started by exec and never forked from the server: a server has threads, secrets and open
connections, and each would live on in a fork. Here there is one thread and nothing to find.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from sandbox import jail, kernel, protocol, sources
from sandbox.child import Entry
from sandbox.keeper import keep
from sandbox.reaping import hold_back_deaths, sweep

_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}


def main(descriptor: int, server: int) -> NoReturn:
    """Serve the server until it goes away, then leave nothing behind."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    hold_back_deaths()
    kernel.adopt_orphans()
    kernel.gain_no_rights()
    control = socket.socket(fileno=descriptor)
    try:
        entry = _prepare(control)
        if entry is not None:
            _Zygote(control, entry, server).serve()
    finally:
        sweep()
        os._exit(0)


def _prepare(control: socket.socket) -> Entry | None:
    hello = protocol.receive(control)
    began = time.time_ns()
    environment = dict(os.environ)
    try:
        entry = _load(hello)
        _undo_what_modules_set(environment)
        _refuse_threads()
        jail.prepare()
    except BaseException as error:  # a module may call sys.exit; the server wants the reason
        protocol.send(control, {"failed": f"{type(error).__name__}: {error}"[:4096]})
        return None
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page the children share
    files = sources.stamps([hello["entry"].partition(":")[0], *hello["modules"]], began)
    protocol.send(control, {"ready": os.getpid(), "files": files})
    return entry


def _load(hello: Mapping[str, Any]) -> Entry:
    sys.path[:] = dict.fromkeys([*hello["path"], *sys.path])  # the given before our own
    module, _, name = hello["entry"].partition(":")
    entry = getattr(importlib.import_module(module), name)
    for other in hello["modules"]:
        importlib.import_module(other)
    if not callable(entry):
        raise TypeError(f"{hello['entry']} is not callable")
    return cast(Entry, entry)


def _undo_what_modules_set(environment: Mapping[str, str]) -> None:
    """Here and not in each child, which would copy the pages that it touches for that."""
    os.environ.clear()
    os.environ.update(environment)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        default = signal.SIG_IGN if number in _IGNORED_BY_PYTHON else signal.SIG_DFL
        if signal.getsignal(number) is not default:
            signal.signal(number, default)
    signal.set_wakeup_fd(-1)


def _refuse_threads() -> None:
    """A lock that another thread holds stays held forever in a fork."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"the modules started {threads - 1} thread(s) while they were imported")


class _Zygote:
    def __init__(self, control: socket.socket, entry: Entry, server: int) -> None:
        self._control = control
        self._entry = entry
        self._server = os.pidfd_open(server)  # a fork of the server may hold the socket open
        self._keepers: dict[int, int] = {}
        """Pid of each keeper by the descriptor that tells its end."""
        self._slots: dict[int, int] = {}
        """Pid of each keeper by its slot's number."""
        self._waiting = select.poll()
        self._waiting.register(control, select.POLLIN)
        self._waiting.register(self._server, select.POLLIN)

    def serve(self) -> None:
        while True:
            ready = {descriptor for descriptor, _event in self._waiting.poll()}
            if self._server in ready:
                return
            if ready & self._keepers.keys():
                self._clear_up()
            if self._control.fileno() in ready and not self._obey():
                return

    def _obey(self) -> bool:
        try:
            command, slot = protocol.receive_with_descriptor(self._control)
        except (EOFError, ConnectionError):
            return False
        if command["do"] == "open" and slot is not None:
            self._open(command["slot"], socket.socket(fileno=slot))
        elif command["do"] == "drop" and command["slot"] in self._slots:
            os.kill(self._slots[command["slot"]], signal.SIGKILL)
        return True

    def _open(self, number: int, slot: socket.socket) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            slot.close()  # the server reads this as a slot that went away
            return
        if pid == 0:
            keep(slot, self._entry, zygote=zygote)
        slot.close()
        end = os.pidfd_open(pid)
        self._keepers[end] = pid
        self._slots[number] = pid
        self._waiting.register(end, select.POLLIN)

    def _clear_up(self) -> None:
        """A keeper died: reap it, and end what it had below it, which is ours now."""
        dead = sweep(spare=set(self._keepers.values()))
        self._slots = {number: pid for number, pid in self._slots.items() if pid not in dead}
        for end, pid in list(self._keepers.items()):
            if pid in dead:
                self._waiting.unregister(end)
                os.close(end)
                del self._keepers[end]
