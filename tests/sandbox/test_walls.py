"""What a child can see of the server: as good as nothing."""

import ast
import os
import signal
import socket
from pathlib import Path

import pytest

import sandbox
from sandbox.child import report_progress
from sandbox.profiles import FRESH, WARM

ROOM = Path(sandbox.__file__).parent
ALLOWED_VARIABLES = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}  # LC_CTYPE is CPython's own
SECRET = "s3cret-of-the-server"
LONG = 60


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.feature("S7")
@pytest.mark.feature("T16")
@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: path.name)
def test_nothing_is_ever_unpickled(path):
    forbidden = {"pickle", "_pickle", "marshal", "shelve", "multiprocessing", "concurrent"}
    assert forbidden.isdisjoint(imports_of(path))


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: path.name)
def test_the_room_knows_no_sibling_and_no_django(path):
    siblings = {"django", "rampart", "approvals", "tools", "audit"}
    assert siblings.isdisjoint(imports_of(path))


@pytest.mark.feature("T16")
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_no_secret_of_the_servers_environment_is_in_the_child(own_workshop, monkeypatch, profile):
    monkeypatch.setenv("RAMPART_SECRET", SECRET)
    monkeypatch.setenv("PYTHONPATH", f"/{SECRET}")
    monkeypatch.setenv("TZ", "UTC")
    seen = own_workshop.run({"do": "surroundings"}, timeout=LONG, profile=profile).data
    assert set(seen["environ"]) <= ALLOWED_VARIABLES
    assert seen["environ"]["TZ"] == "UTC"
    assert SECRET not in seen["initial"]
    assert {line.partition("=")[0] for line in seen["initial"].split("\0")} <= (
        ALLOWED_VARIABLES | {""}
    )


@pytest.mark.feature("T16")
@pytest.mark.parametrize("profile", [FRESH, WARM])
def test_no_descriptor_of_the_server_is_in_the_child(own_workshop, tmp_path, profile):
    with open(tmp_path / "database", "w") as file, socket.socket() as connection:
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(connection.fileno(), True)
        leads = own_workshop.run(
            {"do": "where_descriptors_lead"}, timeout=LONG, profile=profile
        ).data
    standard = {leads.pop(number) for number in ("0", "1", "2")}
    assert standard == {"/dev/null"}
    assert [target.partition(":")[0] for target in leads.values()] == ["socket"]


def test_the_child_leads_a_session_of_its_own_and_is_as_python_starts(workshop):
    seen = workshop.run({"do": "surroundings"}, timeout=LONG).data
    assert seen["pid"] == seen["sid"] == seen["group"]
    assert seen["core"] == [0, 0]
    assert seen["threads"] == 1
    assert seen["no_new_rights"] == "1"
    assert seen["blocked"] == []
    ignored = {number for number in signal.valid_signals() if seen["ignored"] >> number - 1 & 1}
    assert ignored == {signal.SIGPIPE, signal.SIGXFSZ}
    assert seen["caught"] == 0


def test_the_child_holds_no_code_of_the_server(workshop):
    modules = workshop.run({"do": "surroundings"}, timeout=LONG).data["modules"]
    assert "pytest" not in modules
    assert "sandbox.process" not in modules


def test_the_environment_is_emptied_for_each_fresh_run(workshop):
    changed = workshop.run({"do": "change_environment"}, timeout=LONG).data
    seen = workshop.run({"do": "surroundings"}, timeout=LONG).data
    assert changed["LEFT_BEHIND"] == "yes"
    assert "LEFT_BEHIND" not in seen["environ"]
    assert "SET_BY_A_MODULE" not in seen["environ"]


def test_two_children_do_not_draw_the_same_random_numbers(workshop):
    drawn = {workshop.run({"do": "random_number"}, timeout=LONG).data for _ in range(5)}
    assert len(drawn) == 5


def test_what_a_tool_prints_goes_nowhere_and_blocks_nothing(workshop, capfd):
    assert workshop.run({"do": "print_a_lot"}, timeout=LONG).data == ""
    assert capfd.readouterr() == ("", "")


def test_a_job_is_never_in_the_memory_that_others_are_forked_from(workshop):
    secret = "".join(["only", "-in-", "this-", "job"])
    outcome = workshop.run({"do": "name_of_job_in_parent", "secret": secret}, timeout=LONG)
    assert outcome.data == [False, False]


def test_progress_outside_a_child_does_nothing():
    assert report_progress({"any": object()}) is None
