"""The report of what works here: tried, not believed, and honest where something is missing."""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox import capabilities
from sandbox.acts import ACTS
from sandbox.errors import SandboxUnavailable
from sandbox.layers import Layer
from sandbox.profiles import FRESH, STRICT, WARM
from tests.sandbox.conftest import make_workshop
from tests.sandbox.jailed_jobs import capabilities_now
from tests.sandbox.other_servers import (
    ask_ordinary_server,
    ask_server_lacking,
    has_landlock,
    needs_landlock,
)

pytestmark = [needs_landlock, pytest.mark.feature("S3")]
LONG = 60
MAY_RAISE_LIMITS = bool(capabilities_now()[0] & 1 << 24)
STOPPED_WITHOUT_A_JAIL = {"take_more_memory"}
STOPPED_WITHOUT_A_JAIL |= set() if os.geteuid() == 0 else {"mount", "become_root"}
STOPPED_WITHOUT_A_JAIL |= set() if MAY_RAISE_LIMITS else {"raise_a_limit"}
BY_SECCOMP_ALONE = {
    "connect_by_a_socket_file",
    "make_machine_code",
    "run_a_program",
    "start_a_process",
}
"""What no other layer of STRICT stops."""
EXAMINE = """
    workshop = Workshop("jailed_jobs:run", path=sys.path[:2])
    print(json.dumps(workshop.examine([STRICT]).as_json()))
    workshop.close()
"""


@pytest.fixture(scope="module")
def workshop():
    shared = make_workshop("jailed_jobs:run")
    yield shared
    shared.close()


@pytest.fixture
def aims():
    """As the report makes them, but with a process that may be traced."""
    with capabilities._aims() as made, subprocess.Popen(["sleep", "600"]) as victim:
        yield {**asdict(made), "pid": victim.pid}
        victim.kill()


# What is said of a machine that has all.


def test_every_layer_of_strict_works_here_and_every_act_is_stopped(workshop):
    report = workshop.examine([WARM, FRESH, STRICT])
    missing = {why for found in report.layers.values() for why in found.values()}
    assert missing == {None} if os.geteuid() == 0 else {None, capabilities._SERVERS_USER}
    assert report.got_through == []
    assert report.kernel == os.uname().release
    assert report.is_root is (os.geteuid() == 0)
    stopped = {name for name, act in ACTS.items() if STRICT.name in act.stopped_by}
    assert report.acts["strict"].keys() == stopped
    assert report.acts["fresh"].keys() == report.acts["warm"].keys() == {"take_more_memory"}


def test_the_report_is_json(workshop):
    said = json.loads(json.dumps(workshop.examine([STRICT]).as_json()))
    assert said["layers"]["strict"].keys() == {str(layer) for layer in STRICT.layers}
    assert said["acts"]["strict"]["read_a_file"]["held"] is True


def test_the_report_leaves_nothing_behind(own_workshop, processes):
    own_workshop.check()
    below, before = processes.below(own_workshop._crew.pid), set(os.listdir("/proc/self/fd"))
    own_workshop.examine([WARM, FRESH, STRICT])
    assert processes.below(own_workshop._crew.pid) == below
    assert set(os.listdir("/proc/self/fd")) == before
    assert not list(Path("/tmp").glob(f"{capabilities.PREFIX}{os.getpid()}-*"))


@pytest.mark.parametrize("name", ACTS)
def test_an_act_gets_through_where_there_is_no_jail(workshop, aims, name):
    """Or the report would call stopped what could never have worked."""
    outcome = workshop.run({"do": "try_act", "name": name, "aims": aims}, timeout=LONG)
    assert outcome.status == "success"
    assert (outcome.data is not None) is (name in STOPPED_WITHOUT_A_JAIL)


def test_a_process_that_merely_crashes_is_no_proof_of_a_wall(workshop, monkeypatch):
    crash = {"do": "touch_nothing"}
    ask = workshop._ask
    monkeypatch.setattr(
        workshop, "_ask", lambda jail, question: ask(jail, {"job": crash, "secrets": {}})
    )
    report = workshop.examine([FRESH])
    assert report.got_through == [("fresh", "take_more_memory")]


def test_where_nothing_can_be_tried_nothing_is_believed(workshop, monkeypatch):
    monkeypatch.setattr(capabilities, "_OPEN", "/no/such/folder")
    with pytest.raises(SandboxUnavailable, match="nothing to try the jails at"):
        workshop.examine([STRICT])


# What is said of one that lacks something.


def test_an_ordinary_users_server_says_that_its_user_stays():
    report = ask_ordinary_server(EXAMINE)
    assert report["is_root"] is False
    assert "not root" in report["layers"]["strict"].pop("own_user")
    assert set(report["layers"]["strict"].values()) == {None}
    assert all(finding["held"] for finding in report["acts"]["strict"].values())


@pytest.mark.skipif(not has_landlock(since=6), reason="Landlock has no scopes here")
@pytest.mark.parametrize(
    ("call", "layer", "got_through"),
    [
        ("landlock_create_ruleset", "landlock", set()),
        ("seccomp", "system_calls", BY_SECCOMP_ALONE),
    ],
)
def test_a_missing_layer_is_named_and_what_the_others_hold_is_told(call, layer, got_through):
    report = ask_server_lacking([call], EXAMINE)
    layers = report["layers"]["strict"]
    assert "not implemented" in layers[layer]
    assert {name for name, why in layers.items() if why} - {"own_user"} == {layer}
    acts = report["acts"]["strict"]
    assert {name for name, finding in acts.items() if not finding["held"]} == got_through


def test_every_missing_layer_is_named():
    report = ask_server_lacking(["seccomp", "landlock_create_ruleset"], EXAMINE)
    missing = {layer for layer, why in report["layers"]["strict"].items() if why}
    assert missing - {"own_user"} == {"landlock", "system_calls"}
    assert report["landlock_version"] == 0
    assert report["acts"]["strict"]["read_a_file"]["held"] is False


@pytest.mark.parametrize(
    ("call", "layer"),
    [("landlock_create_ruleset", Layer.LANDLOCK), ("seccomp", Layer.SYSTEM_CALLS)],
)
def test_a_run_whose_layer_is_missing_is_refused_unless_that_layer_is_waived(call, layer):
    body = """
        said = []
        for waived in ((), [Layer.OWN_USER], [told["layer"]]):
            workshop = Workshop("jailed_jobs:run", path=sys.path[:2], waived=map(Layer, waived))
            try:
                job = {"do": "echo", "value": "it ran"}
                said.append(workshop.run(job, timeout=60, profile=STRICT).data)
            except LayerMissing as missing:
                said.append(missing.layer)
            workshop.close()
        print(json.dumps(said))
    """
    assert ask_server_lacking([call], body, layer=layer) == [layer, layer, "it ran"]


def test_nothing_has_run_where_a_layer_is_missing():
    body = """
        for waived in ((), (Layer.LANDLOCK, Layer.SYSTEM_CALLS)):
            workshop = Workshop("jailed_jobs:run", path=sys.path[:2], waived=waived)
            job = {"do": "write", "path": told["file"]}
            try:
                workshop.run(job, timeout=60, profile=STRICT)
            except LayerMissing:
                before = open(told["file"]).read()
            workshop.close()
        print(json.dumps([before, open(told["file"]).read()]))
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_text("as it was")
        os.chmod(folder, 0o755)
        file.chmod(0o666)
        lacking = ["seccomp", "landlock_create_ruleset"]
        found = ask_server_lacking(lacking, body, file=str(file))
    assert found == ["as it was", "changed"]
