"""What runs: every call that a worker has, or that waits for one, and how it fares."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse

from approvals import order, reviewers
from approvals.desk.looks import badge
from approvals.desk.people import owns_keys
from approvals.desk.pulse import pulse
from approvals.dispatch import queue_of
from approvals.models import Invocation, InvocationQuerySet
from approvals.states import InvocationStatus
from approvals.transitions import LEASE
from audit.models import local_now
from tools import registry
from tools.definition import ToolDefinition
from tools.models import Tool
from tools.pages import the_person
from tools.workshop import profile_of

VIEW = "approvals.view_invocation"
READING = ("GET", "HEAD")
MOST_SHOWN = 200
SILENT_AFTER = timedelta(seconds=5)
"""A worker speaks each second; one that has not for so long may be gone."""
LONGEST_PROGRESS = 300


@dataclass(frozen=True, slots=True)
class Line:
    """A call of the list, as it is shown."""

    call: Invocation
    badge: str
    place: str
    deadline: datetime | None
    attempts: str
    heard: datetime | None
    is_silent: bool
    limits: str
    walls: str
    progress: str
    may_stop: bool


def visible_calls(person: User) -> InvocationQuerySet:
    """The calls that a person sees here: all, or those of their own keys."""
    rows = Invocation.objects.all()
    return rows if person.has_perm(VIEW) else rows.filter(key__owner=person)


def may_look(person: User) -> bool:
    """Whether there may be anything here for this person."""
    return person.has_perm(VIEW) or owns_keys(person)


def may_stop(row: Invocation, person: User) -> bool:
    """Whether the person may take the call back: whoever lets calls run, and the key's owner."""
    return person.has_perm(reviewers.DECIDE) or row.key.owner_id == person.pk


def running_page(request: HttpRequest, around: Mapping[str, Any]) -> HttpResponse:
    """`GET /admin/running/`."""
    if request.method not in READING:
        return HttpResponseNotAllowed(READING)
    person, moment = _looker(request), local_now()
    version = _version(person, moment)  # Before the rows: what comes between is news then.
    rows = _rows(person)
    order.know_positions(rows)
    context = {
        **around,
        "title": "What runs",
        "lines": [_line(row, person, moment) for row in rows[:MOST_SHOWN]],
        "is_cut": len(rows) > MOST_SHOWN,
        "most_shown": MOST_SHOWN,
        "version": version,
    }
    return TemplateResponse(request, "admin/approvals/running.html", context)


def running_pulse(request: HttpRequest) -> HttpResponse:
    """`GET /admin/running/pulse/`."""
    if request.method not in READING:
        return HttpResponseNotAllowed(READING)
    return pulse(request, _version(_looker(request), local_now()))


def _looker(request: HttpRequest) -> User:
    person = the_person(request)
    if not may_look(person):
        raise PermissionDenied
    return person


def _rows(person: User) -> list[Invocation]:
    """What runs, the oldest first, then what waits in its order; one more than is shown."""
    calls = visible_calls(person).select_related("tool_version__tool", "key")
    calls = calls.defer("arguments", "arguments_sealed", "metadata", "result", "result_sealed")
    found = list(calls.running().order_by("pk")[: MOST_SHOWN + 1])
    waiting = calls.queued().order_by("-tool_version__tool__priority", "pk")
    return [*found, *waiting[: MOST_SHOWN + 1 - len(found)]]


def _version(person: User, moment: datetime) -> str:
    """A digest of what is under way and how it fares: one query."""
    calls = visible_calls(person).under_way().order_by("status", "pk")[: MOST_SHOWN + 1]
    columns = ("pk", "status", "claims", "progress", "cancel_requested_at", "lease_expires_at")
    told = [(*rest, _is_silent(lease, moment)) for *rest, lease in calls.values_list(*columns)]
    return hashlib.sha256(repr([person.pk, told]).encode()).hexdigest()[:32]


def _line(row: Invocation, person: User, moment: datetime) -> Line:
    tool = registry.loaded().get(row.tool_name)
    return Line(
        row,
        badge=badge(row),
        place=_place(row),
        deadline=_deadline(row, tool),
        attempts=_attempts(row, tool),
        heard=row.lease_expires_at - LEASE if row.lease_expires_at else None,
        is_silent=_is_silent(row.lease_expires_at, moment),
        limits=_limits(row.tool_version.tool, tool),
        walls=_walls(row, tool),
        progress=_progress(row),
        may_stop=may_stop(row, person) and row.cancel_requested_at is None,
    )


def _is_silent(lease_expires_at: datetime | None, moment: datetime) -> bool:
    return lease_expires_at is not None and lease_expires_at - LEASE + SILENT_AFTER < moment


def _place(row: Invocation) -> str:
    """Which place it has among those that wait; nothing for one that runs."""
    if row.status != InvocationStatus.QUEUED:
        return ""
    place = order.position(row) or f"after {order.MOST_COUNTED} others"
    return f"{place} in the queue {queue_of(row.tool_name)}"


def _deadline(row: Invocation, tool: ToolDefinition | None) -> datetime | None:
    """When its process is ended; known of the only attempt, not of one among several."""
    if tool is None or tool.timeout_seconds is None or tool.attempts_allowed > 1:
        return None
    return row.started_at and row.started_at + timedelta(seconds=tool.timeout_seconds)


def _attempts(row: Invocation, tool: ToolDefinition | None) -> str:
    allowed = tool.attempts_allowed if tool else 1
    told = [f"up to {allowed} attempts"] if allowed > 1 else []
    if row.claims > 1:
        told.append(f"worker number {row.claims}")
    return ", ".join(told)


def _limits(switch: Tool, tool: ToolDefinition | None) -> str:
    told = []
    if tool is not None and tool.timeout_seconds is not None:
        told.append(f"{tool.timeout_seconds:g} s")
    if switch.max_running is not None:
        told.append(f"{switch.max_running} at once")
    if switch.priority:
        told.append(f"priority {switch.priority}")
    return ", ".join(told)


def _walls(row: Invocation, tool: ToolDefinition | None) -> str:
    """The profile of its process: what runs without a worker's claim runs in a warm one."""
    if tool is None:
        return ""
    is_inline = row.status == InvocationStatus.RUNNING and not row.worker
    return profile_of(tool, fresh=not is_inline).name


def _progress(row: Invocation) -> str:
    if row.progress is None:
        return ""
    told = json.dumps(row.progress, ensure_ascii=False)
    return told if len(told) <= LONGEST_PROGRESS else f"{told[:LONGEST_PROGRESS]}…"
