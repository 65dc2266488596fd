"""The native jail: a tool has all of Python, and of the machine only what it was granted."""

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.limits import STANDARD
from sandbox.outcomes import Status
from sandbox.process import Workshop
from sandbox.profiles import FRESH, NATIVE, NOTHING, Grants
from tests.sandbox.conftest import PATH
from tests.sandbox.native_attacks import ATTACKS, NAMESPACES
from tests.sandbox.other_servers import ask_ordinary_server

LONG = 60
GRACE = replace(STANDARD, grace_seconds=0.3)
WORD = "secret-of-the-server"
REFUSALS = {
    "CalledProcessError", "ConnectionRefusedError", "FileNotFoundError", "OSError",
    "PermissionError", "ProcessLookupError", "ValueError",
}  # fmt: skip
"""How the kernel's word reaches Python; ValueError is setrlimit's. Any other is a broken attack."""

WITHOUT_A_JAIL = [
    "read_a_file", "read_by_dots", "read_beside_a_grant", "list_beside_a_grant",
    "follow_a_link_in_the_scratch", "follow_a_link_in_a_grant", "follow_a_link_that_lay_there",
    "read_by_its_own_root", "list_run", "list_var", "list_sys",
    "append_to_what_may_be_read", "make_a_file_there", "change_its_mode", "change_its_time",
    "write_by_a_descriptors_name", "run_a_program_from_the_scratch", "run_a_program_from_a_grant",
    "lend_its_users_rights", "lend_its_groups_rights", "lend_rights_by_descriptor",
    "lend_rights_from_a_folder", "lend_rights_at_birth", "lend_rights_by_the_newest_open",
    "lend_rights_as_a_device_is_made", "connect_by_tcp", "connect_to_anywhere",
    "connect_by_a_mapped_address", "send_by_udp", "resolve_a_name", "connect_by_a_file",
    "connect_by_a_file_in_a_grant", "connect_by_an_abstract_socket", "talk_to_the_kernel",
    "find_a_process", "hold_a_process", "make_a_file_in_memory",
]  # fmt: skip
"""Attacks that harm nothing where they get through: there they must, or they prove nothing."""


@dataclass
class Outside:
    """What lies outside of the jail and must be as before."""

    aims: dict[str, object]
    grants: Grants
    victim: subprocess.Popen[bytes]
    ears: list[socket.socket]

    def is_as_before(self) -> bool:
        folder = Path(str(self.aims["folder"]))
        files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        heard, _, _ = select.select(self.ears, [], [], 0)
        return (
            files == FILES
            and (folder / "file").read_text() == "outside"
            and (folder / "read/file").read_text() == "to be read"
            and (folder / "read/file").stat().st_mode & 0o777 == 0o666
            and self.victim.poll() is None
            and socket.gethostname() == self.aims["host"]
            and not heard
        )


FILES = {"file", "door", "read", "read/file", "read/link", "read/door", "read/below",
         "read/below/file", "write"}  # fmt: skip


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    folder = Path("/var/tmp") / f"outside-{os.getpid()}"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["rm", "-rf", str(folder)], check=True)
        yield stack.enter_context(_furnished(folder))


@contextlib.contextmanager
def _furnished(folder: Path) -> Iterator[Outside]:
    """Open to everybody on the machine: only the jail stands before it."""
    for name in ("read", "write", "read/below"):
        (folder / name).mkdir()
    (folder / "file").write_text("outside")
    (folder / "read/file").write_text("to be read")
    (folder / "read/below/file").write_text("to be read")
    (folder / "read/link").symlink_to(folder / "file")
    abstract = f"outside-{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        _listener(str(folder / "door")) as door,
        _listener(str(folder / "read/door")) as other_door,
        _listener(f"\0{abstract}") as hidden,
        subprocess.Popen(["sleep", "600"], start_new_session=True) as victim,
    ):
        udp.bind(("127.0.0.1", 0))
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o777 if path.is_dir() else 0o666)
        aims = {
            "folder": str(folder), "file": str(folder / "file"), "read": str(folder / "read"),
            "write": str(folder / "write"), "door": str(folder / "door"), "abstract": abstract,
            "port": tcp.getsockname()[1], "udp": udp.getsockname()[1], "pid": victim.pid,
            "word": WORD, "host": socket.gethostname(),
        }  # fmt: skip
        grants = Grants(False, (str(folder / "read"),), (str(folder / "write"),))
        try:
            yield Outside(aims, grants, victim, [tcp, udp, door, other_door, hidden])
        finally:
            victim.kill()


