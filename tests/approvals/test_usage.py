"""What a run has used is in the ledger, and what a jail forbids is there loudly."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

from approvals.models import Invocation
from audit.models import Event
from sandbox.limits import MIB
from tests.conftest import Agent, work
from tools import registry
from tools.workshop import run_tool, tool_limits

pytestmark = pytest.mark.django_db


def finished() -> Event:
    return Event.objects.get(event="invocation:finished")


def counted(tool: str) -> float:
    name = "rampart_sandbox_violations_total"
    return REGISTRY.get_sample_value(name, {"tool": tool}) or 0.0


@pytest.mark.feature("X3")
def test_a_workers_run_tells_what_it_used(agent: Agent, trace: Path) -> None:
    agent.invoke("leave_trace", path=str(trace))
    work()
    usage = finished().metadata["usage"]
    assert set(usage) == {"seconds", "cpu_seconds", "max_rss_bytes"}
    assert 0 < usage["seconds"] < 10
    assert 0 < usage["cpu_seconds"] < 10
    assert MIB < usage["max_rss_bytes"] < 1024 * MIB


def test_a_warm_run_tells_its_time_only(agent: Agent) -> None:
    agent.invoke("echo", value=1)
    assert set(finished().metadata["usage"]) == {"seconds"}


@pytest.mark.feature("S3")
@pytest.mark.parametrize("tool", ["reads_what_is_forbidden", "does_what_is_forbidden"])
def test_what_a_jail_forbids_is_a_line_of_its_own(
    agent: Agent,
    tool: str,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: object,
) -> None:
    before = counted(tool)
    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        agent.invoke(tool)
        work()
    call = Invocation.objects.get()
    violation = Event.objects.get(event="sandbox:violated")
    assert (call.status, call.error_type) == ("killed", "Violation")
    assert (violation.invocation_id, violation.tool_name) == (call.pk, tool)
    assert violation.metadata["jail"] == finished().metadata["jail"]
    assert f"the tool {tool} was killed by its jail" in caplog.text
    assert counted(tool) == before + 1


def test_a_tools_own_error_of_that_name_is_none(agent: Agent) -> None:
    agent.invoke("fails_by_that_name")
    assert Invocation.objects.get().error_type == "Violation"
    assert not Event.objects.filter(event="sandbox:violated").exists()


def test_a_tool_that_is_another_in_its_process_is_not_run(trace: Path) -> None:
    """As when the code was changed and the server not restarted."""
    known = registry.find("leave_trace")
    as_it_was = replace(known, redacts=frozenset({"path"}))
    outcome = run_tool(as_it_was, {"path": str(trace)}, fresh=True)
    assert (outcome.status, outcome.error_type) == ("error", "ToolChanged")
    assert outcome.error.startswith("Nothing was run")
    assert not trace.exists() or not trace.read_text()
    assert run_tool(known, {"path": str(trace)}, fresh=True).data == 1


def test_the_memory_of_tools_is_a_setting(settings: Settings) -> None:
    settings.RAMPART_TOOL_MEMORY_MB = 100
    tool_limits.cache_clear()
    try:
        assert tool_limits().memory_bytes == 100 * MIB
        assert tool_limits().address_space_bytes == 400 * MIB
    finally:
        settings.RAMPART_TOOL_MEMORY_MB = 1024
        tool_limits.cache_clear()
