"""A secret goes to one process, after it was made, and is in no other."""

import os
import threading

import psutil
import pytest

from sandbox.profiles import FRESH, WARM
from tests.memory import family, holds, shown_in_proc
from tests.sandbox.conftest import make_workshop

SECRET = "-".join(["only", "one", "process", "knows", "this"])
LONG = 60


@pytest.fixture(scope="module")
def keeping():
    shared = make_workshop("secret_jobs:run")
    yield shared
    shared.close()


@pytest.mark.feature("X9")
def test_the_child_finds_it_in_its_environment_and_the_next_one_does_not(keeping):
    job = {"do": "environment"}
    given = keeping.run(job, timeout=LONG, secrets={"KEY": SECRET}).data
    assert given["KEY"] == SECRET
    assert "KEY" not in keeping.run(job, timeout=LONG).data


@pytest.mark.feature("X9")
def test_a_process_that_is_reused_is_given_none(keeping):
    with pytest.raises(ValueError, match="reused"):
        keeping.run({"do": "environment"}, timeout=LONG, profile=WARM, secrets={"KEY": SECRET})


@pytest.mark.feature("X9")
def test_it_is_not_in_the_environment_that_proc_shows_of_the_child(keeping):
    job = {"do": "initial_environment"}
    assert SECRET not in keeping.run(job, timeout=LONG, secrets={"KEY": SECRET}).data


@pytest.mark.feature("X9")
@pytest.mark.parametrize("profile", [FRESH, WARM], ids=lambda profile: profile.name)
def test_no_process_of_the_same_user_may_look_into_the_child(keeping, profile):
    assert keeping.run({"do": "dumpable"}, timeout=LONG, profile=profile).data == 0


@pytest.mark.feature("X9")
def test_while_one_tool_has_it_no_other_process_of_the_workshop_does(keeping, tmp_path):
    notes, go = tmp_path / "notes", tmp_path / "go"
    job = {"do": "wait", "notes": str(notes), "go": str(go)}
    lengths = []

    def run() -> None:
        lengths.append(keeping.run(job, timeout=LONG, secrets={"KEY": SECRET}).data)

    running = threading.Thread(target=run)
    running.start()
    try:
        while not notes.exists():
            assert running.is_alive()
        child, keeper = (int(pid) for pid in notes.read_text().split())
        other = keeping.run({"do": "environment"}, timeout=LONG, profile=WARM).data
        zygote = psutil.Process(keeper).ppid()
        below = family(zygote)
        assert {child, keeper, zygote} <= set(below)
        assert len(below) >= 4  # And the keeper of the other tool, whose child is still warm.
        assert psutil.Process(zygote).ppid() == os.getpid()
        assert [pid for pid in below if holds(pid, SECRET)] == [child]
        assert not any(SECRET.encode() in shown_in_proc(pid) for pid in below)
        assert "KEY" not in other
    finally:
        go.touch()
        running.join()
    assert lengths == [len(SECRET)]
