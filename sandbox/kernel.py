"""The requests to the kernel for which Python has no function."""

import ctypes
import errno
import os
import signal
import struct
from functools import cache

from sandbox import system_calls

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24

_CAPABILITIES_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


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
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# Landlock and seccomp.

_SECCOMP_SET_MODE_FILTER = 1
_FILTER_LINE_BYTES = 8


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def call(name: str, *arguments: int | bytes | None) -> int:
    """A system call by its name, for which the C library has no function."""
    number = system_calls.number(name)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = int(_libc.syscall(ctypes.c_long(number), *map(_as_argument, arguments)))
    if result == -1:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result


def filter_system_calls(program: bytes) -> None:
    """Have the kernel judge each further system call by this BPF program, here and below."""
    lines = _FilterProgram(len(program) // _FILTER_LINE_BYTES, program)
    call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(lines))


def _as_argument(value: int | bytes | None) -> ctypes.c_long | bytes | None:
    return ctypes.c_long(value) if isinstance(value, int) else value


# Namespaces and capabilities.


def unshare(kinds: int) -> None:
    """Leave the parent's namespaces of these kinds for new ones."""
    call("unshare", kinds)


def fork_unnoticed() -> int:
    """Fork a process that forks once more and then waits, at half the cost.

    Python and the C library don't get to know of it, so they put nothing in order in a child that
    has no use for it. They do at its own fork.
    """
    return call("clone", signal.SIGCHLD, None, None, None, None)


def drop_capabilities() -> None:
    """Give up every capability, and with the bounding set the way back to any."""
    for number in range(capabilities()):
        _prctl(_PR_CAPBSET_DROP, number)
    lay_down_capabilities()


def lay_down_capabilities() -> None:
    """Give up every capability; only by running another program could any come back."""
    nobody = struct.pack("=Ii", _CAPABILITIES_VERSION_3, 0)
    if _libc.capset(nobody, bytes(24)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def capabilities() -> int:
    """How many this kernel knows."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        number += 1
    return number
