"""Who lives how long: nothing below outlives the server, and nothing above falls with a tool."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import protocol
from sandbox.crew import Slot
from sandbox.errors import SandboxUnavailable
from sandbox.jail import Jail
from sandbox.limits import STANDARD
from sandbox.outcomes import Status
from sandbox.process import Workshop, _request, _Watch
from sandbox.profiles import FRESH, WARM

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LONG = 60


def zygote_of(workshop):
    return workshop._crew.pid


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def start_server(body):
    """A process that owns a workshop and says what it is asked to print."""
    opening = f"""
        import json, os, sys, threading, time
        sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
        from sandbox.process import Workshop
        from sandbox.profiles import WARM
        workshop = Workshop("sandbox_jobs:run", path=[{str(HERE)!r}, {str(ROOT)!r}])
    """
    source = textwrap.dedent(opening) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.feature("X3")
def test_a_server_killed_with_sigkill_leaves_no_process_below(processes, notes):
    body = f"""
        jobs = [
            {{"do": "note_and_hang", "notes": {str(notes)!r}}},
            {{"do": "fork_daemon", "notes": {str(notes)!r}, "then": "hang"}},
            {{"do": "hang_ignoring_sigterm", "notes": {str(notes)!r}}},
            {{"do": "stop_the_keeper", "notes": {str(notes)!r}}},
        ]
        for job in jobs:
            threading.Thread(target=workshop.run, args=(job,), kwargs={{"timeout": None}}).start()
        workshop.run({{"do": "count"}}, timeout=None, profile=WARM)
        print("up", flush=True)
    """
    with start_server(body) as server:
        assert server.stdout.readline() == "up\n"
        noted = processes.noted_in(notes, 6)
        below = processes.below(server.pid) | set(noted)
        assert len(below) == 13  # a zygote, five keepers, five children, two of their own
        server.kill()
    processes.eventually(lambda: not any(map(processes.is_running, below)))


@pytest.mark.parametrize("knows_of_workshop", [True, False])
def test_a_server_killed_with_a_fork_of_it_alive_leaves_none_either(processes, knows_of_workshop):
    body = f"""
        import subprocess
        workshop.run({{"do": "count"}}, timeout=None, profile=WARM)
        if {knows_of_workshop}:
            fork = os.fork()
            if fork == 0:
                time.sleep(600)
        else:  # it holds the sockets open, and nobody told it to close them
            for number in range(3, 64):
                try:
                    os.set_inheritable(number, True)
                except OSError:
                    continue
            fork = subprocess.Popen(["sleep", "600"], close_fds=False).pid
        print(fork, flush=True)
        time.sleep(600)
    """
    with start_server(body) as server:
        fork = int(server.stdout.readline())
        below = processes.below(server.pid) - {fork}
        assert len(below) == 3
        server.kill()
        try:
            processes.eventually(lambda: not any(map(processes.is_running, below)))
            assert processes.is_running(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_an_idle_workshop_does_not_keep_the_server_from_ending(processes):
    body = """
        workshop.run({"do": "count"}, timeout=None)
        pid = workshop.run({"do": "count"}, timeout=None, profile=WARM).data["pid"]
        print(pid, flush=True)
    """
    with start_server(body) as server:
        pid = int(server.stdout.readline())
        assert server.wait(LONG) == 0
    assert not processes.is_running(pid)


def test_a_fork_of_the_server_starts_its_own_zygote_and_leaves_the_parents_alone():
    body = """
        import warnings
        def pid():
            return workshop.run({"do": "count"}, timeout=30, profile=WARM).data["pid"]
        before = pid()
        reader, writer = os.pipe()
        fork = os.fork()
        if fork == 0:
            os.write(writer, json.dumps(pid()).encode())
            workshop.close()
            sys.exit(0)
        status = os.waitpid(fork, 0)[1]
        print(json.dumps([before, pid(), json.loads(os.read(reader, 99)), status]), flush=True)
    """
    with start_server(body) as server:
        before, after, inside, status = json.loads(server.stdout.readline())
        assert server.wait(LONG) == 0
    assert status == 0
    assert before == after != inside


def test_a_zygote_killed_between_runs_is_replaced_unseen(own_workshop, processes):
    for profile in (FRESH, WARM):
        assert own_workshop.run({"do": "echo", "value": 1}, timeout=LONG, profile=profile).data == 1
    old = zygote_of(own_workshop)
    below = processes.below(old)
    os.kill(old, signal.SIGKILL)
    for profile in (FRESH, WARM):
        assert own_workshop.run({"do": "echo", "value": 2}, timeout=LONG, profile=profile).data == 2
    assert zygote_of(own_workshop) != old
    processes.eventually(lambda: not any(map(processes.is_running, below)))


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_zygote_killed_in_mid_run_ends_the_run_and_the_job_is_not_sent_again(
    own_workshop, processes, notes, profile
):
    def kill_once_it_runs():
        if notes.exists():
            os.kill(zygote_of(own_workshop), signal.SIGKILL)
        return True

    job = {"do": "fork_daemon", "notes": str(notes), "then": "hang"}
    outcome = own_workshop.run(
        job, timeout=LONG, profile=profile, on_tick=kill_once_it_runs, tick_seconds=0.05
    )
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert outcome.seconds < LONG / 2
    pids = processes.noted_in(notes, 1)
    processes.eventually(lambda: not any(map(processes.is_running, pids)))
    assert own_workshop.run({"do": "echo", "value": 2}, timeout=LONG, profile=profile).data == 2
    assert processes.noted_in(notes, 1)[0] == pids[0]
    assert len(notes.read_text().split()) <= 2


def test_a_keeper_killed_between_runs_is_replaced_unseen(own_workshop, processes):
    own_workshop.check()
    (keeper,) = processes.below(zygote_of(own_workshop))
    os.kill(keeper, signal.SIGKILL)
    processes.eventually(lambda: not processes.is_running(keeper))
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=LONG).data == 1


def test_a_keeper_that_does_not_answer_is_replaced_and_killed(own_workshop, processes, monkeypatch):
    own_workshop.check()
    (keeper,) = processes.below(zygote_of(own_workshop))
    os.kill(keeper, signal.SIGSTOP)
    monkeypatch.setattr("sandbox.crew._ANSWER_SECONDS", 2.0)
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=LONG).data == 1
    processes.eventually(lambda: not processes.is_running(keeper))


def test_an_end_told_along_with_the_start_is_not_overlooked():
    ours, keepers = socket.socketpair()
    slot, jail = Slot(ours, 0), Jail(FRESH)
    with keepers, ThreadPoolExecutor(1) as pool:
        started = pool.submit(slot.start_child, jail)
        _command, channel = protocol.receive_with_descriptor(keepers)
        protocol.send(keepers, {"started": 1})
        protocol.send(keepers, {"ended": {"status": -9, "max_rss_bytes": 1}})
        with socket.socket(fileno=channel) as child:
            protocol.send(child, {"entered": jail.profile.name})
            started.result(LONG)
            watch = _Watch(_request({}, STANDARD), jail, LONG)
            watch.listen(slot)
        assert watch.outcome().signal == 9
    slot.close()


def test_closing_a_workshop_ends_the_runs_in_other_threads(own_workshop, processes, notes):
    with ThreadPoolExecutor(1) as pool:
        job = {"do": "note_and_hang", "notes": str(notes)}
        running = pool.submit(own_workshop.run, job, timeout=None)
        (pid,) = processes.noted_in(notes, 1)
        own_workshop.close()
        outcome = running.result(LONG)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert not processes.is_running(pid)


def test_a_closed_workshop_opens_again(own_workshop):
    own_workshop.check()
    own_workshop.close()
    own_workshop.close()
    assert own_workshop.run({"do": "echo", "value": 1}, timeout=LONG).data == 1


def test_two_hundred_runs_leave_no_process_and_no_descriptor(own_workshop, processes):
    own_workshop.check()
    below, open_before = processes.below(zygote_of(own_workshop)), descriptors()
    for number in range(200):
        own_workshop.run({"do": "echo" if number % 4 else "fork_sleep", "value": 1}, timeout=LONG)
    assert processes.below(zygote_of(own_workshop)) == below
    assert descriptors() == open_before
    own_workshop.close()
    assert not any(map(processes.is_running, below))


def test_closing_gives_back_every_descriptor():
    open_before = descriptors()
    workshop = Workshop("sandbox_jobs:run", path=[str(HERE), str(ROOT)])
    workshop.run({"do": "echo"}, timeout=LONG)
    workshop.run({"do": "echo"}, timeout=LONG, profile=WARM)
    workshop.close()
    assert descriptors() == open_before


@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_eight_threads_at_once_each_get_their_own_answers(own_workshop, processes, profile):
    start = threading.Barrier(8)

    def work(thread):
        start.wait()
        values = [f"{thread}:{number}" for number in range(25)]
        return values, [
            own_workshop.run({"do": "echo", "value": value}, timeout=LONG, profile=profile).data
            for value in values
        ]

    with ThreadPoolExecutor(8) as pool:
        for sent, got in pool.map(work, range(8)):
            assert sent == got
    assert len(processes.below(zygote_of(own_workshop))) <= 16


def test_check_is_content_with_a_child_that_answers(other_workshop):
    other_workshop("sandbox_jobs:entry_that_is_no_function").check()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("no_such_module:run", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("module_that_fails:run", "RuntimeError: this module has a bad day"),
        ("sandbox_jobs:nothing", "AttributeError"),
        ("sandbox_jobs:calls", "TypeError: sandbox_jobs:calls is not callable"),
        ("module_with_thread:run", "RuntimeError: the modules started 1 thread"),
    ],
)
def test_a_zygote_that_cannot_start_says_why(other_workshop, entry, reason):
    workshop = other_workshop(entry)
    with pytest.raises(SandboxUnavailable, match=reason):
        workshop.check()
    with pytest.raises(SandboxUnavailable, match=reason):
        workshop.run({}, timeout=1)


def test_an_interpreter_that_cannot_start_says_so(own_workshop, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(SandboxUnavailable, match="cannot be started"):
        own_workshop.check()


def test_an_interpreter_that_is_none_says_so(own_workshop, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(SandboxUnavailable, match="does not answer"):
        own_workshop.check()
