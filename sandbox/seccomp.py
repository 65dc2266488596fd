"""Seccomp: which system calls a process may make, as a program that the kernel runs at each.

STRICT's list says what is allowed, and everything else is death. NATIVE's says what is not:
libraries ask for more than anyone can list, and its walls are the namespaces; here goes what
would reach around them, and old doors to the kernel that no tool needs.
"""

import os
import signal
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import EACCES, EAFNOSUPPORT, ENOSYS, EPERM
from functools import cache
from socket import AF_INET, AF_INET6, AF_UNIX

from sandbox import system_calls

KILL = 0x8000_0000
"""The process dies of SIGSYS, with all its threads."""
ALLOW = 0x7FFF_0000


def refuse(error: int) -> int:
    """The call fails with this error, and the process goes on."""
    return 0x0005_0000 | error


@dataclass(frozen=True, slots=True)
class Where:
    """A demand on one argument: its bits under the mask are one of the values.

    Only the lower half of the argument is looked at: that is all the kernel uses of those below.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of some calls, where their arguments are as demanded."""

    calls: str
    answer: int
    where: tuple[Where, ...] = ()
    otherwise: int | None = None
    """Where they are not; None: as all calls that no rule names."""


# STRICT.

_EXECUTABLE = 4
_PRIVATE_ANONYMOUS, _DROPPABLE = 0x22, 0x28
"""Memory as all take it, and as newer C libraries take it for the state of `getrandom`."""
_FUTEX_FLAGS = 128 | 256
_WAIT_AND_WAKE = (0, 1, 9, 10)
_FREE, _FREE_LATER, _HUGE_PAGES = 4, 8, 14

_COMPUTING = (
    # Memory: only the process's own, and never for machine code.
    Rule("brk munmap mremap", ALLOW),
    Rule("mmap", ALLOW, (Where(2, (0,), _EXECUTABLE), Where(3, (_PRIVATE_ANONYMOUS, _DROPPABLE)))),
    Rule("mprotect", ALLOW, (Where(2, (0,), _EXECUTABLE),)),
    Rule("madvise", ALLOW, (Where(2, (_FREE, _FREE_LATER, _HUGE_PAGES)),)),
    # Locks of the interpreter: to wait and to wake, none of the operations that have had holes.
    Rule("futex", ALLOW, (Where(1, _WAIT_AND_WAKE, ~_FUTEX_FLAGS & 0xFFFF_FFFF),)),
    # The job, progress and the answer; nothing is open but the channel and /dev/null.
    Rule("recvfrom recvmsg sendto read write", ALLOW),
    # Time, which mostly needs no call at all, and sleep.
    Rule("clock_gettime clock_getres gettimeofday time clock_nanosleep", ALLOW),
    # A sleep or a wait that a stop and a continue have interrupted.
    Rule("restart_syscall", ALLOW),
    # random, uuid and the seeds of hashes.
    Rule("getrandom", ALLOW),
    # Who am I, and what have I used: asked by locks, and before each word to the server.
    Rule("getpid gettid getrusage", ALLOW),
    # The end.
    Rule("exit exit_group rt_sigreturn rt_sigprocmask", ALLOW),
    # Tracebacks look whether a source is there, and take no for an answer.
    Rule(
        "stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd",
        refuse(EACCES),
    ),
)


def _abort() -> Rule:
    """What the C library does when it finds its memory spoilt: a crash, not an attack."""
    return Rule("tgkill", ALLOW, (Where(0, (os.getpid(),)), Where(2, (signal.SIGABRT,))))


def strict() -> bytes:
    """For this very process: it may compute, speak to its server, and end."""
    return _for_all_who_compute() + _tests_of((_abort(),), KILL) + _line(_RETURN, KILL)


@cache
def _for_all_who_compute() -> bytes:
    return _opening() + _tests_of(_COMPUTING, KILL)


# NATIVE.

_NAMESPACES = 0x7E02_0080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_INPUT_OF_A_TERMINAL = (0x5412, 0x541C)
"""TIOCSTI types into it, TIOCLINUX can paste into it."""
_PERSONALITY = (0, 0xFFFF_FFFF)
"""The usual one, and the question which it is."""
_OWNERS_RIGHTS = stat.S_ISUID | stat.S_ISGID


def _lends_nothing(argument: int) -> Where:
    return Where(argument, (0,), _OWNERS_RIGHTS)