def _listener(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    return listener


@pytest.fixture(scope="module")
def jailer() -> Iterator[Workshop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMPART_SECRET", WORD)
        one = Workshop("native_attacks:run", path=PATH)
        yield one
        one.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Workshop]:
    one = Workshop("native_work:run", path=PATH)
    yield one
    one.close()


def jailed(workshop, do, *, grants=NOTHING, limits=GRACE, timeout=LONG, **arguments):
    job = {"do": do, **arguments}
    return workshop.run(job, timeout=timeout, profile=NATIVE, grants=grants, limits=limits)


def was_stopped(status: str, data: object, error_type: str) -> bool:
    """By a refusal or by death; an attack that is broken was not stopped."""
    if status == "error":
        return error_type in REFUSALS
    return status == "killed" and data is None


# Attacks


@pytest.mark.feature("S3", "T16")
@pytest.mark.parametrize("name", ATTACKS)
def test_a_native_attack_does_not_get_through(jailer, outside, name):
    outcome = jailed(jailer, "attack", grants=outside.grants, name=name, aims=outside.aims)
    assert was_stopped(outcome.status, outcome.data, outcome.error_type), outcome
    assert outside.is_as_before()


@pytest.mark.feature("S3")
def test_no_attack_gets_through_where_the_server_is_an_ordinary_user(outside):
    found = ask_ordinary_server(
        """
        from native_attacks import ATTACKS
        from sandbox.profiles import Grants
        workshop = Workshop("native_attacks:run", path=sys.path[:2])
        grants = Grants(False, (told["read"],), (told["write"],))
        found = {}
        for name in ATTACKS:
            job = {"do": "attack", "name": name, "aims": told}
            one = workshop.run(job, timeout=60, profile=NATIVE, grants=grants)
            found[name] = [one.status, one.data, one.error_type]
        workshop.close()
        print(json.dumps(found))
        """,
        **outside.aims,
    )
    assert found.keys() == ATTACKS.keys()
    assert {name: said for name, said in found.items() if not was_stopped(*said)} == {}
    assert outside.is_as_before()


@pytest.mark.parametrize("name", WITHOUT_A_JAIL)
def test_an_attack_gets_through_where_there_is_no_jail(jailer, tmp_path, name):
    with _furnished(tmp_path) as open_to_all:
        job = {"do": "attack", "name": name, "aims": open_to_all.aims}
        outcome = jailer.run(job, timeout=LONG, profile=FRESH)
    assert outcome.data is True, outcome


# Work


EXPECTED = {
    "temporary_files": "kept",
    "database": 499500,
    "program": 0,
    "another_python": ["é"],
    "shell": 2,
    "threads": 190,
    "many_processes": [1, 2, 3],
    "queue": "said",
    "loop": "x\n",
    "pool_of_threads": ["A", "B", "C"],
    "certificates": True,
    "zones": 2,
    "late_import": "late",
    "late_library": "b",
    "logs": "said\n",
    "digests": True,
    "numbers": ["0.3", True],
    "archive": STANDARD.scratch_bytes,
    "chance": 3,
    "clock": True,
    "home": ["/tmp", "/tmp", "/tmp", "/tmp"],
    "user": ["tool", "/tmp"],
    "sockets_of_its_own": "x",
}


@pytest.mark.feature("S3")
@pytest.mark.parametrize("do", EXPECTED)
def test_ordinary_work_is_done_in_the_jail(worker, do):
    outcome = jailed(worker, do, now=time.time())
    assert outcome.data == EXPECTED[do], outcome


@pytest.mark.feature("S3")
def test_ordinary_work_is_done_where_the_server_is_an_ordinary_user():
    found = ask_ordinary_server(
        """
        workshop = Workshop("native_work:run", path=sys.path[:2])
        found = {}
        for do in told["work"]:
            one = workshop.run({"do": do, "now": told["now"]}, timeout=60, profile=NATIVE)
            found[do] = one.data if one.status == "success" else f"{one.error_type}: {one.error}"
        workshop.close()
        print(json.dumps(found))
        """,
        work=list(EXPECTED),
        now=time.time(),
    )
    assert found == EXPECTED


@pytest.mark.feature("X11")
def test_progress_is_heard_from_inside(worker):
    heard = []
    job = {"do": "progress"}
    outcome = worker.run(job, timeout=LONG, profile=NATIVE, on_progress=heard.append)
    assert (outcome.data, heard) == ("told", ["from the tool"])


# Grants


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Only the server's user may go in."""
    tmp_path.chmod(0o700)
    (tmp_path / "in").mkdir(mode=0o700)
    (tmp_path / "in/file").write_text("granted")
    (tmp_path / "out").mkdir(mode=0o700)
    (tmp_path / "out/old").write_text("old")
    return tmp_path


def test_a_folder_that_is_granted_can_be_read(worker, private):
    folder = str(private / "in")
    outcome = jailed(worker, "read_granted", grants=Grants(read=(folder,)), read=folder)
    assert outcome.data == [["file"], "granted"]


def test_a_folder_that_is_granted_for_writing_can_be_written_and_keeps_what_was_written(
    worker, private
):
    folder = str(private / "out")
    outcome = jailed(worker, "write_granted", grants=Grants(write=(folder,)), write=folder)
    assert outcome.data == ["below", "log"], outcome
    assert (private / "out/below/made").read_text() == "written"
    assert (private / "out/below/made").stat().st_uid == os.geteuid()


def test_a_folder_inside_of_a_readable_one_can_be_granted_for_writing(worker, private):
    grants = Grants(read=(str(private),), write=(str(private / "out"),))
    outcome = jailed(worker, "write_granted", grants=grants, write=str(private / "out"))
    assert outcome.data == ["below", "log"], outcome
    refused = jailed(worker, "write_granted", grants=grants, write=str(private / "in"))
    assert refused.error.startswith("[Errno 30]")


def test_a_file_alone_can_be_granted(worker, private):
    file = str(private / "in/file")
    (private / "in/other").write_text("not granted")
    outcome = jailed(worker, "read_granted", grants=Grants(read=(file,)), read=str(private / "in"))
    assert outcome.data == [["file"], "granted"]


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_grant_that_is_not_there_runs_nothing(worker, private, kind):
    path = str(private / "missing")
    with pytest.raises(LayerMissing, match=f"granted path {path}: No such file") as refused:
        jailed(worker, "write_granted", grants=Grants(**{kind: (path,)}), write=path)
    assert refused.value.layer == Layer.PRIVATE_ROOT


def test_a_waived_root_does_not_excuse_a_grant_that_is_not_there(private):
    path = str(private / "missing")
    workshop = Workshop("native_work:run", path=PATH, waived=[Layer.PRIVATE_ROOT])
    try:
        with pytest.raises(LayerMissing, match=path):
            jailed(workshop, "write_granted", grants=Grants(write=(path,)), write=path)
    finally:
        workshop.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a folder for this")
def test_what_is_mounted_below_a_readable_folder_is_no_more_than_readable(private):
    """In mounts of its own, so that the machine keeps its."""
    (private / "in/below").mkdir()
    code = f"""
        import subprocess, sys
        sys.path[:0] = {list(PATH)!r}
        from sandbox.process import Workshop
        from sandbox.profiles import NATIVE, Grants
        folder = {str(private / "in")!r}
        subprocess.run(["mount", "-t", "tmpfs", "none", folder + "/below"], check=True)
        open(folder + "/below/file", "w").close()
        workshop = Workshop("native_attacks:run", path=sys.path[:2])
        job = {{"do": "attack", "name": "change_its_mode", "aims": {{"read": folder + "/below"}}}}
        outcome = workshop.run(job, timeout=60, profile=NATIVE, grants=Grants(read=(folder,)))
        workshop.close()
        print(outcome.error)
    """
    words = ["unshare", "--mount", sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.startswith("[Errno 30]")


@pytest.mark.parametrize("path", ["link", "way/in"])
def test_a_grant_that_leads_elsewhere_runs_nothing(worker, private, path):
    (private / "link").symlink_to(private / "in")
    (private / "way").symlink_to(private)
    with pytest.raises(LayerMissing, match=f"leads to {private}/in"):
        jailed(worker, "read_granted", grants=Grants(read=(str(private / path),)), read="")


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Hello) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_network_can_be_granted(worker, url):
    assert jailed(worker, "fetch", grants=Grants(network=True), url=url).data == "hello"
    assert jailed(worker, "resolve", grants=Grants(network=True)).data == "127.0.0.1"
    assert jailed(worker, "fetch", url=url).error_type == "URLError"


# Only what a bug behind the network would open: files and processes stay out of reach.
WITH_NETWORK = ["connect_by_an_abstract_socket", "connect_by_a_file", "talk_to_the_kernel",
                "talk_to_the_hypervisor", "send_raw_packets", "read_a_file", "find_a_process",
                "signal_a_process"]  # fmt: skip


@pytest.mark.parametrize("name", WITH_NETWORK)
def test_the_network_opens_nothing_else(jailer, outside, name):
    grants = replace(outside.grants, network=True)
    outcome = jailed(jailer, "attack", grants=grants, name=name, aims=outside.aims)
    assert was_stopped(outcome.status, outcome.data, outcome.error_type), outcome


# Surroundings


OWN_CODE = {path.parts[2] for path in map(Path, (*PATH, sys.prefix)) if path.parts[1] == "tmp"}
"""What of the scratch is the tool's own code, if that was checked out there."""


@pytest.mark.feature("S3", "T16")
def test_a_jailed_tool_is_alone(jailer):
    seen = jailed(jailer, "look_around").data
    assert seen["user"] != 0
    assert seen["pids"] == [2]
    assert set(seen["scratch"]) <= OWN_CODE
    assert seen["host"] == "sandbox"
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}
    assert {name for name in NAMESPACES if seen["namespaces"][name] != own[name]} == set(NAMESPACES)


