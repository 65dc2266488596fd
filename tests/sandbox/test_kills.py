"""Whoever is killed or stopped, and whenever: one honest outcome, and nothing is left."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox.crew import Crew
from sandbox.limits import TESTS_ONLY
from sandbox.outcomes import Status
from sandbox.process import _Watch
from sandbox.profiles import FRESH, WARM
from tests.sandbox.conftest import HERE, make_workshop

ROOT = HERE.parent.parent
LONG = 60
SOON = 20
VICTIMS = ("zygote", "keeper", "child")


class Scene:
    """A workshop of one keeper with one child, and a stage at which something befalls one."""

    def __init__(self, processes, monkeypatch):
        self.processes = processes
        self.monkeypatch = monkeypatch
        self.workshop = make_workshop()
        self.workshop.check()
        self.cast = {}

    def look_around(self):
        zygote = self.workshop._crew.pid
        (keeper,) = self._children_of(zygote)
        self.cast = {"zygote": zygote, "keeper": keeper}
        for child in self._children_of(keeper):  # none, if it has ended after its answer
            self.cast["child"] = child

    def strike(self, victim, number):
        """Once; the dead are waited for, so that nothing is left to chance."""
        if self.cast:
            return
        self.look_around()
        os.kill(self.cast[victim], number)
        if number == signal.SIGKILL:
            self.processes.eventually(lambda: not self.processes.is_running(self.cast[victim]))

    def before_the_job_is_sent(self, strike):
        self._before(_Watch, "listen", lambda *_: strike())

    def once_the_answer_is_written(self, strike):
        def await_answer_and_strike(watch):
            waiting = select.poll()
            waiting.register(watch._channel, select.POLLIN)
            if not watch._unsent:
                assert waiting.poll(SOON * 1000)
                strike()

        self._before(_Watch, "_wait", await_answer_and_strike)

    def once_the_answer_is_read(self, strike):
        self._before(Crew, "end_child", lambda *_, **__: strike())

    def _before(self, owner, name, act):
        original = getattr(owner, name)

        def acted(self, *given, **named):
            act(self, *given, **named)
            return original(self, *given, **named)

        self.monkeypatch.setattr(owner, name, acted)

    def _children_of(self, pid):
        below = self.processes.below(pid)
        return [each for each in below if self.processes._field(each, 1) == str(pid)]


@pytest.fixture
def scene(processes, monkeypatch):
    monkeypatch.setattr("sandbox.crew._ANSWER_SECONDS", 2.0)
    open_before = sorted(os.listdir("/proc/self/fd"))
    scene = Scene(processes, monkeypatch)
    yield scene
    assert scene.workshop.run({"do": "echo", "value": 7}, timeout=LONG).data == 7
    scene.workshop.close()
    processes.eventually(lambda: not any(map(processes.is_running, scene.cast.values())))
    assert sorted(os.listdir("/proc/self/fd")) == open_before


@pytest.mark.feature("X3")
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_death_before_the_job_is_sent_is_told_as_one(scene, victim):
    scene.before_the_job_is_sent(lambda: scene.strike(victim, signal.SIGKILL))
    outcome = scene.workshop.run({"do": "hang"}, timeout=LONG)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert outcome.seconds < SOON
    assert outcome.signal == (9 if victim == "child" else None)


@pytest.mark.feature("X3")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_a_death_while_the_tool_runs_is_told_as_one(scene, notes, victim, profile):
    def strike():
        if notes.exists():
            scene.strike(victim, signal.SIGKILL)
        return True

    outcome = scene.workshop.run(
        {"do": "note_and_hang", "notes": str(notes)},
        timeout=LONG,
        profile=profile,
        on_tick=strike,
        tick_seconds=0.01,
    )
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert outcome.seconds < SOON
    assert notes.read_text().split() == [str(scene.cast["child"])]


SIGNALS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "stop"])


@pytest.mark.feature("X3")
@SIGNALS
@pytest.mark.parametrize("victim", VICTIMS)
def test_an_answer_that_was_written_counts_whoever_dies_before_it_is_read(scene, victim, number):
    scene.once_the_answer_is_written(lambda: scene.strike(victim, number))
    outcome = scene.workshop.run({"do": "echo", "value": 1}, timeout=LONG, profile=WARM)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, 1)
    assert scene.cast


@pytest.mark.feature("X3")
@SIGNALS
@pytest.mark.parametrize("victim", ["zygote", "keeper"])
def test_an_answer_counts_whoever_dies_before_the_process_has_ended(scene, victim, number):
    scene.once_the_answer_is_read(lambda: scene.strike(victim, number))
    outcome = scene.workshop.run({"do": "echo", "value": 1}, timeout=LONG, limits=TESTS_ONLY)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, 1)
    assert scene.cast


@pytest.mark.feature("X1")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("is_sent", [False, True])
def test_a_process_that_is_stopped_does_not_stop_the_clock(scene, notes, victim, is_sent):
    def strike():
        scene.strike(victim, signal.SIGSTOP)

    def strike_once_it_runs():
        if notes.exists():
            strike()
        return True

    if not is_sent:
        scene.before_the_job_is_sent(strike)
    outcome = scene.workshop.run(
        {"do": "note_and_hang", "notes": str(notes)},
        timeout=1,
        limits=TESTS_ONLY,
        on_tick=strike_once_it_runs if is_sent else None,
        tick_seconds=0.01,
    )
    assert outcome.status is Status.TIMEOUT
    assert outcome.seconds < SOON
    assert scene.cast
    scene.processes.eventually(lambda: not scene.processes.is_running(scene.cast["child"]))


def test_a_stopped_zygote_is_replaced_once_it_is_needed(scene, notes):
    with ThreadPoolExecutor(1) as pool:
        job = {"do": "note_and_hang", "notes": str(notes)}
        under_way = pool.submit(scene.workshop.run, job, timeout=5, limits=TESTS_ONLY)
        scene.processes.noted_in(notes, 1)
        scene.strike("zygote", signal.SIGSTOP)
        assert scene.workshop.run({"do": "echo", "value": 1}, timeout=LONG).data == 1
        assert under_way.result(LONG).status is Status.TIMEOUT


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_death_while_the_crew_retires_ends_only_its_own_run(scene, notes, victim):
    with ThreadPoolExecutor(1) as pool:
        job = {"do": "note_and_hang", "notes": str(notes)}
        under_way = pool.submit(scene.workshop.run, job, timeout=LONG)
        scene.processes.noted_in(notes, 1)
        scene.workshop._retire(scene.workshop._crew)
        old = scene.workshop._retired[0]
        scene.cast = dict(zip(VICTIMS, cast_below(scene.processes, old.pid), strict=True))
        assert scene.workshop.run({"do": "echo", "value": 1}, timeout=LONG).data == 1
        os.kill(scene.cast[victim], signal.SIGKILL)
        outcome = under_way.result(LONG)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Crashed")
    assert old.is_closed


def cast_below(processes, zygote):
    (keeper,) = (pid for pid in processes.below(zygote) if processes._field(pid, 1) == str(zygote))
    (child,) = processes.below(keeper)
    return zygote, keeper, child


STAGES = {
    "before the job is sent": ("_Watch", "listen", "hang"),
    "while the tool runs": ("_Watch", "_look_at_the_clock", "hang"),
    "once the answer is read": ("Crew", "end_child", "echo"),
    "while the crew retires": ("Crew", "give_back", "echo"),
}


@pytest.mark.feature("X3")
@pytest.mark.parametrize("stage", STAGES)
def test_a_supervisor_that_is_killed_leaves_nothing_at_any_stage(processes, stage):
    owner, method, job = STAGES[stage]
    body = f"""
        import os, signal, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
        from sandbox.crew import Crew
        from sandbox.process import Workshop, _Watch
        import psutil
        workshop = Workshop("sandbox_jobs:run", path=[{str(HERE)!r}, {str(ROOT)!r}])
        def die(*_, **__):
            if {stage == "while the crew retires"}:
                workshop._crew.retire()
            pids = [each.pid for each in psutil.Process().children(recursive=True)]
            print(pids, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        workshop.check()
        {owner}.{method} = die
        workshop.run({{"do": {job!r}}}, timeout=60, on_tick=lambda: True, tick_seconds=0.05)
    """
    source = textwrap.dedent(body)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as server:
        below = json.loads(server.stdout.readline())
        assert server.wait(LONG) == -signal.SIGKILL
    assert len(below) >= 2
    processes.eventually(lambda: not any(map(processes.is_running, below)))
