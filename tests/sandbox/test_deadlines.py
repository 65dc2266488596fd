"""What hangs is ended, with all it started."""

import os
import time

import pytest

from sandbox.limits import STANDARD, TESTS_ONLY
from sandbox.outcomes import Status

LEEWAY_SECONDS = 2.0


@pytest.mark.feature("X1")
def test_a_timed_out_tool_is_gone_within_two_seconds_of_its_deadline(workshop, processes, notes):
    started = time.monotonic()
    outcome = workshop.run({"do": "hang_ignoring_sigterm", "notes": str(notes)}, timeout=0.5)
    late = time.monotonic() - started - 0.5
    (pid,) = processes.noted_in(notes, 1)
    assert outcome.status is Status.TIMEOUT
    assert not processes.is_running(pid)
    assert late < LEEWAY_SECONDS


@pytest.mark.feature("X1")
@pytest.mark.parametrize("job", ["fork_with_setsid", "fork_daemon"])
def test_a_hung_tool_is_gone_with_its_daemon_within_two_seconds(workshop, processes, notes, job):
    started = time.monotonic()
    outcome = workshop.run({"do": job, "notes": str(notes), "then": "hang"}, timeout=1)
    late = time.monotonic() - started - 1
    pids = processes.noted_in(notes, 2)
    assert outcome.status is Status.TIMEOUT
    assert [pid for pid in pids if processes.is_running(pid)] == []
    assert late < LEEWAY_SECONDS


@pytest.mark.feature("X1")
@pytest.mark.parametrize(("timeout", "words"), [(0.3, "0.3"), (1, "1"), (1.0, "1")])
def test_a_timeout_says_how_long_the_tool_had(workshop, timeout, words):
    outcome = workshop.run({"do": "hang"}, timeout=timeout)
    assert outcome.error == f"tool timed out after {words} seconds"
    assert outcome.error_type == "TimeoutError"
    assert timeout <= outcome.seconds < timeout + LEEWAY_SECONDS


@pytest.mark.feature("T17")
def test_a_timeout_stops_the_work_and_not_only_the_waiting(workshop, tmp_path):
    path = tmp_path / "work"
    outcome = workshop.run({"do": "append_for_ever", "path": str(path)}, timeout=0.5)
    size = path.stat().st_size
    assert outcome.status is Status.TIMEOUT
    assert size > 0
    assert workshop.run({"do": "echo"}, timeout=None).status is Status.SUCCESS
    assert path.stat().st_size == size


@pytest.mark.feature("T17")
def test_a_loop_in_c_that_no_handler_can_interrupt_dies(workshop, processes, notes):
    job = {"do": "hang_in_c", "notes": str(notes)}
    outcome = workshop.run(job, timeout=0.5, limits=TESTS_ONLY)
    (pid,) = processes.noted_in(notes, 1)
    assert outcome.status is Status.TIMEOUT
    assert outcome.signal == 9
    assert not processes.is_running(pid)


def test_a_tool_that_heeds_sigterm_may_tidy_up(workshop, tmp_path):
    path = tmp_path / "farewell"
    outcome = workshop.run({"do": "leave_cleanly_on_sigterm", "path": str(path)}, timeout=1)
    assert outcome.status is Status.TIMEOUT
    assert path.read_text() == "bye"


def test_sigterm_comes_before_sigkill(workshop):
    assert workshop.run({"do": "hang"}, timeout=0.3).signal == 15


@pytest.mark.feature("X3")
@pytest.mark.parametrize("then", ["hang", "crash", "an answer"])
def test_a_tool_that_forks_sleep_leaves_none(workshop, processes, then):
    seconds = f"600.{os.getpid()}{len(then)}"  # so that no other test run's sleep is counted
    workshop.run({"do": "fork_sleep", "seconds": seconds, "then": then}, timeout=1)
    assert processes.with_words("sleep", seconds) == []


