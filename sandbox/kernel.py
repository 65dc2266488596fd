"""The requests to the kernel for which Python has no function."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, whatever its session."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def gain_no_rights() -> None:
    """Have setuid programs run without their owner's rights, here and in every descendant.

    Otherwise a tool could become a process that its keeper may not kill.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def be_not_dumpable() -> None:
    """Let no process of the same user trace this one or read its memory and its /proc files."""
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with(parent: int) -> None:
    """Be killed when the parent ends, also if it ended before this was asked for."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    unused = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), unused, unused, unused) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
