"""Ends every process below this one.

Needs `kernel.adopt_orphans`, so that no descendant can leave by a double fork or a session of
its own, and a blocked SIGCHLD, so that a death can be waited for instead of polled.
"""

import contextlib
import os
import signal
from collections.abc import Container, Iterable

from sandbox import kin
from sandbox.outcomes import Ending

_SIGCHLD = [signal.SIGCHLD]
_ROUND_SECONDS = 0.05
"""A round ends at the next death; this bounds it if a process is slow to die."""


def hold_back_deaths() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGCHLD)


def sweep(spare: Container[int] = ()) -> dict[int, Ending]:
    """Kill and reap each child but the spared ones, with all below it, until none is left.

    The list of children can miss one when another ends during the reading, so an empty list is
    believed only if no death was signalled since the round began.
    """
    endings: dict[int, Ending] = {}
    while True:
        signal.sigtimedwait(_SIGCHLD, 0)
        if not _reap_into(endings):
            return endings
        strangers = [pid for pid in kin.all_children() if pid not in spare]
        _fell(strangers)
        if strangers:
            signal.sigtimedwait(_SIGCHLD, _ROUND_SECONDS)
        elif spare and signal.SIGCHLD not in signal.sigpending():
            return endings


def reap_orphans(spare: int) -> None:
    """Take note of adopted processes that have ended, up to the one that is waited for elsewhere.

    The dead keep their ids until then, and a run that starts many daemons would use them all up.
    """
    with contextlib.suppress(ChildProcessError):
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if dead.si_pid == spare:
                return
            os.waitpid(dead.si_pid, 0)


def _fell(roots: Iterable[int]) -> None:
    """Kill whole trees from the top: what was killed can fork no more when its children are read.

    One generation a round would lose against a tool that forks faster than a round takes.
    """
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            waiting += kin.children_of(pid)


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
