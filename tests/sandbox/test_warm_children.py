"""A warm process serves job after job, and ends when it is no longer what it was."""

import os
import signal

import pytest

from sandbox.limits import TESTS_ONLY
from sandbox.outcomes import Status
from sandbox.profiles import WARM

LONG = 60


@pytest.fixture
def warm(own_workshop):
    def run(job, timeout=LONG, **more):
        return own_workshop.run({"do": job, **more}, timeout=timeout, profile=WARM)

    return run


def test_a_warm_process_serves_again(warm):
    seen = [warm("count").data for _ in range(5)]
    assert [each["calls"] for each in seen] == [1, 2, 3, 4, 5]
    assert len({each["pid"] for each in seen}) == 1


def test_a_fresh_run_never_gets_a_process_that_served_before(own_workshop, warm):
    warm("count")
    fresh = [own_workshop.run({"do": "count"}, timeout=LONG).data for _ in range(3)]
    assert [each["calls"] for each in fresh] == [1, 1, 1]
    assert len({each["pid"] for each in fresh}) == 3
    assert warm("count").data["calls"] == 2


def test_a_warm_process_is_replaced_after_its_number_of_calls(own_workshop):
    seen = [
        own_workshop.run({"do": "count"}, timeout=LONG, profile=WARM, limits=TESTS_ONLY).data
        for _ in range(7)
    ]
    assert [each["calls"] for each in seen] == [1, 2, 3, 1, 2, 3, 1]


def test_a_warm_process_whose_tool_raised_goes_on(warm):
    pid = warm("count").data["pid"]
    assert warm("fail", kind="ValueError").status is Status.ERROR
    assert warm("count").data == {"pid": pid, "calls": 2}


@pytest.mark.parametrize("job", ["leave_a_process", "leave_an_orphan"])
def test_a_warm_process_that_left_a_process_behind_is_ended_with_it(warm, processes, notes, job):
    left = warm(job, notes=str(notes))
    assert left.status is Status.SUCCESS
    (pid,) = processes.noted_in(notes, 1)
    assert not processes.is_running(pid)
    assert not processes.is_running(left.data)
    assert warm("count").data["calls"] == 1


def test_a_warm_process_that_left_a_thread_behind_is_ended(warm, processes):
    left = warm("leave_a_thread")
    assert left.status is Status.SUCCESS
    assert not processes.is_running(left.data)
    assert warm("count").data["calls"] == 1


def test_a_warm_process_that_timed_out_is_replaced(warm, processes):
    pid = warm("count").data["pid"]
    assert warm("hang", timeout=0.3).status is Status.TIMEOUT
    assert not processes.is_running(pid)
    assert warm("count").data["calls"] == 1


def test_a_warm_process_that_died_while_it_waited_is_replaced_unseen(warm, processes):
    pid = warm("count").data["pid"]
    os.kill(pid, signal.SIGKILL)
    processes.eventually(lambda: not processes.is_running(pid))
    again = warm("count")
    assert again.status is Status.SUCCESS
    assert again.data["calls"] == 1


def test_a_keeper_whose_slot_is_let_go_of_ends_too(own_workshop, warm, processes):
    pid = warm("count").data["pid"]
    zygote = own_workshop._crew.pid
    os.kill(pid, signal.SIGKILL)
    processes.eventually(lambda: not processes.is_running(pid))
    warm("count")
    processes.eventually(lambda: len(processes.below(zygote)) == 2)


def test_a_forged_answer_never_reaches_the_next_caller(warm):
    first = warm("answer_twice", value="of the first caller")
    following = [warm("echo", value=number) for number in range(5)]
    assert first.data in ("forged", "of the first caller")
    for number, outcome in enumerate(following):
        assert outcome.status is Status.KILLED or outcome.data == number
    assert following[-1].data == 4


def test_a_waiting_warm_process_ends_with_the_workshop(own_workshop, warm, processes):
    pid = warm("count").data["pid"]
    own_workshop.close()
    assert not processes.is_running(pid)
