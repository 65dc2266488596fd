"""Tools that this machine can't jail: in no list, refused at the door, and nothing is kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals.door import Call
from approvals.models import Approval, Invocation
from approvals.simulating import Supposed, simulate
from audit.models import Event
from rampart import health
from rampart.checks import no_layer_is_waived
from sandbox.capabilities import Report
from sandbox.layers import Layer
from sandbox.process import Workshop
from tests.conftest import Agent, effects, work
from tests.processes import Deployment
from tests.settings_reading import read, refusal
from tools import availability

pytestmark = pytest.mark.django_db
Lack = Callable[..., Report]
WHY = "Function not implemented"
LISTS = ("tools", "mcp/tools")


@pytest.fixture
def lack(monkeypatch: MonkeyPatch) -> Lack:
    """Has this machine lack these layers of the jail in which the kit's tools run."""

    def lack(*layers: Layer, is_root: bool = True) -> Report:
        found = availability.report()
        assert found is not None
        thin = found.layers["fresh"] | dict.fromkeys(layers, WHY)
        changed = replace(found, layers=found.layers | {"fresh": thin}, is_root=is_root)
        monkeypatch.setattr(availability._memory, "report", changed)
        return changed

    return lack


@pytest.fixture
def bare(tmp_path: Path) -> Deployment:
    """A deployment with secrets and nothing else."""
    return Deployment(tmp_path / "var")


# What is not here is in no list.


@pytest.mark.feature("S3")
@pytest.mark.parametrize("path", LISTS)
def test_a_tool_whose_jail_lacks_a_layer_is_in_no_list(agent: Agent, lack: Lack, path: str) -> None:
    assert {"echo", "leave_trace"} <= names(agent, path)
    lack(Layer.LANDLOCK)
    assert not {"echo", "leave_trace"} & names(agent, path)


@pytest.mark.feature("S3")
def test_it_is_not_to_be_found_by_its_name_either(agent: Agent, lack: Lack) -> None:
    assert agent.get("tools/echo").status_code == 200
    lack(Layer.LANDLOCK)
    assert (agent.get("tools/echo").status_code, agent.get("tools/echo").json()["code"]) == (
        404, "unknown_tool",
    )  # fmt: skip


def names(agent: Agent, path: str) -> set[str]:
    """The tools of a list."""
    return {tool["name"] for tool in agent.get(path).json()["tools"]}


# Its calls are refused at the door.


@pytest.mark.feature("S3")
def test_its_calls_are_refused_and_the_layer_is_named(
    agent: Agent, lack: Lack, trace: Path
) -> None:
    lack(Layer.LANDLOCK, Layer.SYSTEM_CALLS)
    answer = agent.invoke("leave_trace", path=str(trace))
    body = answer.json()
    assert answer.status_code == 503
    assert (body["status"], body["error_type"]) == ("unavailable", "SandboxUnavailable")
    assert "nothing was run" in body["error"] and answer["Retry-After"] == "60"
    assert "landlock" in body["error"] and "system_calls" in body["error"]
    work()
    assert effects(trace) == []


@pytest.mark.feature("S3")
@pytest.mark.parametrize("tool", ["echo", "leave_trace", "guarded_trace"])
def test_nothing_is_run_held_or_queued_but_the_refusal_is_told(
    agent: Agent, lack: Lack, trace: Path, tool: str
) -> None:
    lack(Layer.LANDLOCK)
    before = Event.objects.count()
    arguments = {} if tool == "echo" else {"path": str(trace)}
    assert agent.invoke(tool, **arguments).status_code == 503
    assert not Invocation.objects.exists() and not Approval.objects.exists()
    told = Event.objects.order_by("-id")[0]
    assert Event.objects.count() == before + 1
    assert (told.event, told.status) == ("invocation:refused", "unavailable")
    assert (told.reason, told.tool_name) == ("sandbox_unavailable", tool)
    assert "landlock" in str(told.error)


def test_who_may_not_call_it_learns_nothing_of_the_machine(
    make_agent: Callable[..., Agent], lack: Lack
) -> None:
    lack(Layer.LANDLOCK)
    answer = make_agent("other", scopes=("other.read",)).invoke("echo")
    assert (answer.status_code, answer.json()["error_type"]) == (403, "ScopeDenied")
    assert "landlock" not in answer.text


def test_the_refusal_leaves_the_idempotency_key_free(agent: Agent, lack: Lack, trace: Path) -> None:
    key = {"Idempotency-Key": "again"}
    lack(Layer.LANDLOCK)
    assert agent.invoke("once", headers=key, path=str(trace)).status_code == 503
    availability.forget()
    assert agent.invoke("once", headers=key, path=str(trace)).status_code == 202
    work()
    assert effects(trace) == ["once"]


def test_an_earlier_outcome_is_still_told(agent: Agent, lack: Lack, trace: Path) -> None:
    key = {"Idempotency-Key": "before"}
    agent.invoke("once", headers=key, path=str(trace))
    work()
    lack(Layer.LANDLOCK)
    again = agent.invoke("once", headers=key, path=str(trace))
    assert (again.status_code, again.json()["replayed"]) == (200, True)


def test_a_simulation_knows_that_it_would_be_refused(agent: Agent, lack: Lack) -> None:
    call = Call("echo", {"value": 1}, request_id="r", source="test")
    caller = Supposed.with_key(agent.row)
    assert simulate(call, caller).answer == "allow"
    lack(Layer.LANDLOCK)
    (step,) = simulate(call, caller).decisive
    assert (step.rule, step.error_type) == ("jail", "SandboxUnavailable")


# What does not shut a tool.


