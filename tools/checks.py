"""System checks of the tools, each with a stable id."""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from tools import registry
from tools.definition import ToolDefinition


@register()
def tools_are_well_defined(**kwargs: Any) -> list[CheckMessage]:
    """tools.E001: a tool is defined in a way that can't work."""
    return [
        Error(problem, hint="RAMPART_TOOL_MODULES names the modules", id="tools.E001")
        for problem in registry.problems()
    ]


@register()
def tools_say_what_they_mean(**kwargs: Any) -> list[CheckMessage]:
    """tools.W001 to W003: definitions that work but promise more than they keep."""
    return [warning for tool in registry.loaded().values() for warning in _doubts(tool)]


def _doubts(tool: ToolDefinition) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if tool.is_read_only and tool.approval_reasons_possible:
        found.append(
            Warning(
                f"{tool.name} is read only, yet asks for approval",
                hint="a tool that needs a person usually does something: drop read_only",
                id="tools.W001",
            )
        )
    if tool.max_retries and not tool.may_run_again:
        found.append(
            Warning(
                f"{tool.name} asks for retries, but is not idempotent: it is run once",
                hint="declare @side_effects(idempotent=True) if running twice does no harm",
                id="tools.W002",
            )
        )
    if tool.grants is not None or tool.secrets:
        found.append(
            Warning(
                f"{tool.name} names grants or secrets, which are recorded but not yet enforced",
                hint="the tool runs in a process of its own with the worker's files and network,"
                " and no secret is handed to it",
                id="tools.W003",
            )
        )
    return found