@pytest.mark.feature("X3")
@pytest.mark.parametrize("then", ["crash", "an answer"])
@pytest.mark.parametrize("job", ["fork_with_setsid", "fork_daemon"])
def test_what_a_tool_forked_dies_also_when_it_did_not_hang(workshop, processes, notes, job, then):
    outcome = workshop.run({"do": job, "notes": str(notes), "then": then}, timeout=20)
    pids = processes.noted_in(notes, 2)
    assert outcome.data == ("an answer" if then == "an answer" else None)
    assert [pid for pid in pids if processes.is_running(pid)] == []


@pytest.mark.feature("X3")
@pytest.mark.feature("T16")
def test_a_tree_of_sessions_is_felled_to_the_last_leaf(workshop, processes, notes):
    job = {"do": "hang_as_a_deep_tree", "notes": str(notes), "depth": 4}
    seen = []

    def is_unfinished():
        seen[:] = notes.read_text().split() if notes.exists() else []
        return len(seen) < 31

    outcome = workshop.run(
        job, timeout=20, on_tick=is_unfinished, tick_seconds=0.02, limits=TESTS_ONLY
    )
    pids = [int(line) for line in seen]
    assert outcome.status is Status.CANCELLED
    assert len(pids) == 31
    assert [pid for pid in pids if processes.is_running(pid)] == []


@pytest.mark.feature("X3")
def test_a_tool_that_stops_its_keeper_is_ended_all_the_same(own_workshop, processes, notes):
    job = {"do": "stop_the_keeper", "notes": str(notes)}
    outcome = own_workshop.run(job, timeout=1, limits=TESTS_ONLY)
    pids = processes.noted_in(notes, 2)
    assert outcome.status is Status.TIMEOUT
    processes.eventually(lambda: not any(map(processes.is_running, pids)))
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=20).data == 1


@pytest.mark.feature("X3")
def test_a_tool_that_kills_its_keeper_takes_nothing_out_of_reach(own_workshop, processes, notes):
    outcome = own_workshop.run({"do": "kill_the_keeper", "notes": str(notes)}, timeout=20)
    (pid,) = processes.noted_in(notes, 1)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    processes.eventually(lambda: not processes.is_running(pid))
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=20).data == 1


@pytest.mark.feature("X3")
def test_a_tool_that_kills_all_above_it_dies_with_them(own_workshop, processes, notes):
    outcome = own_workshop.run({"do": "kill_all_above", "notes": str(notes)}, timeout=20)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    (pid,) = processes.noted_in(notes, 1)
    processes.eventually(lambda: not processes.is_running(pid))
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=20).data == 1


def test_a_run_that_nobody_wants_any_more_is_cancelled(workshop, processes, notes):
    job = {"do": "note_and_hang", "notes": str(notes)}
    outcome = workshop.run(job, timeout=None, on_tick=lambda: not notes.exists(), tick_seconds=0.01)
    assert (outcome.status, outcome.error_type) == (Status.CANCELLED, "Cancelled")
    processes.eventually(lambda: not any(map(processes.is_running, processes.noted_in(notes, 1))))


def test_an_error_in_a_tick_ends_the_run_and_reaches_the_caller(workshop, processes, notes):
    class LostLease(Exception):
        pass

    def lose_lease():
        if notes.exists():
            raise LostLease
        return True

    job = {"do": "note_and_hang", "notes": str(notes)}
    with pytest.raises(LostLease):
        workshop.run(job, timeout=None, on_tick=lose_lease, tick_seconds=0.01)
    processes.eventually(lambda: not any(map(processes.is_running, processes.noted_in(notes, 1))))


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_refused(workshop, timeout):
    with pytest.raises(ValueError, match="longer than nothing"):
        workshop.run({"do": "echo"}, timeout=timeout)


def test_the_standard_grace_is_a_second():
    assert STANDARD.grace_seconds == 1.0
