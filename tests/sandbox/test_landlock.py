"""Landlock by itself, in a child without another layer: what it keeps and what it gives up."""

import os
import socket
import subprocess

import pytest

from sandbox import landlock
from sandbox.outcomes import Status
from tests.sandbox.conftest import make_workshop
from tests.sandbox.other_servers import has_landlock, needs_landlock

pytestmark = [needs_landlock, pytest.mark.feature("S3")]
needs_scopes = pytest.mark.skipif(not has_landlock(since=6), reason="Landlock has no scopes here")
needs_ports = pytest.mark.skipif(not has_landlock(since=4), reason="Landlock has no ports here")
LONG = 60


@pytest.fixture(scope="module")
def workshop():
    shared = make_workshop("jailed_jobs:run")
    yield shared
    shared.close()


@pytest.fixture
def folders(tmp_path):
    """Two folders with a file each: one to be granted, one not."""
    for name in ("granted", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as it was")
    return tmp_path / "granted", tmp_path / "other"


def under(workshop, acts, **rules):
    rules = {name: [str(path) for path in paths] for name, paths in rules.items()}
    acts = {name: [str(part) for part in act] for name, act in acts.items()}
    return ask(workshop, acts, **rules).data


def ask(workshop, acts, **rules):
    return workshop.run({"do": "under_landlock", "acts": acts, **rules}, timeout=LONG)


def in_folder(folder):
    """Each thing that can be done with a folder and the file in it."""
    return {
        "read": ("read", folder / "file"),
        "list": ("list", folder),
        "write": ("write", folder / "file"),
        "make": ("make_folder", folder / "made"),
        "remove": ("remove", folder / "file"),
    }


def test_nothing_granted_leaves_no_file(workshop, folders):
    found = under(workshop, in_folder(folders[0]) | {"run": ("run", "/bin/true")})
    assert set(found.values()) == {"EACCES"}
    assert (folders[0] / "file").read_text() == "as it was"


def test_without_rules_the_same_is_done(workshop, folders):
    found = under(workshop, in_folder(folders[0]) | {"run": ("run", "/bin/true")}, write=["/"])
    assert set(found.values()) == {"done"}


def test_what_may_be_read_can_be_read_listed_and_run_only(workshop, folders):
    granted, other = folders
    found = under(workshop, in_folder(granted), read=[granted])
    refused = dict.fromkeys(("write", "make", "remove"), "EACCES")
    assert found == {"read": "done", "list": "done", **refused}
    assert under(workshop, {"run": ("run", "/bin/true")}, read=["/"]) == {"run": "done"}
    assert set(under(workshop, in_folder(other), read=[granted]).values()) == {"EACCES"}
    assert (granted / "file").read_text() == "as it was"


def test_what_may_be_written_can_be_changed_and_nothing_beside_it(workshop, folders):
    granted, other = folders
    assert set(under(workshop, in_folder(granted), write=[granted]).values()) == {"done"}
    assert set(under(workshop, in_folder(other), write=[granted]).values()) == {"EACCES"}
    assert (other / "file").read_text() == "as it was"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could make a device at all")
def test_a_device_cannot_be_made_even_where_all_may_be_written(workshop, folders):
    granted = folders[0]
    act = {"device": ("make_device", granted / "null")}
    assert under(workshop, act, write=[granted]) == {"device": "EACCES"}


def test_a_single_file_can_be_granted(workshop, folders):
    granted = folders[0]
    found = under(workshop, in_folder(granted), write=[granted / "file"])
    refused = dict.fromkeys(("list", "make", "remove"), "EACCES")
    assert found == {"read": "done", "write": "done", **refused}


def test_a_path_that_is_not_there_is_an_error_and_no_silent_gap(workshop, tmp_path):
    outcome = ask(workshop, {}, read=[str(tmp_path / "nothing")])
    assert (outcome.status, outcome.error_type) == (Status.ERROR, "FileNotFoundError")


@needs_ports
@pytest.mark.parametrize(("network", "found"), [(False, "EACCES"), (True, "done")])
def test_tcp_goes_with_the_network(workshop, network, found):
    with socket.create_server(("127.0.0.1", 0)) as server:
        acts = {"connect": ["connect", server.getsockname()[1]], "listen": ["listen"]}
        outcome = ask(workshop, acts, network=network)
    assert outcome.data == {"connect": found, "listen": found}


@needs_scopes
@pytest.mark.parametrize("network", [False, True])
def test_signals_and_abstract_sockets_end_at_the_jail(workshop, network):
    name = f"rampart-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["sleep", "600"]) as victim:
        listener.bind(f"\0{name}")
        listener.listen()
        acts = {"abstract": ["abstract", name], "signal": ["signal", victim.pid]}
        found = ask(workshop, acts | {"itself": ["signal_itself"]}, network=network).data
        victim.kill()
    assert found == {"abstract": "EPERM", "signal": "EPERM", "itself": "done"}


@pytest.mark.parametrize(
    ("version", "newest"), [(1, "MAKE_SYM"), (2, "REFER"), (3, "TRUNCATE"), (5, "IOCTL_DEV")]
)
def test_only_rights_that_the_kernel_knows_are_asked_for(version, newest):
    bit = {"MAKE_SYM": 12, "REFER": 13, "TRUNCATE": 14, "IOCTL_DEV": 15}[newest]
    assert landlock._file_rights(version) == 2 ** (bit + 1) - 1


def test_a_kernel_of_the_future_is_asked_for_what_is_known_today():
    assert landlock._file_rights(99) == landlock._file_rights(5)