@pytest.mark.feature("T16")
def test_its_environment_is_what_was_said_and_its_home(jailer):
    outcome = jailer.run(
        {"do": "look_around"}, timeout=LONG, profile=NATIVE, secrets={"TOKEN": "given"}
    )
    seen = outcome.data["environment"]
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "TMPDIR", "TOKEN"}
    assert set(seen) <= allowed
    assert (seen["HOME"], seen["TMPDIR"], seen["TOKEN"]) == ("/tmp", "/tmp", "given")
    assert "TOKEN" not in jailed(jailer, "look_around").data["environment"]


def test_what_is_written_in_the_scratch_is_gone_with_the_run(jailer):
    jailed(jailer, "litter")
    assert set(jailed(jailer, "look_around").data["scratch"]) <= OWN_CODE
    assert not os.path.exists("/tmp/litter")


def test_nothing_is_mounted_outside(jailer, outside):
    before = Path("/proc/self/mounts").read_text()
    jailed(jailer, "look_around", grants=outside.grants)
    assert Path("/proc/self/mounts").read_text() == before


def test_only_what_can_be_imported_is_shown_of_a_folder_of_code(tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var/secrets.env").write_text("KEY=1")
    (tmp_path / ".env").write_text("KEY=1")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "beside.py").write_text("def run(job): return [open(p).close() for p in job['p']]")
    workshop = Workshop("beside:run", path=[str(tmp_path), *PATH])
    try:
        shown = [str(tmp_path / "package/__init__.py"), str(tmp_path / "beside.py")]
        assert workshop.run({"p": shown}, timeout=LONG, profile=NATIVE).status is Status.SUCCESS
        for hidden in ("var/secrets.env", ".env"):
            outcome = workshop.run({"p": [str(tmp_path / hidden)]}, timeout=LONG, profile=NATIVE)
            assert outcome.error_type == "FileNotFoundError"
    finally:
        workshop.close()


