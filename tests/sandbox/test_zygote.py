"""When a zygote is replaced, and that the runs under way notice nothing of it."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import crew, sources
from sandbox.errors import SandboxUnavailable
from sandbox.outcomes import Status
from sandbox.process import Workshop
from sandbox.profiles import FRESH, WARM
from tests.sandbox.conftest import PATH

LONG = 60
TOOLS = """
import os, time
def run(job):
    if "go" in job:
        with open(job["notes"], "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        while not os.path.exists(job["go"]):
            time.sleep(0.005)
    return {answer!r}
"""
PAST = 1_700_000_000


class Deployment:
    """A folder with a tool's module, and a workshop that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("first")
        self.workshop = Workshop("deployed_tools:run", path=[str(folder), *PATH])

    def write(self, answer: str, name: str = "deployed_tools.py", **source: str) -> None:
        """Write the module, as if long ago; its length tells the versions apart."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source.get("text") or TOOLS.format(answer=answer))
        os.utime(path, (PAST, PAST))

    def run(self, profile=FRESH, **job):
        return self.workshop.run(job, timeout=LONG, profile=profile)

    @property
    def zygote(self) -> int:
        return self.workshop._crew.pid


@pytest.fixture
def looks_always(monkeypatch):
    """Not once a second at most, but before each run."""
    monkeypatch.setattr(crew, "_INSPECTION_SECONDS", 0.0)


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Deployment(tmp_path)
    yield made
    made.workshop.close()


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_changed_code_is_what_runs_next(deployment, looks_always, profile):
    assert deployment.run(profile).data == "first"
    deployment.write("the second")
    assert deployment.run(profile).data == "the second"


def test_unchanged_code_keeps_its_zygote(deployment, looks_always):
    deployment.run()
    zygote = deployment.zygote
    for _ in range(3):
        deployment.run()
    assert deployment.zygote == zygote


def test_a_changed_module_below_the_tools_folder_counts(deployment, looks_always):
    text = "from parts.inner import run"
    deployment.write("", "parts/inner.py", text=TOOLS.format(answer="first"))
    deployment.write("", text=text)
    assert deployment.run().data == "first"
    deployment.write("", "parts/inner.py", text=TOOLS.format(answer="the second"))
    assert deployment.run().data == "the second"


def test_a_file_that_no_tool_reads_changes_nothing(deployment, looks_always):
    deployment.run()
    zygote = deployment.zygote
    deployment.write("", "other.py", text="nobody imports this")
    deployment.run()
    assert deployment.zygote == zygote


def test_files_are_looked_at_once_a_second_at_most(deployment, monkeypatch):
    looks = []
    original = sources.have_changed
    monkeypatch.setattr(sources, "have_changed", lambda files: looks.append(original(files)))
    for _ in range(50):
        deployment.run(WARM)
    assert 1 <= len(looks) <= 5


def test_a_file_written_while_it_was_read_counts_as_changed(deployment):
    path = str(deployment.folder / "deployed_tools.py")
    assert sources._settled(sources.stamp_of(path), PAST * 10**9) is None
    assert sources._settled(sources.stamp_of(path), (PAST + 1) * 10**9) is not None
    assert sources.have_changed({path: None})


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_runs_under_way_end_with_the_code_that_they_began_with(
    deployment, looks_always, processes, notes, profile
):
    go = deployment.folder / "go"
    with ThreadPoolExecutor(1) as pool:
        job = {"go": str(go), "notes": str(notes)}
        under_way = pool.submit(deployment.run, profile, **job)
        (pid,) = processes.noted_in(notes, 1)
        old = deployment.zygote
        deployment.write("the second")
        assert deployment.run(profile).data == "the second"
        assert processes.is_running(old)
        assert processes.is_running(pid)
        go.touch()
        assert under_way.result(LONG).data == "first"
    processes.eventually(lambda: not processes.is_running(old))
    assert not processes.is_running(pid)


def test_closing_the_workshop_ends_what_an_old_crew_still_runs(
    deployment, looks_always, processes, notes
):
    with ThreadPoolExecutor(1) as pool:
        job = {"go": str(deployment.folder / "never"), "notes": str(notes)}
        under_way = pool.submit(deployment.run, **job)
        processes.noted_in(notes, 1)
        old = deployment.zygote
        deployment.write("the second")
        deployment.run()
        deployment.workshop.close()
        outcome = under_way.result(LONG)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert not processes.is_running(old)


def test_code_that_cannot_be_read_stops_new_runs_and_says_why(deployment, looks_always):
    deployment.run()
    deployment.write("", text="def run(:")
    for _ in range(2):
        with pytest.raises(SandboxUnavailable, match="SyntaxError"):
            deployment.run()
    deployment.write("mended")
    assert deployment.run().data == "mended"


def test_a_zygote_that_has_grown_is_replaced(other_workshop, looks_always, processes):
    growing = other_workshop("module_that_grows:run")
    growing.run({"do": "echo"}, timeout=LONG)
    zygote = growing._crew.pid
    growing.run({"do": "echo"}, timeout=LONG)
    assert growing._crew.pid != zygote
    assert not processes.is_running(zygote)


def test_many_threads_that_find_new_code_start_one_zygote(deployment, looks_always, processes):
    deployment.run()
    deployment.write("the second")
    start = threading.Barrier(8)

    def run(_):
        start.wait()
        return deployment.run().data, deployment.zygote

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(run, range(8)))
    assert {answer for answer, _zygote in answers} == {"the second"}
    assert len({zygote for _answer, zygote in answers}) == 1
