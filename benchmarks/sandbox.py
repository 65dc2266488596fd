"""What a process of its own costs: each profile beside a bare fork, and beside what others do.

One supervisor, no server and no database. Subjects are measured in turn, round after round; the
figures are milliseconds from the job to its parsed result, and ratios to the bare fork of the
same round.
"""

import contextlib
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bare import BARE
from sandbox.library import PRELOADED
from sandbox.outcomes import Status
from sandbox.process import Workshop
from sandbox.profiles import FRESH, NATIVE, STRICT, WARM, Profile

RUNS = 60
"""In a round, of each subject that takes milliseconds; a tenth of it of those that take longer."""
SUPERVISOR_SECONDS = 3.0
THREADS = 4
CODE = "total = 0\nfor n in range(1000):\n    total += n * n\nprint(total)\ntotal"
NUMBERS = [1, 2, 3]

Act = Callable[[], object]


@dataclass(slots=True)
class Subject:
    """One way to run something, and how long each run of each round took."""

    name: str
    act: Act
    runs: int = RUNS
    rounds: list[list[float]] = field(default_factory=list)

    def measure(self) -> None:
        """One round."""
        self.rounds.append([_seconds(self.act) for _ in range(self.runs)])

    def percentile(self, percent: int) -> float:
        """Milliseconds: the median over the rounds."""
        return 1000 * statistics.median(_percentile(times, percent) for times in self.rounds)

    def ratio_to(self, other: "Subject") -> float:
        """The median over the rounds of the ratio of a round's medians."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(
            statistics.median(own) / statistics.median(its) for own, its in pairs
        )


def main(rounds: int, peers_python: str) -> None:
    """Measure in turn, print the table, then what one supervisor gets through."""
    workshop = Workshop("benchmarks.bare:run", [*PRELOADED])
    with contextlib.ExitStack() as stack:
        stack.callback(workshop.close)
        subjects = [*ours(workshop), *others(), *stack.enter_context(theirs(peers_python))]
        for subject in subjects:  # Once for nothing.
            subject.act()
        for number in range(rounds):
            for subject in subjects:
                subject.measure()
            print(f"sandbox: round {number + 1}", file=sys.stderr, flush=True)
        report(subjects)
        rate = statistics.median(per_second(workshop) for _ in range(rounds))
        print(f"\n{rate:.0f} strict runs a second from one supervisor with {THREADS} threads")


def ours(workshop: Workshop) -> list[Subject]:
    """Each profile, with the same work in it."""

    def running(profile: Profile, **job: object) -> Act:
        def act() -> None:
            outcome = workshop.run(job, timeout=30, profile=profile)
            if outcome.status is not Status.SUCCESS:
                raise AssertionError(outcome)

        return act

    return [
        Subject("a fork and no layer", running(BARE, code=CODE)),
        Subject("fresh", running(FRESH, code=CODE)),
        Subject("strict", running(STRICT, code=CODE)),
        Subject("native", running(NATIVE, code=CODE)),
        Subject("warm, a sum", running(WARM, numbers=NUMBERS), runs=RUNS * 5),
        Subject("the same sum, called", lambda: sum(NUMBERS), runs=RUNS * 5),
    ]


def others() -> list[Subject]:
    """A new interpreter, the same in bubblewrap if it is there, and code in a thread."""
    command = [sys.executable, "-I", "-c", CODE]
    found = [
        Subject("a thread and exec, as RLM's gateway", _in_a_thread),
        Subject("a new interpreter", _spawning(command), runs=RUNS // 10),
    ]
    if bwrap := shutil.which("bwrap"):
        jail = [bwrap, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]
        found.append(Subject("bubblewrap", _spawning([*jail, *command]), runs=RUNS // 10))
    return found


@contextlib.contextmanager
def theirs(peers_python: str) -> Iterator[list[Subject]]:
    """ToolRampart's isolated mode, called in its own process and its own environment."""
    command = [peers_python, "-I", str(Path(__file__).with_name("their_isolation.py"))]
    with (
        tempfile.TemporaryDirectory() as folder,  # where it keeps its log
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=folder
        ) as peer,
    ):
        if peer.stdin is None or peer.stdout is None:
            raise AssertionError("both are pipes")
        ask, answer = peer.stdin, peer.stdout

        def act() -> None:
            ask.write("run\n")
            if answer.readline() != "6\n":
                raise AssertionError("ToolRampart gave no answer")

        yield [Subject("ToolRampart, isolated", act, runs=RUNS // 10)]
        ask.close()


def per_second(workshop: Workshop) -> float:
    """Strict runs that end in a second, several at a time."""
    until = time.perf_counter() + SUPERVISOR_SECONDS

    def run_on(_: int) -> int:
        count = 0
        while time.perf_counter() < until:
            workshop.run({"code": CODE}, timeout=30, profile=STRICT)
            count += 1
        return count

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(run_on, range(THREADS))) / SUPERVISOR_SECONDS


def report(subjects: list[Subject]) -> None:
    """The table, in Markdown."""
    print("| subject | p50 ms | p95 ms | of the bare fork |")
    print("|---|---|---|---|")
    for subject in subjects:
        cells = [f"{subject.percentile(percent):.3f}" for percent in (50, 95)]
        print(f"| {subject.name} | {' | '.join(cells)} | {subject.ratio_to(subjects[0]):.2f} |")


def _in_a_thread() -> None:
    def body() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(CODE, {})

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def _spawning(command: list[str]) -> Act:
    return lambda: subprocess.run(command, check=True, capture_output=True)


def _seconds(act: Act) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _percentile(times: list[float], percent: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