def test_code_that_was_removed_after_the_start_is_no_fault_of_the_jail(tmp_path):
    (tmp_path / "beside.py").touch()
    workshop = Workshop("native_work:run", path=[str(tmp_path), *PATH])
    try:
        assert jailed(workshop, "program").data == 0
        (tmp_path / "beside.py").unlink()
        assert jailed(workshop, "program").data == 0
    finally:
        workshop.close()


# Ends


@pytest.mark.feature("X3")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_tools_death_is_told_as_it_was(jailer, number):
    outcome = jailed(jailer, "die_of", number=number)
    assert (outcome.status, outcome.signal) == (Status.KILLED, number)


def test_an_aborted_tool_died_of_its_abort(jailer):
    assert jailed(jailer, "abort").signal == signal.SIGABRT


def test_a_forbidden_call_is_told_as_a_violation(jailer):
    outcome = jailed(jailer, "die_of", number=signal.SIGSYS)
    assert (outcome.signal, outcome.error_type) == (signal.SIGSYS, "Violation")


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_a_tools_exit_code_is_told_as_it_was(jailer, code):
    outcome = jailed(jailer, "leave_with", code=code)
    assert outcome.error == f"the tool's process exited with {code} and gave no answer"


@pytest.mark.feature("X1", "X3")
@pytest.mark.parametrize("do", ["hang", "hang_deaf", "stop_itself"])
def test_a_jailed_tool_ends_at_its_deadline(jailer, processes, do):
    outcome = jailed(jailer, do, timeout=0.5)
    assert outcome.status is Status.TIMEOUT
    assert outcome.seconds < 5


def test_a_jailed_tool_is_asked_to_leave_before_it_is_killed(jailer, outside, private):
    path = str(private / "out/word")
    grants = Grants(write=(str(private / "out"),))
    outcome = jailed(jailer, "say_goodbye", grants=grants, timeout=1, limits=STANDARD, path=path)
    assert outcome.status is Status.TIMEOUT
    assert Path(path).read_text() == "bye"


