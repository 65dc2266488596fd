"""Where notices go: the channels, read from the database at most twice a second."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from uuid import UUID

from approvals.models import Channel

SECONDS_REMEMBERED = 0.5


@dataclass(frozen=True, slots=True)
class Route:
    """One channel, as much of it as choosing takes."""

    channel_id: int
    tool: str
    least_risk: int

    def leads_from(self, tool_name: str, risk: int) -> bool:
        """Whether calls of the tool, with this risk, are told here."""
        return risk >= self.least_risk and self.is_for(tool_name)

    def is_for(self, tool_name: str) -> bool:
        """Whether calls of the tool are told here."""
        return fnmatchcase(tool_name, self.tool)


@dataclass(frozen=True, slots=True)
class Routes:
    """Every channel that is switched on: those of the desk, and those of callers' own systems."""

    of_desk: tuple[Route, ...] = ()
    of_callers: Mapping[UUID, tuple[Route, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Memory:
    until: float = 0.0
    routes: Routes = field(default_factory=Routes)


_memory = _Memory()


def routes() -> Routes:
    """The channels, at most half a second old."""
    now = time.monotonic()
    if now >= _memory.until:
        _memory.routes = _read()
        _memory.until = now + SECONDS_REMEMBERED
    return _memory.routes


def forget() -> None:
    """Drop what this process remembers, because a channel was just changed."""
    _memory.until = 0.0


def _read() -> Routes:
    of_desk: list[Route] = []
    of_callers: defaultdict[UUID, list[Route]] = defaultdict(list)
    enabled = Channel.objects.filter(is_enabled=True).order_by("pk")
    for pk, tool, risk, lineage in enabled.values_list(
        "pk", "tool", "least_risk", "caller__lineage"
    ):
        (of_desk if lineage is None else of_callers[lineage]).append(Route(pk, tool, risk))
    return Routes(tuple(of_desk), {key: tuple(value) for key, value in of_callers.items()})
