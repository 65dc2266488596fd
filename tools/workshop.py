"""This process's workshop: the processes in which tools run."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from django.conf import settings

from sandbox.outcomes import Outcome
from sandbox.process import Workshop
from sandbox.profiles import FRESH, WARM
from tools import builtin
from tools.definition import ToolDefinition


def tool_modules() -> list[str]:
    """Every module that defines tools here: ours, and the deployment's."""
    return [*builtin.MODULES, *settings.RAMPART_TOOL_MODULES]


@cache
def workshop() -> Workshop:
    """The workshop with this deployment's tools; its processes start when first needed."""
    return Workshop("tools.running:run", [*tool_modules(), "tools.prepared"])


def run_tool(
    tool: ToolDefinition,
    arguments: Mapping[str, Any],
    *,
    fresh: bool,
    on_tick: Callable[[], bool] | None = None,
    on_progress: Callable[[Any], None] | None = None,
) -> Outcome:
    """Run the tool once on frozen arguments, in a process of its own or in a warm one."""
    job = {"tool": tool.name, "arguments": dict(arguments)}
    return workshop().run(
        job,
        timeout=tool.timeout_seconds,
        profile=FRESH if fresh else WARM,
        on_tick=on_tick,
        on_progress=on_progress,
    )
