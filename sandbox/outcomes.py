"""What became of a run: a frozen value, never an exception."""

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    SUCCESS = "success"
    """The tool answered with a JSON value."""

    ERROR = "error"
    """The tool raised, or answered with something that is not JSON."""

    TIMEOUT = "timeout"
    """The deadline passed; everything the tool started is gone."""

    KILLED = "killed"
    """The process died, or its answer was too large or none of ours."""

    CANCELLED = "cancelled"
    """The caller no longer wanted the answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    data: Any = None
    error: str = ""
    error_type: str = ""
    signal: int | None = None
    seconds: float = 0.0
    cpu_seconds: float | None = None
    """Processor time of a fresh process and what it waited for; a warm one is not measured."""
    max_rss_bytes: int | None = None
    """The largest resident size of a fresh process; a warm one is not measured per call."""
    jail: str = ""
    """The name of the profile that was around the process."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, as the kernel told the process that waited for it."""

    status: int
    """The wait status: negative for a signal, otherwise the exit code."""
    max_rss_bytes: int
    cpu_seconds: float = 0.0
    exceeded: str | None = None
    """The limit for which the keeper killed it, as an `error_type`."""

    @property
    def signal(self) -> int | None:
        return -self.status if self.status < 0 else None

    @property
    def error_type(self) -> str:
        """Why it died, as callers read it."""
        if self.exceeded:
            return self.exceeded
        return _BY_SIGNAL.get(self.signal, "Crashed")

    def __str__(self) -> str:
        if self.error_type in _DEATHS:
            return _DEATHS[self.error_type]
        if self.signal is None:
            return f"the tool's process exited with {self.status} and gave no answer"
        return f"the tool's process died of {_signal_name(self.signal)}"


_BY_SIGNAL: dict[int | None, str] = {signal.SIGSYS: "Violation", signal.SIGXCPU: "CpuLimit"}

_DEATHS = {
    "Violation": "the tool made a system call that its jail forbids, and was killed",
    "MemoryLimit": "the tool used more memory than it may, and was killed",
    "CpuLimit": "the tool used more processor time than it may, and was killed",
    "ProcessLimit": "the tool ran more processes at once than it may, and was killed",
}
"""What a caller reads of each end that has a name."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        return f"signal {number}"
