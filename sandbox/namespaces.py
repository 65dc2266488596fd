"""Takes a process into namespaces of its own, and stands outside for what went inside.

Three processes come of one. The outer one is the keeper's child: it waits, and ends exactly as the
tool does. The first one inside is the pid namespace's init, and with its end the kernel ends all
that is left in there. The second one inside is the tool. It is not the init itself, because an init
is deaf to every signal that it does not handle: it could neither die of its own SIGABRT nor be
asked to leave by SIGTERM.
"""

import os
import signal
import socket
import struct
from typing import NoReturn

from sandbox import kernel

ID_INSIDE = 1000
"""The tool's user and group as it sees them: not 0, which programs take for power."""

_NEW_UTS = 0x04000000
_NEW_IPC = 0x08000000
_NEW_USER = 0x10000000
_NEW_PID = 0x20000000
_NEW_NETWORK = 0x40000000

_STATUS = struct.Struct("i")
_ALL_SIGNALS = frozenset(map(int, signal.valid_signals()))


def enter_user() -> None:
    """Be alone in a user namespace: its one user is the server's own, everywhere outside.

    Whoever enters has every right over what is made inside, as the layers that follow need.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        os.setgroups([])  # an ordinary user may not let go of its groups
    kernel.unshare(_NEW_USER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{ID_INSIDE} {user} 1")
    _write("/proc/self/gid_map", f"{ID_INSIDE} {group} 1")


def enter_network() -> None:
    kernel.unshare(_NEW_NETWORK)


def enter_ipc() -> None:
    kernel.unshare(_NEW_IPC)


def enter_uts() -> None:
    """The name is copied into a new namespace, so it is changed: the machine's is its own."""
    kernel.unshare(_NEW_UTS)
    socket.sethostname("sandbox")


def enter_pid() -> None:
    """Come back as the tool's process in a new pid namespace; the caller's own stays outside."""
    kernel.unshare(_NEW_PID)
    heard, told = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)  # those to the group are the tool's
    first = kernel.fork_unnoticed()
    if first:
        _stand_outside(first, heard)
    kernel.die_with(0)  # the number of every parent outside
    kernel.be_not_dumpable()  # before there is a tool that could look
    tool = os.fork()
    if tool:
        _be_first(tool, told)
    os.close(heard)
    os.close(told)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _stand_outside(first: int, heard: int) -> NoReturn:
    """Wait until nothing is left inside, and end as the tool did."""
    os.sched_yield()  # else the child waits behind this process, for milliseconds
    _close_all_but(heard)
    told = os.read(heard, _STATUS.size)
    _, status = os.waitpid(first, 0)
    _end_with(_STATUS.unpack(told)[0] if told else status)


def _be_first(tool: int, told: int) -> NoReturn:
    """Reap what others leave behind until the tool ends, and tell how."""
    os.sched_yield()
    _close_all_but(told)
    kernel.lay_down_capabilities()
    pid, status = 0, 0
    while pid != tool:
        pid, status = os.waitpid(-1, 0)
    os.write(told, _STATUS.pack(status))
    os._exit(0)


def _close_all_but(kept: int) -> None:
    """The way to the server above all: it must close when the tool closes it."""
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _end_with(status: int) -> NoReturn:
    """Exit with the same code or die of the same signal, as the parent will be told."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
