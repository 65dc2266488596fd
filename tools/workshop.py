"""This process's workshop: the processes in which tools run."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from django.conf import settings

from sandbox.limits import STANDARD, Limits
from sandbox.outcomes import Outcome
from sandbox.process import Workshop
from sandbox.profiles import FRESH, NATIVE, NOTHING, STRICT, WARM, Profile
from tools import builtin
from tools.builtin import execution
from tools.definition import ToolDefinition
from tools.secrecy import secrets_of
from tools.veil import Veil


def tool_modules() -> list[str]:
    """Every module that defines tools here: ours, and the deployment's."""
    return [*builtin.MODULES, *settings.RAMPART_TOOL_MODULES]


@cache
def workshop() -> Workshop:
    """The workshop with this deployment's tools; its processes start when first needed."""
    modules = [*tool_modules(), "tools.prepared"]
    return Workshop("tools.running:run", modules, waived=settings.RAMPART_WAIVE_ISOLATION)


def profile_of(tool: ToolDefinition, *, fresh: bool = True) -> Profile:
    """The jail that a run of the tool gets, in a process of its own or in a warm one."""
    if tool.name == execution.NAME:
        return STRICT
    if tool.grants is not None:
        return NATIVE
    return FRESH if fresh or tool.secrets else WARM


def run_tool(
    tool: ToolDefinition,
    arguments: Mapping[str, Any],
    *,
    fresh: bool,
    on_tick: Callable[[], bool] | None = None,
    on_progress: Callable[[Any], None] | None = None,
) -> Outcome:
    """Run the tool once on frozen arguments, in a process of its own or in a warm one.

    Its secrets go to its own process and nowhere else: what comes back shows none of them.
    """
    secrets = secrets_of(tool)
    veil = Veil.over(secrets.values())
    job = {"tool": tool.name, "schema_hash": tool.schema_hash, "arguments": dict(arguments)}
    seconds, limits = _bounds_of(tool, arguments)
    outcome = workshop().run(
        job,
        timeout=seconds,
        profile=profile_of(tool, fresh=fresh),
        grants=tool.grants or NOTHING,
        limits=limits,
        secrets=secrets,
        on_tick=on_tick,
        on_progress=on_progress and (lambda message: on_progress(veil(message))),
    )
    if tool.name == execution.NAME:
        outcome = execution.report(arguments, outcome)
    return veil.outcome(outcome)


def _bounds_of(tool: ToolDefinition, arguments: Mapping[str, Any]) -> tuple[float | None, Limits]:
    """The deadline in seconds, and the limits: the tool's, or what a caller's program asks for."""
    if tool.name == execution.NAME:
        return execution.demands(arguments)
    return tool.timeout_seconds, tool_limits()


@cache
def tool_limits() -> Limits:
    """What a tool of this deployment may use."""
    return STANDARD.with_memory(settings.RAMPART_TOOL_MEMORY_MB)
