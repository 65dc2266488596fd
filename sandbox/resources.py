"""What the kernel counts of a process: the limits that it keeps, and how much was used."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.limits import Limits

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = (11, 12, 13, 14)
"""utime, stime, cutime and cstime in what follows the name in /proc/PID/stat; see proc(5)."""
_RESIDENT = 21


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a run use together at one moment."""

    processes: int = 0
    resident_bytes: int = 0
    cpu_seconds: float = 0.0

    def exceeded(self, limits: Limits) -> str | None:
        """The first limit that is passed, as an `error_type`."""
        if self.resident_bytes > limits.memory_bytes:
            return "MemoryLimit"
        if limits.cpu_seconds is not None and self.cpu_seconds > limits.cpu_seconds:
            return "CpuLimit"
        return "ProcessLimit" if self.processes > limits.processes else None


def limit(limits: Limits) -> None:
    """Bound this process and each that it starts; what is over is refused by the kernel.

    The address space is counted from here: what the zygote has loaded is not the tool's.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the job
    _set(resource.RLIMIT_AS, _address_space() + limits.address_space_bytes)
    _set(resource.RLIMIT_NOFILE, limits.open_files)
    _set(resource.RLIMIT_FSIZE, limits.file_bytes)
    if limits.cpu_seconds is not None:
        _set(resource.RLIMIT_CPU, int(limits.cpu_seconds) + 1)  # the keeper counts all together


def used_below(pid: int) -> Usage:
    """What all processes below this one use now, the ones that they have waited for included."""
    processes, pages, ticks = 0, 0, 0
    for each in _descendants(pid):
        if fields := _stat(each):
            processes += 1
            ticks += sum(int(fields[at]) for at in _TIMES)
            pages += int(fields[_RESIDENT])
    return Usage(processes, pages * _PAGE, ticks / _TICKS)


def _descendants(pid: int) -> Iterator[int]:
    waiting = _children_of(pid)
    while waiting:
        one = waiting.pop()
        yield one
        waiting += _children_of(one)


def _children_of(pid: int) -> list[int]:
    """Those of every thread; none if the process has ended meanwhile."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as listing:
                found += map(int, listing.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may hold any character."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * _PAGE


def _set(kind: int, value: int) -> None:
    """Never above what this process may use itself."""
    _soft, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
