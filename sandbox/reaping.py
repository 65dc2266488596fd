"""Ends every process below this one.

Needs `kernel.adopt_orphans`, so that no descendant can leave by a double fork or a session of
its own, and a blocked SIGCHLD, so that a death can be waited for instead of polled.
"""

import os
import signal
from collections.abc import Container

from sandbox.outcomes import Ending

_SIGCHLD = [signal.SIGCHLD]
_ROUND_SECONDS = 0.05
"""A round ends at the next death; this bounds it if a process is slow to die."""


def hold_back_deaths() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGCHLD)


def sweep(spare: Container[int] = ()) -> dict[int, Ending]:
    """Kill and reap each child but the spared ones, until none is left.

    The list of children can miss one when another ends during the reading, so an empty list is
    believed only if no death was signalled since the round began.
    """
    endings: dict[int, Ending] = {}
    while True:
        signal.sigtimedwait(_SIGCHLD, 0)
        if not _reap_into(endings):
            return endings
        strangers = [pid for pid in children() if pid not in spare]
        for pid in strangers:
            os.kill(pid, signal.SIGKILL)
        if strangers:
            signal.sigtimedwait(_SIGCHLD, _ROUND_SECONDS)
        elif spare and signal.SIGCHLD not in signal.sigpending():
            return endings


def _reap_into(endings: dict[int, Ending]) -> bool:
    """Reap the dead; False when there is no child at all, neither dead nor alive."""
    try:
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return True
            cpu = usage.ru_utime + usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            endings[pid] = Ending(code, usage.ru_maxrss * 1024, cpu)
    except ChildProcessError:
        return False


def children() -> list[int]:
    """Direct children, the dead ones included: none of these ids can be reused before we reap."""
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except FileNotFoundError:  # a kernel built without CONFIG_PROC_CHILDREN
        return [pid for pid in _all_pids() if _parent_of(pid) == own]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
