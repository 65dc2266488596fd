"""STRICT: code that has all of CPython and reaches nothing, as root and as an ordinary user."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from sandbox import protocol, users
from sandbox.limits import Limits
from sandbox.outcomes import Status
from sandbox.profiles import STRICT
from tests.sandbox import jailed_jobs
from tests.sandbox.conftest import make_workshop
from tests.sandbox.other_servers import (
    NOBODY,
    ask_ordinary_server,
    ask_server_lacking,
    needs_landlock,
)

LONG = 60
WORDS = "nobody in a jail reads this"
pytestmark = needs_landlock
SPOILS_ITS_OWN_CHANNEL = {"close_the_channel", "close_everything", "be_traced", "vfork"}
"""Without a jail these cost the child its answer; that they are taken is seen by that."""


@dataclass(frozen=True)
class Aims:
    folder: str
    file: str
    port: int
    abstract: str
    pid: int


class Neighbourhood:
    """What is around a jail: a folder, listeners, and a process of the same user."""

    def __init__(self, folder: Path, victim: int) -> None:
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o777)
        (folder / "file").write_text(WORDS)
        (folder / "file").chmod(0o666)
        name = f"rampart-test-{os.getpid()}-{victim}"
        tcp = socket.create_server(("127.0.0.1", 0))
        self.listeners = [tcp, self._listen(f"{folder}/door"), self._listen(f"\0{name}")]
        (folder / "door").chmod(0o777)
        port = tcp.getsockname()[1]
        self.aims = Aims(str(folder), f"{folder}/file", port, name, victim)
        self._before = self._state()

    def is_untouched(self) -> bool:
        nobody_came = not select.select(self.listeners, [], [], 0)[0]
        return nobody_came and self._state() == self._before

    def close(self) -> None:
        for each in self.listeners:
            each.close()

    def _state(self) -> object:
        """Reading a file may change the time of access; nothing else may change."""
        file = self.folder / "file"
        of_victim = Path(f"/proc/{self.aims.pid}")
        return (
            sorted(each.name for each in self.folder.iterdir()),
            file.read_text(),
            (file.stat().st_mode, file.stat().st_uid, file.stat().st_mtime_ns, file.stat().st_ino),
            (self.folder.stat().st_mode, self.folder.stat().st_mtime_ns),
            (of_victim / "limits").read_text(),
            (of_victim / "status").read_text().partition("TracerPid:")[2].split()[0],
        )

    @staticmethod
    def _listen(address: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        return listener


@pytest.fixture(scope="module")
def workshop():
    shared = make_workshop("jailed_jobs:run")
    yield shared
    shared.close()


@contextlib.contextmanager
def a_process():
    with subprocess.Popen(["sleep", "600"]) as victim:
        try:
            yield victim
        finally:
            victim.kill()


@pytest.fixture
def neighbourhood(tmp_path):
    with a_process() as victim:
        around = Neighbourhood(tmp_path / "around", victim.pid)
        yield around
        around.close()
        assert victim.poll() is None


def in_strict(workshop, do, **more):
    return workshop.run({"do": do, **more}, timeout=LONG, profile=STRICT)


# Attacks.


@pytest.mark.feature("S1")
@pytest.mark.feature("S3")
@pytest.mark.feature("R2")
@pytest.mark.parametrize("name", jailed_jobs.ATTACKS)
def test_an_attack_is_death_and_changes_nothing_outside(workshop, neighbourhood, processes, name):
    workshop.check()
    below = processes.below(workshop._crew.pid)
    outcome = in_strict(workshop, "attack", name=name, aims=asdict(neighbourhood.aims))
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "Violation"), outcome
    assert outcome.signal == signal.SIGSYS
    assert neighbourhood.is_untouched()
    assert processes.below(workshop._crew.pid) == below  # nothing is left, and nothing had to go


@pytest.mark.parametrize("name", jailed_jobs.REFUSED)
def test_what_honest_code_asks_by_the_way_is_refused(workshop, neighbourhood, name):
    outcome = in_strict(workshop, "ask", name=name, aims=asdict(neighbourhood.aims))
    wanted = "ZeroDivisionError" if name == "ask_whether_it_may_be_read" else "PermissionError"
    assert (outcome.status, outcome.error_type) == (Status.ERROR, wanted)


def test_without_the_jail_the_same_attacks_are_no_violation(workshop, neighbourhood):
    aims = asdict(neighbourhood.aims)
    for name in jailed_jobs.ATTACKS.keys() - SPOILS_ITS_OWN_CHANNEL:
        outcome = workshop.run({"do": "attack", "name": name, "aims": aims}, timeout=LONG)
        assert outcome.error_type != "Violation", name


@pytest.mark.parametrize("name", ["read_a_file", "connect_by_tcp", "signal_a_process", "fork"])
def test_without_the_jail_the_plainest_attacks_get_through(workshop, neighbourhood, name):
    aims = asdict(neighbourhood.aims)
    outcome = workshop.run({"do": "attack", "name": name, "aims": aims}, timeout=LONG)
    assert outcome.data is True


@pytest.fixture(scope="module")
def in_ordinary_servers_jail():
    """What became of each attack in the jail of a server that is an ordinary user."""
    body = """
        workshop = Workshop("jailed_jobs:run", path=sys.path[:2])
        told["aims"]["pid"] = os.getpid()
        found = {}
        for name in told["names"]:
            job = {"do": "attack", "name": name, "aims": told["aims"]}
            outcome = workshop.run(job, timeout=60, profile=STRICT)
            found[name] = [outcome.status, outcome.error_type]
        found["computes"] = workshop.run({"do": "much_memory"}, timeout=60, profile=STRICT).data
        found["user"] = [os.getresuid(), os.getresgid()]
        print(json.dumps(found))
        workshop.close()
    """
    with tempfile.TemporaryDirectory() as folder, a_process() as victim:
        os.chmod(folder, 0o755)
        around = Neighbourhood(Path(folder) / "around", victim.pid)
        names = list(jailed_jobs.ATTACKS)
        found = ask_ordinary_server(body, names=names, aims=asdict(around.aims))
        found["untouched"] = around.is_untouched()
        around.close()
    return found


@pytest.mark.feature("S3")
def test_an_ordinary_users_server_has_the_same_jail(in_ordinary_servers_jail):
    if os.geteuid() == 0:
        assert in_ordinary_servers_jail["user"] == [[NOBODY] * 3] * 2
    assert in_ordinary_servers_jail["computes"] == 110_000_000
    assert in_ordinary_servers_jail["untouched"]


@pytest.mark.feature("S1")
@pytest.mark.feature("S3")
@pytest.mark.parametrize("name", jailed_jobs.ATTACKS)
def test_an_attack_is_death_in_an_ordinary_users_jail_too(in_ordinary_servers_jail, name):
    assert in_ordinary_servers_jail[name] == ["killed", "Violation"]


# What goes on as ever.

BENIGN = {
    "sum_of_many_lists": 10_000_000,
    "much_memory": 110_000_000,
    "too_much_memory": "MemoryError",
    "cycles": True,
    "deep_recursion": 15_000,
    "deep_recursion_in_c": 4_000,
    "time_and_chance": [True, True, True, 0.0, 1970],
    "fresh_chance": 2,
    "lock": True,
    "wait_for_a_lock": False,
    "missing_module": "No module named 'wave'",
    "rare_codec": "unknown encoding: mac_roman",
    "printing": "printed",
}


@pytest.mark.parametrize("name", BENIGN)
def test_a_program_that_only_computes_does_not_feel_the_jail(workshop, name):
    outcome = in_strict(workshop, name)
    assert (outcome.status, outcome.data) == (Status.SUCCESS, BENIGN[name]), outcome


def test_progress_comes_out_of_the_jail(workshop):
    heard = []
    outcome = workshop.run(
        {"do": "progress"}, timeout=LONG, profile=STRICT, on_progress=heard.append
    )
    assert (outcome.data, heard) == ("told", [{"step": 1}])


@pytest.mark.parametrize(("name", "error"), [("raise_it", "ValueError"), ("leave", "SystemExit")])
def test_what_a_program_raises_comes_out_of_the_jail(workshop, name, error):
    outcome = in_strict(workshop, name)
    assert (outcome.status, outcome.error_type) == (Status.ERROR, error)


def test_a_job_and_a_result_of_a_megabyte_pass(workshop):
    limits = Limits(result_bytes=2**20 + 2)
    job = {"do": "echo", "value": "x" * 2**20}
    outcome = workshop.run(job, timeout=LONG, profile=STRICT, limits=limits)
    assert outcome.data == job["value"]


@pytest.mark.parametrize("name", ["hang", "spin"])
def test_a_deadline_ends_what_is_jailed(workshop, name):
    outcome = workshop.run({"do": name}, timeout=0.2, profile=STRICT)
    assert (outcome.status, outcome.signal) == (Status.TIMEOUT, signal.SIGTERM)


@pytest.mark.parametrize(
    ("name", "number"), [("abort", signal.SIGABRT), ("touch_nothing", signal.SIGSEGV)]
)
def test_a_crash_is_not_called_a_violation(workshop, name, number):
    outcome = in_strict(workshop, name)
    assert (outcome.status, outcome.error_type, outcome.signal) == (
        Status.KILLED,
        "Crashed",
        number,
    )


FORGED = protocol.frame(b'{"id":"0000000000000000","end":"success","data":1,"spent":true}').decode()


@pytest.mark.parametrize("text", ["nonsense", FORGED])
def test_a_forged_answer_costs_the_forger_and_nobody_else(workshop, text):
    outcome = in_strict(workshop, "forge", text=text)
    assert (outcome.status, outcome.error_type, outcome.data) == (Status.KILLED, "Crashed", None)
    assert in_strict(workshop, "echo", value=1).data == 1


def test_eight_at_once_each_have_a_jail_of_their_own(workshop):
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(in_strict, workshop, "echo", value=number) for number in range(64)]
        assert [run.result().data for run in runs] == list(range(64))


# R3: the limits are the child's.


@pytest.mark.feature("R3")
@pytest.mark.feature("S1")
def test_the_servers_own_limits_are_as_before(workshop):
    before = Path("/proc/self/limits").read_text()
    in_strict(workshop, "too_much_memory")
    in_strict(workshop, "attack", name="raise_a_limit", aims={})
    assert Path("/proc/self/limits").read_text() == before


# OWN_USER, seen from inside where no filter forbids to ask.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a user away")
def test_the_process_is_a_user_of_its_own_for_good():
    body = """
        os.setgroups([0, 4])
        workshop = Workshop("jailed_jobs:run", path=sys.path[:2], waived={Layer.SYSTEM_CALLS})
        jobs = [{"do": "identity"}, {"do": "attack", "name": "become_root", "aims": {}}]
        print(json.dumps([
            [outcome.status, outcome.error_type, outcome.data]
            for outcome in [workshop.run(job, timeout=60, profile=STRICT) for job in jobs]
        ]))
        workshop.close()
    """
    (_status, error, seen), attack = ask_server_lacking(["seccomp"], body)
    own = users.FIRST + seen["pid"]
    assert error == ""
    assert (seen["user"], seen["group"], seen["groups"]) == ([own] * 3, [own] * 3, [])
    assert seen["capabilities"] == [0] * 6
    assert seen["dies_with_keeper"] == signal.SIGKILL
    assert attack == ["error", "PermissionError", None]