@pytest.mark.feature("X3", "T16")
@pytest.mark.parametrize(
    ("do", "status"),
    [
        ("leave_a_daemon", Status.SUCCESS),
        ("leave_a_daemon_and_hang", Status.TIMEOUT),
        ("leave_a_daemon_and_die", Status.KILLED),
    ],
)
def test_nothing_that_a_tool_started_outlives_it(jailer, private, do, status):
    path = private / "out/beats"
    grants = Grants(write=(str(private / "out"),))
    outcome = jailed(jailer, do, grants=grants, timeout=2, path=str(path))
    assert outcome.status is status
    written = path.read_text()
    assert written
    time.sleep(0.05)  # ten beats of a process that is not there
    assert path.read_text() == written


def test_a_tool_cannot_end_the_first_process(jailer):
    assert jailed(jailer, "kill_the_first").data == "it lives"


def test_a_tool_that_kills_its_group_kills_itself_alone(jailer, outside):
    outcome = jailed(jailer, "kill_the_group")
    assert (outcome.status, outcome.signal) == (Status.KILLED, signal.SIGKILL)
    assert jailed(jailer, "look_around").status is Status.SUCCESS


@pytest.mark.feature("X3")
def test_all_inside_dies_with_a_server_that_is_killed(private, processes):
    beats = private / "out/beats"
    code = (
        f"import sys; sys.path[:0] = {list(PATH)!r}\n"
        "from sandbox.process import Workshop\n"
        "from sandbox.profiles import NATIVE, Grants\n"
        f"job = {{'do': 'leave_a_daemon_and_hang', 'path': {str(beats)!r}}}\n"
        "workshop = Workshop('native_attacks:run', path=sys.path[:2])\n"
        f"grants = Grants(write=({str(private / 'out')!r},))\n"
        "workshop.run(job, timeout=60, profile=NATIVE, grants=grants)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as server:
        processes.eventually(beats.exists)
        below = processes.below(server.pid)
        server.kill()
    assert len(below) >= 5
    processes.eventually(lambda: not any(processes.is_running(pid) for pid in below))


# Answers


@pytest.mark.parametrize(
    "text", ['{"id":"0","spent":true,"end":"success","data":1}', "garbage", "[]"]
)
def test_a_forged_answer_is_none(jailer, text):
    outcome = jailed(jailer, "forge", text=text, then="real")
    assert (outcome.status, outcome.data) == (Status.KILLED, None)


def test_an_answer_that_a_grandchild_makes_up_is_none(jailer):
    outcome = jailed(jailer, "forge_from_a_grandchild")
    assert (outcome.status, outcome.data) == (Status.KILLED, None)


def test_a_tool_that_hangs_up_and_goes_on_is_ended(jailer):
    outcome = jailed(jailer, "close_the_channel_and_go_on", timeout=10)
    assert (outcome.status, outcome.data) == (Status.KILLED, None)


# Resources


@pytest.mark.parametrize(
    ("do", "number"),
    [
        ("fill_the_scratch", 28),
        ("fill_the_scratch_with_names", 28),
        ("fill_shared_memory", 28),
        ("open_without_end", 24),
    ],
)
def test_what_a_tool_takes_of_the_scratch_is_bounded(jailer, do, number):
    assert jailed(jailer, do).error.startswith(f"[Errno {number}]")


def test_a_file_in_a_grant_is_no_longer_than_it_may_be(jailer, private):
    path = str(private / "out/huge")
    grants = Grants(write=(str(private / "out"),))
    assert jailed(jailer, "write_a_huge_file", grants=grants, path=path).error_type == "OSError"
    assert os.stat(path).st_size <= STANDARD.file_bytes


@pytest.mark.feature("X3")
def test_a_tool_that_forks_without_end_is_ended(jailer):
    outcome = jailed(jailer, "fork_without_end", timeout=20)
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "ProcessLimit")


def test_a_tool_that_takes_all_memory_is_ended(jailer):
    limits = replace(STANDARD, memory_bytes=200 << 20, address_space_bytes=300 << 20)
    outcome = jailed(jailer, "take_memory", limits=limits)
    assert outcome.error_type in ("MemoryLimit", "MemoryError")


def test_what_a_jailed_tool_used_is_told(worker):
    outcome = jailed(worker, "database")
    assert outcome.cpu_seconds > 0
    assert outcome.max_rss_bytes > 1 << 20
