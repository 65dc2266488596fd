"""Who descends from whom, and what a process is, as the kernel tells it in /proc."""

import os

_LISTING = "/proc/{pid}/task/{thread}/children"


def children_of(pid: int) -> list[int]:
    """Those of every thread; none if the process has ended meanwhile."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(_LISTING.format(pid=pid, thread=thread)) as listing:
                found += map(int, listing.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def demand_listing() -> None:
    """Raise OSError where the kernel, built without CONFIG_PROC_CHILDREN, lists no children."""
    own = os.getpid()
    if not os.path.exists(_LISTING.format(pid=own, thread=own)):
        raise OSError("the kernel lists no process's children, so nobody could count what it uses")


def fields_of(pid: int) -> list[str]:
    """Those of /proc/PID/stat after the name, which may hold any character; none if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def all_children() -> list[int]:
    """This process's direct children, the dead ones included, also where none are listed."""
    own = os.getpid()
    try:
        with open(_LISTING.format(pid=own, thread=own)) as listing:
            return [int(pid) for pid in listing.read().split()]
    except FileNotFoundError:
        return [pid for pid in _all_pids() if fields_of(pid)[1:2] == [str(own)]]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
