"""Hundreds of runs, however they end, leave nothing behind: neither below nor in the server."""

import os
import threading
from collections import Counter

import pytest

from sandbox.limits import MIB, TESTS_ONLY
from sandbox.profiles import FRESH, WARM
from sandbox.resources import resident_bytes

LONG = 60
ENDINGS = {"success": 360, "error": 60, "timeout": 20, "killed": 60}


def jobs_of_all_kinds(notes):
    """Job, timeout and profile; what each is to come to is in ENDINGS."""
    for number in range(20):
        daemon = {"do": "fork_daemon", "notes": f"{notes}{number}", "then": "an answer"}
        yield {"do": "hang"}, 0.02, FRESH
        yield {"do": "die_of", "number": 9}, LONG, FRESH
        yield {"do": "write_frame", "payload": "no answer", "then": "an answer"}, LONG, WARM
        yield daemon, LONG, FRESH
        yield {"do": "print_a_lot"}, LONG, FRESH
        yield {"do": "kill_the_keeper", "notes": f"{notes}keeper{number}"}, LONG, FRESH
        for kind in ("ValueError", "SystemExit", "MemoryError"):
            yield {"do": "fail", "kind": kind}, LONG, FRESH if number % 2 else WARM
        for value in range(16):
            yield {"do": "echo", "value": "x" * value * 100}, LONG, WARM if value % 2 else FRESH


@pytest.mark.feature("X3")
@pytest.mark.feature("T16")
def test_five_hundred_runs_leave_nothing(own_workshop, processes, notes):
    for job, timeout, profile in list(jobs_of_all_kinds(f"{notes}-first-"))[:75]:
        own_workshop.run(job, timeout=timeout, profile=profile, limits=TESTS_ONLY)
    zygote = own_workshop._crew.pid
    before = what_there_is(processes, zygote)
    endings = Counter(
        own_workshop.run(job, timeout=timeout, profile=profile, limits=TESTS_ONLY).status.value
        for job, timeout, profile in jobs_of_all_kinds(notes)
    )
    assert endings == ENDINGS
    assert own_workshop._crew.pid == zygote
    processes.eventually(lambda: len(processes.below(zygote)) <= before["below"] + 2)  # both warm
    after = what_there_is(processes, zygote)
    assert after["descriptors"] <= before["descriptors"] + 3  # a keeper's and a warm child's
    assert after["of the zygote"] <= before["of the zygote"] + 2  # one of each keeper
    assert after["of a keeper"] <= before["of a keeper"] + 1  # the end of a warm child
    assert after["threads"] == before["threads"]
    assert after["memory"] - before["memory"] < 8 * MIB
    assert after["memory of the zygote"] - before["memory of the zygote"] < 2 * MIB
    own_workshop.close()
    assert not processes.is_running(zygote)


def what_there_is(processes, zygote):
    return {
        "below": len(processes.below(zygote)),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "of the zygote": len(os.listdir(f"/proc/{zygote}/fd")),
        "of a keeper": max(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes.below(zygote)),
        "threads": threading.active_count(),
        "memory": resident_bytes(os.getpid()),
        "memory of the zygote": resident_bytes(zygote),
    }