_NATIVE = (
    # Into other processes. No honest tool does that.
    Rule("ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise", KILL),
    # The kernel itself, its modules and its power switch.
    Rule("kexec_load kexec_file_load init_module finit_module delete_module reboot", KILL),
    Rule("iopl ioperm modify_ldt uselib nfsservctl lookup_dcookie vhangup acct", KILL),
    Rule("swapon swapoff quotactl quotactl_fd settimeofday clock_settime", KILL),
    # A root of one's own is the way out of another's.
    Rule("mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick", refuse(EPERM)),
    Rule("move_mount open_tree open_tree_attr mount_setattr", refuse(EPERM)),
    # New namespaces give powers in them, and with these more of the kernel to attack.
    Rule("unshare setns", refuse(EPERM)),
    Rule("clone", ALLOW, (Where(0, (0,), _NAMESPACES),), otherwise=refuse(EPERM)),
    Rule("clone3", refuse(ENOSYS)),  # its flags are in memory, out of sight; all fall back to clone
    # A file that lends its owner's rights to whoever runs it, outside and later.
    Rule("chmod fchmod creat mknod", ALLOW, (_lends_nothing(1),), otherwise=refuse(EPERM)),
    Rule("fchmodat fchmodat2 open mknodat", ALLOW, (_lends_nothing(2),), otherwise=refuse(EPERM)),
    Rule("openat", ALLOW, (_lends_nothing(3),), otherwise=refuse(EPERM)),
    Rule("openat2", refuse(ENOSYS)),  # its mode is in memory, out of sight
    # Files by number, past every path.
    Rule("open_by_handle_at name_to_handle_at fanotify_init", refuse(EPERM)),
    # Doors to the kernel with a long record of holes; libraries try them and do without.
    Rule("bpf perf_event_open userfaultfd", refuse(EPERM)),
    Rule("io_uring_setup io_uring_enter io_uring_register", refuse(ENOSYS)),
    # The keys of a user are the same in all namespaces.
    Rule("keyctl add_key request_key", refuse(EPERM)),
    # Memory that no limit counts.
    Rule("memfd_create memfd_secret shmget msgget semget mq_open", refuse(ENOSYS)),
    # What is the machine's: its log, its clock, its name.
    Rule("syslog adjtimex clock_adjtime sethostname setdomainname", refuse(EPERM)),
    Rule("personality", ALLOW, (Where(0, _PERSONALITY),), otherwise=refuse(EPERM)),
    # A terminal that types for its owner.
    Rule("ioctl", refuse(EPERM), (Where(1, _INPUT_OF_A_TERMINAL),)),
)
_ANY_SOCKET = (int(AF_INET), int(AF_INET6), int(AF_UNIX))
_NO_SOCKET_FILES = (int(AF_INET), int(AF_INET6))
"""A socket file in a granted folder would be a way out of a jail without network."""


@cache
def native(*, network: bool) -> bytes:
    """All that programs usually do, but not around the walls."""
    families = Where(0, _ANY_SOCKET if network else _NO_SOCKET_FILES)
    sockets = Rule("socket", ALLOW, (families,), otherwise=refuse(EAFNOSUPPORT))
    return program((*_NATIVE, sockets), ALLOW, newest=system_calls.NEWEST)


def assemble() -> None:
    """Once for all that are forked from here: a child only has to hand its program over."""
    _for_all_who_compute()
    for network in (False, True):
        native(network=network)


# The kernel's language: classic BPF, see linux/filter.h and linux/seccomp.h.

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IS_EQUAL, _IS_GREATER, _IS_AT_LEAST = 0x15, 0x25, 0x35
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_OTHER_NUMBERS = 0x4000_0000
"""From here on x86_64 has its calls a second time, as x32: a way around any list."""


def program(rules: Iterable[Rule], otherwise: int, *, newest: int | None = None) -> bytes:
    """The first rule that names a call decides; calls after the newest are as if not there."""
    return _opening(newest) + _tests_of(rules, otherwise) + _line(_RETURN, otherwise)


def _opening(newest: int | None = None) -> bytes:
    lines = [
        _line(_LOAD, _MACHINE_AT),
        _line(_IS_EQUAL, system_calls.machine().audit, 1, 0),
        _line(_RETURN, KILL),
        _line(_LOAD, _NUMBER_AT),
        _line(_IS_AT_LEAST, _OTHER_NUMBERS, 0, 1),
        _line(_RETURN, KILL),
    ]
    if newest is not None:
        lines += [_line(_IS_GREATER, newest, 0, 1), _line(_RETURN, refuse(ENOSYS))]
    return b"".join(lines)


def _tests_of(rules: Iterable[Rule], otherwise: int) -> bytes:
    return b"".join(line for rule in rules for line in _lines_of(rule, otherwise))


def _lines_of(rule: Rule, otherwise: int) -> Iterator[bytes]:
    answer = [_line(_RETURN, rule.answer)]
    failed = otherwise if rule.otherwise is None else rule.otherwise
    body = [line for demand in rule.where for line in _lines_for(demand, failed)] + answer
    for name in rule.calls.split():
        number = system_calls.number(name)
        if number is not None:
            yield _line(_IS_EQUAL, number, 0, len(body))
            yield from body


def _lines_for(demand: Where, failed: int) -> Iterator[bytes]:
    """Go on behind these lines if the demand is met, else return."""
    yield _line(_LOAD, _ARGUMENTS_AT + 8 * demand.argument)  # both machines are little-endian
    yield _line(_AND, demand.mask)
    for left, value in zip(range(len(demand.values), 0, -1), demand.values, strict=True):
        yield _line(_IS_EQUAL, value, left, 0)
    yield _line(_RETURN, failed)


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
