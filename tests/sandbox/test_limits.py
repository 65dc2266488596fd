"""Each limit is hit, and told by its name; what stays just below is left alone."""

import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.limits import MIB, STANDARD, TESTS_ONLY
from sandbox.outcomes import Status
from sandbox.process import Workshop
from sandbox.profiles import FRESH, WARM
from tests.sandbox.conftest import PATH, make_workshop

LONG = 60
SOON = 20
"""Long before a tool that hangs would be ended by its deadline."""
LEEWAY_SECONDS = 2.0
SMALL = replace(STANDARD, memory_bytes=48 * MIB, grace_seconds=0.2)
QUICK = replace(STANDARD, cpu_seconds=0.6, grace_seconds=0.2)
FEW = replace(STANDARD, processes=12, grace_seconds=0.2)


@pytest.fixture(scope="module")
def workshop():
    shared = make_workshop("limit_jobs:run")
    yield shared
    shared.close()


@pytest.fixture
def own_workshop():
    own = make_workshop("limit_jobs:run")
    yield own
    own.close()


@pytest.fixture
def run(workshop):
    def run_job(do, *, limits=STANDARD, profile=FRESH, timeout=LONG, **job):
        return workshop.run({"do": do, **job}, timeout=timeout, limits=limits, profile=profile)

    return run_job


def is_killed_for(outcome, limit):
    return (
        (outcome.status, outcome.error_type) == (Status.KILLED, limit)
        and outcome.seconds < SOON
        and outcome.error.endswith("and was killed")
    )


# Memory


@pytest.mark.feature("X3")
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_more_memory_than_there_is_gets_a_tool_killed(run, profile):
    outcome = run("hold", megabytes=80, then="hang", limits=SMALL, profile=profile)
    assert is_killed_for(outcome, "MemoryLimit")


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_tool_just_below_its_memory_is_left_alone(run, profile):
    outcome = run("hold", megabytes=36, limits=SMALL, profile=profile)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, 36 * MIB)


def test_memory_is_that_of_all_processes_together(run):
    outcome = run("hold_in_forks", megabytes=20, count=3, limits=SMALL)
    assert is_killed_for(outcome, "MemoryLimit")


@pytest.mark.parametrize("job", ["hold_in_an_orphan", "hold_in_a_threads_child"])
def test_memory_is_counted_wherever_a_process_hides(run, processes, notes, job):
    outcome = run(job, megabytes=80, notes=str(notes), limits=SMALL)
    assert is_killed_for(outcome, "MemoryLimit")
    assert not any(map(processes.is_running, processes.noted_in(notes, 1)))


def test_memory_is_counted_though_its_holder_is_another_process_each_time(run):
    limits = replace(SMALL, processes=100_000)
    assert is_killed_for(run("hold_and_hop", megabytes=80, limits=limits), "MemoryLimit")


def test_a_tool_is_watched_also_in_the_time_that_it_is_given_to_end(run):
    limits = replace(SMALL, grace_seconds=SOON)
    started = time.monotonic()
    outcome = run("hold_after_sigterm", megabytes=80, limits=limits, timeout=0.3)
    assert (outcome.status, outcome.signal) == (Status.TIMEOUT, 9)
    assert time.monotonic() - started < SOON / 2


def test_more_address_space_is_refused_and_the_tool_may_say_so(run):
    limits = replace(STANDARD, address_space_bytes=256 * MIB)
    outcome = run("reserve", megabytes=300, limits=limits)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "MemoryError")
    assert run("reserve", megabytes=200, limits=limits).data == 200 * MIB


# Processor time


@pytest.mark.feature("X3")
@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_more_processor_time_gets_a_tool_killed(run, hears, profile):
    outcome = run("burn", seconds=LONG, hears=hears, limits=QUICK, profile=profile)
    assert is_killed_for(outcome, "CpuLimit")


def test_a_tool_just_below_its_processor_time_is_left_alone(run):
    assert run("burn", seconds=0.4, limits=QUICK).status is Status.SUCCESS


def test_processor_time_is_that_of_all_processes_together(run):
    outcome = run("burn_in_forks", seconds=0.3, count=3, limits=QUICK)
    assert is_killed_for(outcome, "CpuLimit")
    assert outcome.cpu_seconds > 0.6


