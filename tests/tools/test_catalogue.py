"""What is on record of the tools, and how soon a switch is felt."""

import time
from typing import Any

import pytest
from pytest import MonkeyPatch

from audit.events import EventName
from audit.models import Event
from tests.conftest import Agent, at_once
from tests.tools.conftest import Bench
from tools import catalogue, require_approval, scope, tool
from tools.catalogue import Changes, switchboard
from tools.models import EmergencyStop, Tool, ToolVersion
from tools.registry import find, loaded

pytestmark = pytest.mark.django_db


def define(bench: Bench, *, limit: int = 100, name: str = "pay") -> None:
    """One tool on an empty bench."""
    bench.clear()

    @tool(name=name)
    @require_approval(over_amount=limit)
    def pay(amount: float) -> None:
        """Pay."""

    bench.registry()


def told(event: EventName) -> list[tuple[str, Any]]:
    """What the ledger tells of this, oldest first."""
    rows = Event.objects.filter(event=event).order_by("id")
    return [(row.tool_name, row.metadata) for row in rows]


@pytest.mark.feature("TD6")
def test_a_new_tool_becomes_version_one(bench: Bench) -> None:
    define(bench)
    assert catalogue.sync(by="test") == Changes(added=["pay"], changed=[], gone=[])
    version = ToolVersion.objects.get()
    assert (version.tool.name, version.number) == ("pay", 1)
    assert version.tool.current == version
    assert (version.schema_hash, version.definition) == (
        find("pay").schema_hash, find("pay").public_schema,
    )  # fmt: skip


@pytest.mark.feature("TD6")
def test_the_same_definition_makes_no_new_version(bench: Bench) -> None:
    define(bench)
    catalogue.sync(by="test")
    define(bench)
    assert catalogue.sync(by="test") == Changes([], [], [])
    assert ToolVersion.objects.count() == 1
    assert len(told(EventName.TOOL_SYNCED)) == 1


@pytest.mark.feature("TD6")
def test_another_definition_makes_the_next_version(bench: Bench) -> None:
    define(bench)
    catalogue.sync(by="test")
    define(bench, limit=50)
    assert catalogue.sync(by="test") == Changes(added=[], changed=["pay"], gone=[])
    assert [version.number for version in ToolVersion.objects.order_by("number")] == [1, 2]
    assert switchboard(fresh=True).switches["pay"].version == 2


@pytest.mark.feature("TD6")
def test_a_tool_that_went_is_kept_closed_and_may_come_back(bench: Bench) -> None:
    define(bench)
    catalogue.sync(by="test")
    define(bench, name="refund")
    assert catalogue.sync(by="test") == Changes(added=["refund"], changed=[], gone=["pay"])
    assert set(switchboard(fresh=True).switches) == {"refund"}
    gone = {"present": False, "before": {"present": True}, "after": {"present": False}}
    assert ("pay", gone) in told(EventName.TOOL_SYNCED)
    define(bench)
    assert catalogue.sync(by="test").changed == ["pay"]
    assert ToolVersion.objects.filter(tool__name="pay").count() == 1
    assert "pay" in switchboard(fresh=True).switches


@pytest.mark.feature("U1")
def test_each_synced_tool_is_one_line(bench: Bench) -> None:
    define(bench)
    catalogue.sync(by="ann")
    ((name, line),) = told(EventName.TOOL_SYNCED)
    assert (name, line["version"], line["schema_hash"]) == ("pay", 1, find("pay").schema_hash)
    assert Event.objects.get().actor == "ann"


def test_looking_at_changes_changes_nothing(bench: Bench) -> None:
    define(bench)
    assert catalogue.changes().added == ["pay"]
    assert not Tool.objects.exists() and not Event.objects.exists()


@pytest.mark.feature("TD6", "T9")
@pytest.mark.django_db(transaction=True)
def test_syncs_at_the_same_time_make_one_version(bench: Bench) -> None:
    define(bench)
    at_once(4, lambda number: catalogue.sync(by="test"))
    assert ToolVersion.objects.count() == 1


@pytest.mark.feature("TD6")
def test_a_definition_that_is_not_on_record_is_not_called(bench: Bench) -> None:
    define(bench)
    reason = "the tool's definition is not the one on record: run sync_tools"
    assert switchboard(fresh=True).closed_because(find("pay")) == reason
    catalogue.sync(by="test")
    assert switchboard(fresh=True).closed_because(find("pay")) is None
    define(bench, limit=50)
    assert switchboard(fresh=True).closed_because(find("pay")) == reason


# Switches.


@pytest.fixture
def echo(tools_synced: None) -> Tool:
    """One tool on record."""
    return Tool.objects.get(name="echo")


def closed() -> str | None:
    """Why `echo` may not be called, as this process knows it."""
    return switchboard().closed_because(loaded()["echo"])


