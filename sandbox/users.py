"""A user id for one process alone, where the server is root and so can give one away."""

import errno
import os

from sandbox import kernel

FIRST = 1_900_000_000
"""Above every range that systemd and shadow give out. The process id is added: no two processes
that live at the same time have the same user, whichever server they belong to."""


def become_own() -> None:
    """Be a user that owns nothing, for good. Without root this does nothing."""
    if os.geteuid() != 0:
        return
    parent, own = os.getppid(), FIRST + os.getpid()
    os.setgroups([])
    os.setresgid(own, own, own)
    os.setresuid(own, own, own)
    kernel.die_with(parent)  # the kernel forgets that wish when a process changes its user
    _stay()


def _stay() -> None:
    """The kernel took root's powers with the user id; believed once it refuses to give it back."""
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise OSError(errno.EPERM, "this kernel lets a process become root again")
