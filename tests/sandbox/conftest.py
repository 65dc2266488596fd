"""What the workshop's tests share: real workshops, and eyes on the kernel's list of processes."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.process import Workshop

HERE = Path(__file__).resolve().parent
PATH = (str(HERE), str(HERE.parent.parent))
PATIENCE_SECONDS = 20.0
"""How long a test waits for what must happen; a busy machine takes longer than a free one."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(id): the promise that a test proves")


def make_workshop(entry: str = "sandbox_jobs:run") -> Workshop:
    return Workshop(entry, path=PATH)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """One for a whole module: tests must not be able to spoil it for the next."""
    shared = make_workshop()
    yield shared
    shared.close()


@pytest.fixture
def own_workshop() -> Iterator[Workshop]:
    """One for a test that kills or counts what is below it."""
    own = make_workshop()
    yield own
    own.close()


@pytest.fixture
def other_workshop() -> Iterator[Callable[[str], Workshop]]:
    made: list[Workshop] = []

    def make(entry: str) -> Workshop:
        made.append(make_workshop(entry))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file into which a tool writes the ids of what it started, one a line."""
    return tmp_path / "pids"


class Processes:
    """The kernel's view; a zombie does not count as running."""

    def is_running(self, pid: int) -> bool:
        return self._field(pid, 0) not in ("", "Z", "X")

    def below(self, pid: int) -> set[int]:
        """Every running descendant that is still connected by its parents."""
        parents = {each: self._field(each, 1) for each in self._all()}
        found = {pid}
        while grown := {each for each, up in parents.items() if up.isdigit() and int(up) in found}:
            if grown <= found:
                break
            found |= grown
        return {each for each in found - {pid} if self.is_running(each)}

    def with_words(self, *words: str) -> list[int]:
        """Running processes with this command line."""
        wanted = b"\0".join(word.encode() for word in words) + b"\0"
        return [pid for pid in self._all() if self._command(pid) == wanted]

    def noted_in(self, notes: Path, count: int) -> list[int]:
        self.eventually(lambda: len(_lines(notes)) >= count)
        return [int(line) for line in _lines(notes)]

    def eventually(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)

    def _all(self) -> list[int]:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]

    def _command(self, pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    def _field(self, pid: int, number: int) -> str:
        """A field of /proc/PID/stat, counted from the state on."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[number]


def _lines(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


@pytest.fixture(scope="session")
def processes() -> Processes:
    return Processes()


@pytest.fixture(scope="session")
def workshop_of_programs() -> Iterator[Workshop]:
    """One that runs the programs of exec."""
    shared = make_workshop("program_jobs:run")
    yield shared
    shared.close()
