"""What the kernel counts of a process: the limits that it keeps, and how much was used."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox import kin
from sandbox.limits import Limits

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_STATE = 0
"""Where it stands in what follows the name in /proc/PID/stat; see proc(5)."""
_TIMES = (11, 12, 13, 14)
"""utime, stime, cutime and cstime."""
_RESIDENT = 21
_DEAD = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a run use together at one moment."""

    processes: int = 0
    resident_bytes: int = 0
    """Each process counts in full, also what it shares with others."""
    cpu_seconds: float = 0.0


class Meter:
    """Counts what this process's descendants use: a keeper's, so those of one run."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        """The most that was resident at a moment when somebody looked."""
        self._loaded = resident_bytes(os.getpid())
        self._reaped_before = _reaped_seconds()
        self._cpu_before = 0.0

    def exceeded(self, limits: Limits) -> str | None:
        """The first limit that is passed at this moment, as an `error_type`."""
        used = self.used()
        if used.processes > limits.processes:  # first: many processes are much memory too
            return "ProcessLimit"
        if used.resident_bytes > limits.memory_bytes + self._loaded:
            return "MemoryLimit"
        cpu_seconds = used.cpu_seconds - self._cpu_before
        is_over = limits.cpu_seconds is not None and cpu_seconds > limits.cpu_seconds
        return "CpuLimit" if is_over else None

    def forget_time(self) -> None:
        """Count processor time from now on: another job has begun in the same process."""
        self._cpu_before = self.used().cpu_seconds

    def used(self) -> Usage:
        """What they use now; the processor time of those that have ended is in it."""
        processes, pages, ticks = 0, 0, 0
        for pid in _descendants():
            if fields := kin.fields_of(pid):
                processes += fields[_STATE] not in _DEAD
                ticks += sum(int(fields[at]) for at in _TIMES)
                pages += int(fields[_RESIDENT])
        self.peak_bytes = max(self.peak_bytes, pages * _PAGE)
        return Usage(processes, pages * _PAGE, ticks / _TICKS + self.reaped_seconds())

    def reaped_seconds(self) -> float:
        """The processor time of those that were reaped: at a run's end, of all."""
        return _reaped_seconds() - self._reaped_before


def limit(limits: Limits, *, is_reused: bool) -> None:
    """Bound this process and each that it starts; what is over is refused by the kernel.

    The address space is counted from here: what the zygote has loaded is not the tool's. The
    keeper counts what the kernel cannot, so without its eyes there is no limit, and that is said.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the job
    _set(resource.RLIMIT_AS, _address_space() + limits.address_space_bytes)
    _set(resource.RLIMIT_NOFILE, limits.open_files)
    _set(resource.RLIMIT_FSIZE, limits.file_bytes)
    if limits.cpu_seconds is not None and not is_reused:  # a warm process's time is of many jobs
        seconds = int(limits.cpu_seconds) + 1  # the keeper counts all together, and more exactly
        _set(resource.RLIMIT_CPU, seconds, seconds + 1)  # SIGXCPU says why; SIGKILL is not ignored
    kin.demand_listing()


def resident_bytes(pid: int) -> int:
    """What of a process is in memory now; 0 if it is gone."""
    fields = kin.fields_of(pid)
    return int(fields[_RESIDENT]) * _PAGE if fields else 0


def most_resident_bytes() -> int:
    """The most that was ever in memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _descendants() -> Iterator[int]:
    """Of this process, parents first.

    Who lost its parent while that was being looked at is this process's own child by now, and
    found by a second look.
    """
    seen: set[int] = set()
    for _look in range(2):
        waiting = kin.all_children()
        while waiting:
            pid = waiting.pop()
            if pid not in seen:
                seen.add(pid)
                yield pid
                waiting += kin.children_of(pid)


def _reaped_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _address_space() -> int:
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        return int(statm.read().split()[0]) * _PAGE


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    """Never above what this process may use itself."""
    _soft, most = resource.getrlimit(kind)
    wanted = soft, soft if hard is None else hard
    bounds = wanted if most == resource.RLIM_INFINITY else (min(soft, most), min(wanted[1], most))
    resource.setrlimit(kind, bounds)
