"""The catalogue: what the code defines, and what the operator has switched on.

Each process reads the switches at most twice a second, in one query for all tools; a switch is
felt at once where it was thrown and within half a second everywhere else.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from audit import ledger
from audit.changes import difference
from audit.events import EventName
from tools import registry
from tools.definition import ToolDefinition
from tools.models import EmergencyStop, Tool, ToolVersion

SECONDS_REMEMBERED = 0.5


@dataclass(frozen=True, slots=True)
class Switch:
    """What the database says of one tool now."""

    enabled: bool
    version_id: int
    version: int
    schema_hash: str
    max_running: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Switchboard:
    """Every tool's switch, and the emergency stop, as they stood at one moment."""

    switches: Mapping[str, Switch]
    stopped: bool

    def closed_because(self, definition: ToolDefinition) -> str | None:
        """Why no call of this tool may start now, or None."""
        if self.stopped:
            return "all tools are stopped"
        switch = self.switches.get(definition.name)
        if switch is None or switch.schema_hash != definition.schema_hash:
            return "the tool's definition is not the one on record: run sync_tools"
        return None if switch.enabled else "the tool is switched off"

    def most_running(self, name: str) -> int | None:
        """How many calls of this tool may run at once; None: any number."""
        switch = self.switches.get(name)
        return switch.max_running if switch else None

    def priority(self, name: str) -> int:
        """How early calls of this tool are taken; higher is earlier."""
        switch = self.switches.get(name)
        return switch.priority if switch else 0

    @property
    def limited(self) -> list[str]:
        """The tools of which only so many calls may run at once."""
        return [name for name, switch in self.switches.items() if switch.max_running is not None]


@dataclass(slots=True)
class _Memory:
    until: float = 0.0
    board: Switchboard = field(default_factory=lambda: Switchboard({}, True))


_memory = _Memory()


def switchboard(*, fresh: bool = False) -> Switchboard:
    """The switches, at most half a second old; `fresh` reads them now."""
    now = time.monotonic()
    if fresh or now >= _memory.until:
        _memory.board = _read()
        _memory.until = now + SECONDS_REMEMBERED
    return _memory.board


def forget() -> None:
    """Drop what this process remembers, because a switch was just thrown."""
    _memory.until = 0.0


def _read() -> Switchboard:
    rows = Tool.objects.filter(present=True, current__isnull=False).values_list(
        "name", "enabled", "current_id", "current__number", "current__schema_hash",
        "max_running", "priority",
    )  # fmt: skip
    switches = {
        name: Switch(enabled, version_id, number, schema_hash, most, priority)
        for name, enabled, version_id, number, schema_hash, most, priority in rows
        if version_id is not None
    }
    return Switchboard(switches, EmergencyStop.objects.exists())


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync finds, by tool name."""

    added: list[str]
    changed: list[str]
    gone: list[str]


def changes() -> Changes:
    """What the code defines otherwise than the database has it."""
    known = {tool.name: tool for tool in Tool.objects.select_related("current")}
    defined = registry.loaded()
    return Changes(
        added=sorted(name for name in defined if name not in known),
        changed=sorted(
            name
            for name, definition in defined.items()
            if name in known and not _matches(known[name], definition)
        ),
        gone=sorted(name for name, row in known.items() if row.present and name not in defined),
    )


@transaction.atomic
def sync(*, by: str) -> Changes:
    """Write the code's definitions into the database: new tools, new versions, tools gone."""
    found = changes()
    for name in [*found.added, *found.changed]:
        _store(registry.find(name), by=by)
    Tool.objects.filter(name__in=found.gone).update(present=False)
    for name in found.gone:
        told = difference({"present": True}, {"present": False})
        ledger.record(
            EventName.TOOL_SYNCED, actor=by, tool_name=name, metadata={"present": False, **told}
        )
    transaction.on_commit(forget)
    return found


def set_enabled(tool: Tool, enabled: bool, *, by: str) -> bool:
    """Throw a tool's switch; False if it stood there already."""
    with transaction.atomic():
        changed = Tool.objects.filter(pk=tool.pk, enabled=not enabled).update(enabled=enabled)
        if changed:
            event = EventName.TOOL_ENABLED if enabled else EventName.TOOL_DISABLED
            told = difference({"enabled": not enabled}, {"enabled": enabled})
            ledger.record(event, actor=by, tool_name=tool.name, metadata=told)
        transaction.on_commit(forget)
    return bool(changed)


def set_limits(tool: Tool, *, max_running: int | None, priority: int, by: str) -> bool:
    """Say how many calls run at once, and how early they are taken; False if it was so already."""
    with transaction.atomic():
        row = Tool.objects.select_for_update(no_key=True).get(pk=tool.pk)
        before = {"max_running": row.max_running, "priority": row.priority}
        after = {"max_running": max_running, "priority": priority}
        if before == after:
            return False
        Tool.objects.filter(pk=row.pk).update(**after)
        ledger.record(
            EventName.TOOL_LIMITED,
            actor=by,
            tool_name=row.name,
            metadata={"before": before, "after": after},
        )
        transaction.on_commit(forget)
    return True


def _matches(row: Tool, definition: ToolDefinition) -> bool:
    current = row.current
    return row.present and current is not None and current.schema_hash == definition.schema_hash


def _store(definition: ToolDefinition, *, by: str) -> None:
    row, _ = Tool.objects.select_for_update().get_or_create(name=definition.name)
    before = _said(row)
    if row.current is None or row.current.schema_hash != definition.schema_hash:
        number = (row.current.number if row.current else 0) + 1
        row.current = ToolVersion.objects.create(
            tool=row,
            number=number,
            schema_hash=definition.schema_hash,
            definition=definition.public_schema,
        )
    row.present = True
    row.save(update_fields=["current", "present"])
    ledger.record(
        EventName.TOOL_SYNCED,
        actor=by,
        tool_name=definition.name,
        metadata={
            "version": row.current.number,
            "schema_hash": definition.schema_hash,
            **difference(before, _said(row)),
        },
    )


def _said(row: Tool) -> dict[str, Any] | None:
    """What the code says of a tool, as the ledger keeps it; None before it was first on record."""
    if row.current is None:
        return None
    current = row.current
    return {**current.definition, "present": row.present, "version": current.number}