def test_processor_time_of_what_has_ended_elsewhere_is_counted_too(run):
    outcome = run("burn_in_daemons", seconds=0.2, count=20, limits=QUICK)
    assert is_killed_for(outcome, "CpuLimit")
    assert 0.6 < outcome.cpu_seconds < 2


def test_the_kernel_ends_a_process_that_its_keeper_overlooks(run):
    limits = run("limits_that_hold", limits=QUICK).data
    assert limits["CPU"] == [1, 2]
    assert limits["CORE"] == [0, 0]


def test_a_tool_without_a_limit_of_time_has_only_its_deadline(run):
    assert run("limits_that_hold").data["CPU"] == [resource.RLIM_INFINITY] * 2


# Processes


@pytest.mark.feature("X3")
def test_more_processes_get_a_tool_killed(run):
    assert is_killed_for(run("have_processes", count=13, then="hang", limits=FEW), "ProcessLimit")


def test_as_many_processes_as_there_may_be_are_left_alone(run):
    outcome = run("have_processes", count=12, limits=FEW)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, 12)


@pytest.mark.parametrize("job", ["have_had_daemons", "have_had_children"])
def test_processes_that_have_ended_are_neither_counted_nor_kept(run, job):
    outcome = run(job, count=40, limits=FEW)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, 1)  # itself


@pytest.mark.feature("X3")
@pytest.mark.parametrize("apart", [False, True])
def test_a_fork_bomb_is_ended_within_two_seconds_and_leaves_none(
    own_workshop, processes, notes, apart
):
    job = {"do": "fork_bomb", "tokens": 300, "apart": apart, "notes": str(notes)}
    outcome = own_workshop.run(job, timeout=LONG, limits=FEW)
    assert is_killed_for(outcome, "ProcessLimit")
    assert outcome.seconds < LEEWAY_SECONDS
    pids = processes.noted_in(notes, 2)
    assert [pid for pid in pids if processes.is_running(pid)] == []
    assert len(processes.below(own_workshop._crew.pid)) == 1  # the keeper
    assert own_workshop.run({"do": "who"}, timeout=LONG).status is Status.SUCCESS


# What each process has


def test_more_open_files_are_refused_and_the_tool_may_say_so(run):
    limits = replace(STANDARD, open_files=32)
    in_use = run("descriptors_in_use", limits=limits).data
    assert run("open_files", count=32 - in_use, limits=limits).data == 32 - in_use
    outcome = run("open_files", count=33 - in_use, limits=limits)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "OSError")
    assert "Too many open files" in outcome.error


def test_a_longer_file_is_refused_and_the_tool_may_say_so(run, tmp_path):
    limits, path = replace(STANDARD, file_bytes=MIB), str(tmp_path / "file")
    assert run("write_file", path=path, size=MIB, limits=limits).data == MIB
    outcome = run("write_file", path=path, size=MIB + 1, limits=limits)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "OSError")
    assert "File too large" in outcome.error
    assert Path(path).stat().st_size <= MIB


def test_a_job_of_exactly_its_limit_is_sent_and_one_byte_more_is_not(workshop):
    empty = len('{"do":"who","":""}')
    for more in (0, 1):
        job = {"do": "who", "": "x" * (TESTS_ONLY.job_bytes - empty + more)}
        if more:
            with pytest.raises(ValueError, match="larger than 4096 bytes"):
                workshop.run(job, timeout=LONG, limits=TESTS_ONLY)
        else:  # it came as far as the tool, which has no such argument
            outcome = workshop.run(job, timeout=LONG, limits=TESTS_ONLY)
            assert outcome.error_type == "TypeError"


def test_a_tool_that_stops_itself_has_its_deadline(run):
    outcome = run("stop_itself", timeout=0.5, limits=SMALL)
    assert (outcome.status, outcome.signal) == (Status.TIMEOUT, 9)
    assert outcome.seconds < LEEWAY_SECONDS


def test_where_nobody_could_count_nothing_is_run(other_workshop):
    blind = other_workshop("module_without_listing:run")
    with pytest.raises(LayerMissing, match="nobody could count") as refusal:
        blind.run({"do": "echo"}, timeout=LONG)
    assert refusal.value.layer == Layer.RESOURCE_LIMITS


