"""Mounts, by the kernel's newer calls: a tree of mounts is copied, restricted, and only then shown.

So there is no moment at which it can be seen with more rights than it was given. A mount that is
below a copied one is restricted with it, which the older calls leave out.
"""

import os
import struct

from sandbox import kernel

READ_ONLY = 0x1
NO_SETUID = 0x2
NO_DEVICES = 0x4
NO_PROGRAMS = 0x8

_NEW_MOUNTS = 0x00020000
_RECURSIVE, _PRIVATE = 0x4000, 0x40000
_DETACH = 2
_HERE = -100
_EMPTY_PATH, _ALL_BELOW = 0x1000, 0x8000
_CLONE = 1
_FROM_EMPTY_PATH = 4


def have_own() -> None:
    """Leave the parent's mounts for a copy of them: no change goes either way any more."""
    kernel.unshare(_NEW_MOUNTS)
    kernel.call("mount", None, b"/", None, _RECURSIVE | _PRIVATE, None)


def copy(descriptor: int, attributes: int) -> int:
    """A copy of what is mounted at and below an open path, attached nowhere yet."""
    flags = _CLONE | _EMPTY_PATH | _ALL_BELOW | os.O_CLOEXEC
    copied = kernel.call("open_tree", descriptor, b"", flags)
    _restrict(copied, b"", attributes, _EMPTY_PATH | _ALL_BELOW)
    return copied


def attach(descriptor: int, path: str) -> None:
    """Show a copied tree at a path, which must be there."""
    kernel.call("move_mount", descriptor, b"", _HERE, os.fsencode(path), _FROM_EMPTY_PATH)
    os.close(descriptor)


def make(kind: str, path: str, attributes: int, options: str = "") -> None:
    """A new file system of this kind over a folder.

    The first four attributes have the same numbers in mount(2) as in mount_setattr(2).
    """
    name = kind.encode()
    kernel.call("mount", name, os.fsencode(path), name, attributes, options.encode())


def restrict(path: str, attributes: int) -> None:
    """Set attributes of the one mount at a path."""
    _restrict(_HERE, os.fsencode(path), attributes, 0)


def make_root(path: str) -> None:
    """Make the file system that is mounted here the root, and let go of the one before."""
    os.chdir(path)
    kernel.call("pivot_root", b".", b".")
    kernel.call("umount2", b".", _DETACH)
    os.chdir("/")


def _restrict(descriptor: int, path: bytes, attributes: int, flags: int) -> None:
    wanted = struct.pack("=QQQQ", attributes, 0, 0, 0)  # struct mount_attr
    kernel.call("mount_setattr", descriptor, path, flags, wanted, len(wanted))