@pytest.mark.feature("S3")
def test_a_layer_that_was_waived_by_its_name_shuts_nothing(
    agent: Agent, lack: Lack, settings: Settings
) -> None:
    settings.RAMPART_WAIVE_ISOLATION = [Layer.LANDLOCK]
    lack(Layer.LANDLOCK)
    assert agent.invoke("echo", value=1).status_code == 200
    lack(Layer.SYSTEM_CALLS)
    refused = agent.invoke("echo", value=1)
    assert refused.status_code == 503 and "landlock" not in refused.json()["error"]


def test_a_user_of_its_own_is_missed_by_servers_that_are_root_alone(lack: Lack) -> None:
    lack(Layer.OWN_USER, is_root=True)
    assert "echo" in availability.shut_tools()
    lack(Layer.OWN_USER, is_root=False)
    assert availability.shut_tools() == {}


def test_a_workshop_that_does_not_answer_is_not_asked_by_every_call(
    monkeypatch: MonkeyPatch,
) -> None:
    broken = Workshop("tests.no_such_module:run")
    asked = []
    monkeypatch.setattr(availability, "workshop", lambda: asked.append(1) or broken)
    availability.forget()
    try:
        assert [availability.report(), availability.report()] == [None, None]
        assert availability.shut_tools() == {}
        assert "can't be examined" in availability.strength()
        assert len(asked) == 1
    finally:
        availability.forget()


# Ready.


@pytest.mark.feature("S3", "O4")
def test_a_server_that_can_not_jail_one_of_its_tools_is_not_ready(
    agent: Agent, lack: Lack, settings: Settings
) -> None:
    assert agent.get("ready").json()["checks"]["sandbox"] == "ok"
    lack(Layer.LANDLOCK)
    answer = agent.get("ready")
    assert (answer.status_code, answer.json()["checks"]["sandbox"]) == (503, "failed")
    assert answer.json()["checks"]["database"] == "ok"
    assert agent.get("health").status_code == 200
    settings.RAMPART_WAIVE_ISOLATION = [Layer.LANDLOCK]
    assert agent.get("ready").json()["checks"]["sandbox"] == "ok"


def test_ready_examines_nothing_a_second_time(monkeypatch: MonkeyPatch) -> None:
    assert health.sandbox()
    monkeypatch.setattr(Workshop, "examine", None)
    assert health.sandbox()


# What is waived is known to all.


@pytest.mark.feature("S3")
def test_a_word_that_is_no_layer_stops_the_start_and_is_named(bare: Deployment) -> None:
    said = refusal(bare, RAMPART_WAIVE_ISOLATION="landlock,seccomp")
    assert said.startswith("RAMPART_WAIVE_ISOLATION: 'seccomp' is none of ")


def test_layers_are_waived_in_any_order_and_once(bare: Deployment) -> None:
    found = read(bare, RAMPART_WAIVE_ISOLATION=" system_calls,landlock, landlock ,")
    assert found["RAMPART_WAIVE_ISOLATION"] == [Layer.LANDLOCK, Layer.SYSTEM_CALLS]
    assert found["AUDIT_STAMP"] == {"waived": ["landlock", "system_calls"]}
    assert read(bare)["AUDIT_STAMP"] == {}


@pytest.mark.feature("S3")
def test_the_check_warns_as_long_as_a_layer_is_waived(settings: Settings) -> None:
    assert no_layer_is_waived() == []
    settings.RAMPART_WAIVE_ISOLATION = [Layer.LANDLOCK, Layer.PRIVATE_ROOT]
    (warning,) = no_layer_is_waived()
    assert (warning.id, warning.is_serious()) == ("rampart.W004", False)
    assert "landlock, private_root" in warning.msg and warning.hint


@pytest.mark.feature("S3")
def test_every_event_says_what_is_waived(
    agent: Agent, settings: Settings, trace: Path, bare: Deployment
) -> None:
    settings.AUDIT_STAMP = read(bare, RAMPART_WAIVE_ISOLATION="landlock")["AUDIT_STAMP"]
    before = set(Event.objects.values_list("pk", flat=True))
    agent.invoke("echo", value=1)
    agent.invoke("no_such_tool")
    agent.invoke("leave_trace", path=str(trace))
    work()
    told = Event.objects.exclude(pk__in=before)
    assert {event.event for event in told} >= {
        "invocation:queued", "invocation:started", "invocation:finished", "invocation:refused",
    }  # fmt: skip
    assert all(event.metadata["waived"] == ["landlock"] for event in told)


def test_no_event_speaks_of_waivers_where_there_are_none(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    assert not any("waived" in event.metadata for event in Event.objects.all())


def test_the_end_of_a_call_names_the_jail_that_it_ran_in(agent: Agent, trace: Path) -> None:
    agent.invoke("echo", value=1)
    agent.invoke("leave_trace", path=str(trace))
    work()
    finished = Event.objects.filter(event="invocation:finished")
    assert {event.tool_name: event.metadata["jail"] for event in finished} == {
        "echo": "warm", "leave_trace": "fresh",
    }  # fmt: skip


def test_the_overview_says_how_strong_the_jails_are(
    admin_client: Client, lack: Lack, settings: Settings
) -> None:
    assert "Jails here: warm, fresh" in admin_client.get("/admin/").content.decode()
    settings.RAMPART_WAIVE_ISOLATION = [Layer.LANDLOCK]
    lack(Layer.LANDLOCK)
    page = admin_client.get("/admin/").content.decode()
    assert "fresh lacks landlock; waived: landlock." in page


def test_the_overview_keeps_it_from_who_may_not_see_tools(client: Client, stranger: User) -> None:
    client.force_login(stranger)
    assert "Jails here" not in client.get("/admin/").content.decode()