def test_where_nobody_could_count_an_operator_may_waive_it():
    waived = Workshop("module_without_listing:run", path=PATH, waived=[Layer.RESOURCE_LIMITS])
    try:
        assert waived.run({"do": "echo", "value": 1}, timeout=LONG).data == 1
    finally:
        waived.close()


# What was used


def test_a_run_tells_what_it_used(run):
    outcome = run("burn", seconds=0.4)
    assert 0.35 < outcome.cpu_seconds < 1
    assert outcome.seconds >= 0.35
    idle = run("hold", megabytes=60)
    assert idle.cpu_seconds < 0.3
    assert 60 * MIB < idle.max_rss_bytes < 160 * MIB


def test_what_a_run_used_is_that_of_all_its_processes(run):
    outcome = run("burn_in_forks", seconds=0.25, count=2, then="answer")
    assert outcome.status is Status.SUCCESS
    assert 0.5 <= outcome.cpu_seconds < 1.5
    outcome = run("hold_in_forks", megabytes=20, count=3, limits=SMALL)
    assert outcome.max_rss_bytes > 48 * MIB


def test_a_run_that_was_killed_tells_it_too(run):
    assert run("burn", seconds=LONG, limits=QUICK).cpu_seconds > 0.6
    timed_out = run("burn", seconds=LONG, timeout=0.5, limits=SMALL)
    assert timed_out.status is Status.TIMEOUT
    assert timed_out.cpu_seconds > 0.02
    assert timed_out.max_rss_bytes > MIB


def test_what_an_earlier_run_used_is_not_told_again(own_workshop):
    own_workshop.run({"do": "burn", "seconds": 0.5}, timeout=LONG)
    assert own_workshop.run({"do": "who"}, timeout=LONG).cpu_seconds < 0.4


# Warm processes


def test_a_warm_process_that_has_grown_is_replaced(own_workshop):
    limits = replace(STANDARD, warm_growth_bytes=32 * MIB)
    pids = [
        own_workshop.run(
            {"do": "leak", "megabytes": 10}, timeout=LONG, limits=limits, profile=WARM
        ).data
        for _ in range(6)
    ]
    assert len(set(pids)) == 2
    assert pids == sorted(pids, key=pids.index)


def test_a_warm_process_is_not_held_to_what_earlier_jobs_used(own_workshop):
    def burn(seconds):
        job = {"do": "burn_once_more", "seconds": seconds}
        return own_workshop.run(job, timeout=LONG, limits=QUICK, profile=WARM)

    outcomes = [burn(0.25) for _ in range(5)]
    assert {outcome.status for outcome in outcomes} == {Status.SUCCESS}
    assert len({outcome.data for outcome in outcomes}) == 1
    assert is_killed_for(burn(LONG), "CpuLimit")


def test_a_warm_process_is_held_to_the_limits_of_each_job(own_workshop):
    own_workshop.run({"do": "who"}, timeout=LONG, profile=WARM)
    job = {"do": "hold", "megabytes": 80, "then": "hang"}
    outcome = own_workshop.run(job, timeout=LONG, limits=SMALL, profile=WARM)
    assert is_killed_for(outcome, "MemoryLimit")


def test_a_warm_process_at_rest_is_left_in_peace(own_workshop):
    """A keeper that looked twenty times a second at each would be busy with nothing."""
    warm = own_workshop.run({"do": "sleep", "seconds": 0.2}, timeout=LONG, profile=WARM)
    before = times_woken(warm.data)
    watched = own_workshop.run({"do": "sleep", "seconds": 1.0}, timeout=LONG)
    assert times_woken(warm.data) - before <= 3
    again = own_workshop.run({"do": "sleep", "seconds": 1.0}, timeout=LONG, profile=WARM)
    assert again.data == warm.data != watched.data
    assert times_woken(warm.data) - before > 8


def times_woken(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["voluntary_ctxt_switches"])


def test_watching_a_run_costs_next_to_nothing(own_workshop):
    keeper = own_workshop.run({"do": "sleep", "seconds": 0.01}, timeout=LONG).data
    before = seconds_used_by(keeper)
    assert own_workshop.run({"do": "sleep", "seconds": 2.0}, timeout=LONG).data == keeper
    assert seconds_used_by(keeper) - before < 0.08


def seconds_used_by(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
