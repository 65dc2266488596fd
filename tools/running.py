"""The child's side of a run: one job in, one JSON result out, in a process made for it."""

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any

from sandbox.child import report_progress
from tools import registry
from tools.errors import ToolChanged


def run(job: Mapping[str, Any]) -> Any:
    """Run the tool that the job names on its arguments; errors of the tool pass through.

    What was judged and approved is the definition that the server knows: another one is not run.
    """
    definition = registry.loaded().get(job["tool"])
    if definition is None or job.get("schema_hash", definition.schema_hash) != (
        definition.schema_hash
    ):
        raise ToolChanged
    value = definition.call(job["arguments"])
    if inspect.isawaitable(value):
        value = asyncio.run(_awaited(value))
    return definition.checked_result(value)


def progress(message: Any) -> None:
    """Tell how far the tool has come; outside a run it does nothing."""
    report_progress(message)


async def _awaited(value: Any) -> Any:
    return await value