@pytest.mark.feature("TD7")
def test_a_switch_is_felt_at_once_where_it_is_thrown(
    echo: Tool, django_capture_on_commit_callbacks: Any
) -> None:
    assert closed() is None
    with django_capture_on_commit_callbacks(execute=True):
        catalogue.set_enabled(echo, False, by="ann")
    assert closed() == "the tool is switched off"
    with django_capture_on_commit_callbacks(execute=True):
        catalogue.set_enabled(echo, True, by="ann")
    assert closed() is None


@pytest.mark.feature("TD7")
@pytest.mark.parametrize("thrown", ["the tool's switch", "the emergency stop"])
def test_elsewhere_a_switch_is_felt_within_half_a_second(
    echo: Tool, monkeypatch: MonkeyPatch, thrown: str
) -> None:
    """Another process's switch is a change of rows alone; the clock is moved on by hand."""
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert closed() is None
    if thrown == "the emergency stop":
        EmergencyStop.objects.create(reason="drill", engaged_by="ann")
    else:
        Tool.objects.filter(pk=echo.pk).update(enabled=False)
    clock[0] += 0.49
    assert closed() is None
    clock[0] += 0.02
    assert closed() is not None


@pytest.mark.feature("TD7")
def test_a_fresh_look_sees_what_was_thrown_this_moment(echo: Tool) -> None:
    assert closed() is None
    Tool.objects.filter(pk=echo.pk).update(enabled=False)
    assert switchboard(fresh=True).closed_because(loaded()["echo"]) == "the tool is switched off"


@pytest.mark.feature("TD7")
def test_the_emergency_stop_closes_every_tool(echo: Tool) -> None:
    EmergencyStop.objects.create(reason="drill", engaged_by="ann")
    board = switchboard(fresh=True)
    assert {board.closed_because(each) for each in loaded().values()} == {"all tools are stopped"}


@pytest.mark.feature("TD7")
def test_before_anything_was_read_every_tool_is_closed() -> None:
    assert catalogue._Memory().board.stopped


@pytest.mark.feature("TD7")
def test_a_call_of_a_tool_that_is_off_is_403_tool_disabled(
    agent: Agent, echo: Tool, django_capture_on_commit_callbacks: Any
) -> None:
    assert agent.invoke("echo", value=1).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        catalogue.set_enabled(echo, False, by="ann")
    answer = agent.invoke("echo", value=1)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "ToolDisabled")
    assert agent.get("tools/echo").json()["enabled"] is False


@pytest.mark.feature("U1", "TD7")
def test_each_throw_is_one_line_and_no_throw_is_none(echo: Tool) -> None:
    assert catalogue.set_enabled(echo, False, by="ann")
    assert not catalogue.set_enabled(echo, False, by="ben")
    assert catalogue.set_enabled(echo, True, by="cai")
    assert not catalogue.set_enabled(echo, True, by="dee")
    on, off = {"enabled": True}, {"enabled": False}
    assert told(EventName.TOOL_DISABLED) == [("echo", {"before": on, "after": off})]
    assert told(EventName.TOOL_ENABLED) == [("echo", {"before": off, "after": on})]
    assert Event.objects.newest_first()[0].actor == "cai"


def test_the_switches_of_all_tools_cost_two_queries_in_half_a_second(
    echo: Tool, django_assert_num_queries: Any
) -> None:
    catalogue.forget()
    with django_assert_num_queries(2):
        for _ in range(5):
            switchboard()


# What callers are told.


def test_a_tool_is_shown_with_its_version_and_switch(agent: Agent) -> None:
    shown = agent.get("tools/pay").json()
    assert shown == loaded()["pay"].public_schema | {"version": 1, "enabled": True}


@pytest.mark.feature("I7", "H4")
def test_only_tools_that_the_keys_scopes_allow_are_shown(make_agent: Any) -> None:
    shown = make_agent(scopes=("kit.destroy",)).get("tools").json()["tools"]
    assert [each["name"] for each in shown] == ["destroy"]
    exported = make_agent("b", scopes=("kit.destroy",)).get("mcp/tools").json()["tools"]
    assert [each["name"] for each in exported] == ["destroy"]
    answer = make_agent("c", scopes=("kit.destroy",)).get("tools/echo")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_tool")


def test_a_name_is_looked_up_in_code_alone(bench: Bench, agent: Agent) -> None:
    Tool.objects.create(name="os.system")
    assert agent.get("tools/os.system").status_code == 404

    @tool
    @scope("kit.read")
    def unsynced() -> None:
        """On no record."""

    bench.registry()
    assert agent.get("tools/unsynced").json()["version"] is None
    assert agent.get("tools/unsynced").json()["enabled"] is False
