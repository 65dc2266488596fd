"""Warnings over definitions that promise more than they keep, and MCP's view of them."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

import tools
from tests.conftest import Agent
from tests.tools.conftest import Bench
from tools import (
    isolated_process,
    max_retries,
    rate_limit,
    redact,
    require_approval,
    scope,
    side_effects,
    tool,
)
from tools.checks import (
    grants_leave_the_code_alone,
    grants_leave_us_alone,
    tools_say_what_they_mean,
)
from tools.views import describe_for_mcp


def ids(bench: Bench) -> list[str | None]:
    """The ids of what the check says of the bench."""
    bench.registry()
    return [found.id for found in tools_say_what_they_mean()]


@pytest.mark.feature("TD5")
@pytest.mark.parametrize("conditions", [{}, {"over_amount": 5}])
def test_a_read_only_tool_that_asks_for_approval_is_a_warning(
    bench: Bench, conditions: dict[str, Any]
) -> None:
    @tool
    @side_effects(read_only=True)
    @require_approval(**conditions)
    def look(amount: int) -> None:
        """Look."""

    assert ids(bench) == ["tools.W001"]


@pytest.mark.feature("TD5")
def test_a_writing_tool_that_asks_for_approval_is_none(bench: Bench) -> None:
    @tool
    @require_approval
    def write() -> None:
        """Write."""

    assert ids(bench) == []


def test_retries_of_a_tool_that_may_not_run_twice_are_a_warning(bench: Bench) -> None:
    @tool
    @max_retries(2)
    def write() -> None:
        """Write."""

    assert ids(bench) == ["tools.W002"]


@pytest.mark.feature("S3")
@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("place", ["", "/broker", "/.."])
def test_a_grant_in_or_around_the_platforms_own_data_is_an_error(
    bench: Bench, kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "RAMPART_VAR", tmp_path / "var")
    path = os.path.normpath(f"{settings.RAMPART_VAR}{place}")

    @tool
    @isolated_process(**{kind: [path]})
    def write() -> None:
        """Write."""

    bench.registry()
    assert [found.id for found in grants_leave_us_alone()] == ["tools.E002"]


@pytest.mark.feature("S3")
@pytest.mark.parametrize(
    "path",
    [
        sys.prefix,
        f"{sys.prefix}/lib",
        os.path.dirname(sys.prefix),
        os.path.realpath(sys.executable),
        "/usr/local/share",
        "/usr",
        os.path.abspath(tools.__path__[0]),
        os.path.abspath(tools.__file__),
        os.path.dirname(os.path.abspath(tools.__path__[0])),
    ],
)
def test_a_grant_to_write_where_code_lies_is_an_error(bench: Bench, path: str) -> None:
    @tool
    @isolated_process(write=[path])
    def write() -> None:
        """Write."""

    bench.registry()
    assert [found.id for found in grants_leave_the_code_alone()] == ["tools.E003"]


@pytest.mark.feature("S3")
def test_a_grant_to_write_around_a_folder_of_modules_is_an_error_by_either_of_its_names(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real/modules").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/modules")
    monkeypatch.syspath_prepend(str(tmp_path / "link"))

    @tool
    @isolated_process(write=[str(tmp_path / "real")])
    def write() -> None:
        """Write."""

    bench.registry()
    assert [found.id for found in grants_leave_the_code_alone()] == ["tools.E003"]


@pytest.mark.feature("S3")
def test_a_grant_to_read_code_or_to_write_beside_it_is_fine(bench: Bench) -> None:
    @tool
    @isolated_process(read=["/usr"], write=[f"{tools.__path__[0]}/data", "/srv/data"])
    def write() -> None:
        """Write."""

    bench.registry()
    assert grants_leave_the_code_alone() == []


def test_a_grant_beside_the_platforms_own_data_is_fine(bench: Bench) -> None:
    @tool
    @isolated_process(network=True, read=[f"{settings.RAMPART_VAR}-not"])
    def write() -> None:
        """Write."""

    assert ids(bench) == []
    assert grants_leave_us_alone() == []


@pytest.mark.feature("TD5")
@pytest.mark.parametrize(
    "effects",
    [
        {},
        {"read_only": True, "idempotent": True},
        {"destructive": True},
        {"external_network": True, "idempotent": True},
    ],
)
def test_mcp_annotations_are_the_tools_side_effects(bench: Bench, effects: dict[str, bool]) -> None:
    @tool
    @side_effects(**effects)
    def act() -> None:
        """Act."""

    exported = describe_for_mcp(bench.build(act))
    assert exported["annotations"] == {
        "title": "act",
        "readOnlyHint": effects.get("read_only", False),
        "destructiveHint": effects.get("destructive", False),
        "idempotentHint": effects.get("idempotent", False),
        "openWorldHint": effects.get("external_network", False),
    }


def test_mcp_export_carries_toolramparts_extension(bench: Bench) -> None:
    @tool
    @scope("a.b")
    @require_approval(over_amount=5)
    @rate_limit("1/minute/user")
    @redact(["card"])
    def pay(amount: int, card: str) -> None:
        """Pay."""

    exported = describe_for_mcp(bench.build(pay))
    assert set(exported) == {"name", "description", "inputSchema", "annotations", "x-toolrampart"}
    extension = exported["x-toolrampart"]
    assert set(extension) == {"scope", "approval_required", "rate_limit", "redacts", "side_effects"}
    assert (extension["scope"], extension["approval_required"]) == ("a.b", True)
    assert (extension["rate_limit"], extension["redacts"]) == ("1/minute/user", ["card"])


@pytest.mark.feature("TD5")
@pytest.mark.django_db
def test_the_export_over_http_has_the_same_annotations(agent: Agent) -> None:
    exported = {tool["name"]: tool for tool in agent.get("mcp/tools").json()["tools"]}
    assert exported["destroy"]["annotations"]["destructiveHint"] is True
    assert exported["echo"]["annotations"]["readOnlyHint"] is True
