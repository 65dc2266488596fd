"""Landlock: a process gives up files, ports, signals and abstract sockets for good.

It needs no root. What a kernel's version does not know yet stays open to this layer, and is the
business of the others: below 4 the TCP ports, below 6 signals and abstract sockets. Whatever its
version, it does not see `stat`, `chmod`, `utime`, UDP and socket files.
"""

import os
import stat
import struct
from collections.abc import Iterable
from functools import cache

from sandbox import kernel

_VERSION = 1
_PATH_BENEATH = 1

# linux/landlock.h: LANDLOCK_ACCESS_FS_*
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_FOLDER = 1 << 3
_MAKE_CHARACTER_DEVICE = 1 << 6
_MAKE_BLOCK_DEVICE = 1 << 11
_TRUNCATE = 1 << 14
_IOCTL_OF_DEVICES = 1 << 15

_FILE_RIGHTS_SINCE = ((1, 13), (2, 14), (3, 15), (5, 16))
"""A version of Landlock, and how many of the rights above, counted from bit 0, it knows."""
_PORTS_SINCE = 4
_SCOPES_SINCE = 6
_PORTS = 0b11
"""Bind and connect by TCP."""
_SCOPES = 0b11
"""Abstract sockets and signals."""

_READING = _EXECUTE | _READ_FILE | _READ_FOLDER
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_OF_DEVICES
_NEVER = _MAKE_CHARACTER_DEVICE | _MAKE_BLOCK_DEVICE


@cache
def version() -> int:
    """Of the kernel's Landlock; OSError where there is none."""
    return kernel.call("landlock_create_ruleset", None, 0, _VERSION)


def restrict(read: Iterable[str] = (), write: Iterable[str] = (), *, network: bool = False) -> None:
    """Keep what is below these paths, and TCP if asked for; give up all else."""
    known = version()
    files = _file_rights(known)
    ports = _PORTS if known >= _PORTS_SINCE and not network else 0
    scopes = _SCOPES if known >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", files, ports, scopes)
    rules = kernel.call("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path in read:
            _keep(rules, path, files & _READING)
        for path in write:
            _keep(rules, path, files & ~_NEVER)
        kernel.call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)


def _file_rights(known: int) -> int:
    bits = max(bits for since, bits in _FILE_RIGHTS_SINCE if since <= known)
    return (1 << bits) - 1


def _keep(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE  # the kernel refuses a rule that grants a file a folder's rights
        beneath = struct.pack("=Qi", rights, place)
        kernel.call("landlock_add_rule", rules, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(place)
