"""Runs a command on a machine that seems to lack a part of what jails are made of.

`python -m tests.without_layer PART COMMAND…`

A seccomp filter, which every process below inherits and none can take off, answers the system calls
of that part with an error, as an older kernel or a stricter container would.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
FILTER_MODE = 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16
"""Where these stand in what a filter is given of a system call."""
NUMBERS = {
    "x86_64": {"landlock_create_ruleset": 444, "unshare": 272, "prctl": 157},
    "aarch64": {"landlock_create_ruleset": 444, "unshare": 97, "prctl": 167},
}


@dataclass(frozen=True)
class Part:
    """A system call, by name and, if need be, by its first argument, and the error it gives."""

    call: str
    error: int
    argument: int | None = None


PARTS = {
    "landlock": Part("landlock_create_ruleset", errno.ENOSYS),
    "namespaces": Part("unshare", errno.EPERM),
    "not_dumpable": Part("prctl", errno.EPERM, PR_SET_DUMPABLE),
}


def program(part: Part) -> bytes:
    """The filter: everything is allowed but the part."""
    number = NUMBERS[platform.machine()][part.call]
    if part.argument is None:
        checks = [(LOAD, 0, 0, NUMBER), (EQUALS, 0, 1, number)]
    else:
        checks = [
            (LOAD, 0, 0, NUMBER), (EQUALS, 0, 3, number),
            (LOAD, 0, 0, FIRST_ARGUMENT), (EQUALS, 0, 1, part.argument),
        ]  # fmt: skip
    steps = [*checks, (RETURN, 0, 0, ERRNO | part.error), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def install(part: Part) -> None:
    """Put the filter on this process and all that it will start."""
    steps = program(part)
    kept = ctypes.create_string_buffer(steps)
    header = struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value, pointer in (
        (PR_SET_NO_NEW_PRIVS, 1, None),
        (PR_SET_SECCOMP, FILTER_MODE, header),
    ):
        if libc.prctl(option, ctypes.c_ulong(value), pointer, 0, 0):
            raise OSError(ctypes.get_errno(), "the filter can't be put on")


if __name__ == "__main__":
    install(PARTS[sys.argv[1]])
    os.execvp(sys.argv[2], sys.argv[2:])
