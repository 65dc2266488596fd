"""The processes below a deployment's own, found by where they stand in the tree."""

import contextlib
import os
import signal
from collections.abc import Iterable

import psutil

from tests.stack import Stack, gone

BELOW_A_ZYGOTE = ("zygote", "keeper", "child")


def below(stack: Stack, *names: str) -> dict[str, list[psutil.Process]]:
    """What runs below the named processes now: `fork`, `zygote`, `keeper`, `child`."""
    found: dict[str, list[psutil.Process]] = {"fork": [], "zygote": [], "keeper": [], "child": []}
    for name in names:
        if (root := stack.processes.get(name)) is None:
            continue
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(root.pid).children():
                _sort_in(process, found, depth=-1)
    return found


def _sort_in(process: psutil.Process, found: dict[str, list[psutil.Process]], depth: int) -> None:
    """Forks of the server stand above the zygotes; keepers and children below them."""
    with contextlib.suppress(psutil.Error):
        if depth >= 0 or _is_zygotes(process):
            depth += 1
        kind = "fork" if depth < 0 else BELOW_A_ZYGOTE[min(depth, 2)]
        found[kind].append(process)
        for child in process.children():
            _sort_in(child, found, depth)


def _is_zygotes(process: psutil.Process) -> bool:
    return any("sandbox.zygote" in word for word in process.cmdline())


def send(process: psutil.Process, how: signal.Signals) -> None:
    """A signal, unless the process is gone already."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        process.send_signal(how)


class Census:
    """Every process that was ever seen below the deployment, so that none is forgotten."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.seen: dict[psutil.Process, str] = {}

    def take(self) -> None:
        """Note who is there now."""
        for name, root in list(self.stack.processes.items()):
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(root.pid)
                for process in [top, *top.children(recursive=True)]:
                    self.seen.setdefault(process, name)

    def alive(self, tool_pids: Iterable[int]) -> list[str]:
        """Who of them, and of the processes that tools have named, still runs."""
        left = [
            f"{name}'s {process.pid}: {_words(process)}"
            for process, name in self.seen.items()
            if process.is_running() and not gone(process.pid)
        ]
        ours = {process.pid for process in self.seen}
        return left + [
            f"a tool's {pid}"
            for pid in tool_pids
            if pid not in ours and not gone(pid) and _is_sandboxed(pid)
        ]


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:100]
    return "?"


def _is_sandboxed(pid: int) -> bool:
    """Whether the id is a sandbox's process and no later stranger's; ours is an older one's."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return _is_zygotes(process) and os.getpid() not in {p.pid for p in process.parents()}
    return False
