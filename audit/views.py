"""The API of the ledger: a requester's own lines, or all of them by scope or permission."""

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from audit.canonical import rfc3339, storable_text
from audit.events import EventName
from audit.models import Event

OWN, ALL, PERMISSION = "audit.read", "audit.read_all", "audit.view_event"
PLAIN_FILTERS = {"tool": "tool_name", "actor": "actor", "status": "status", "event": "event",
                 "request_id": "request_id"}  # fmt: skip


OF_PEOPLE = [
    name
    for name in EventName
    if name.startswith(("person:", "admin:", "approval:", "policy:", "channel:"))
    and name != EventName.APPROVAL_REFUSED
]
"""Lines whose actor is a person, though a service may bear the same name."""


class BadFilter(APIException):
    """A filter's value can't be read."""

    status_code = 400
    default_code = "invalid_filter"


class EventListView(GenericAPIView[Event]):
    """`GET /audit`: newest first."""

    results_name = "events"

    @staticmethod
    def weigh(event: Event) -> int:
        """What the event adds to a page's size."""
        return len(repr(event.result)) + len(repr(event.arguments))

    def get(self, request: Request) -> Response:
        rows = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response([describe(event) for event in rows or []])

    def get_queryset(self) -> QuerySet[Event]:
        params = self.request.query_params
        events = readable_events(self.request.user)
        for name, column in PLAIN_FILTERS.items():
            if name in params:
                events = events.filter(**{column: storable_text(params[name])})
        if "invocation" in params:
            events = events.filter(invocation_id=_uuid(params["invocation"]))
        if "since" in params:
            events = events.filter(ended_at__gte=_moment(params["since"]))
        if "until" in params:
            events = events.filter(ended_at__lt=_moment(params["until"]))
        return events


def readable_events(user: Any) -> QuerySet[Event]:
    """All events for a person with the permission or a key with `audit.read_all`, else own ones."""
    has_scope = getattr(user, "has_scope", None)
    if has_scope is None:
        if user.has_perm(PERMISSION):
            return Event.objects.all()
    elif has_scope(ALL):
        return Event.objects.all()
    elif has_scope(OWN):
        return Event.objects.filter(actor=user.actor).exclude(event__in=OF_PEOPLE)
    raise PermissionDenied(f"reading the ledger needs {OWN} or {ALL}", code="scope_denied")


def describe(event: Event) -> dict[str, Any]:
    """An event as the API shows it: ToolRampart's keys, then ours."""
    return {
        "id": str(event.pk),
        "tool_name": event.tool_name,
        "actor": event.actor,
        "status": event.status,
        "arguments": event.arguments,
        "result": event.result,
        "error": event.error,
        "started_at": rfc3339(event.started_at),
        "ended_at": rfc3339(event.ended_at),
        "metadata": event.metadata,
        "event": event.event,
        "reason": event.reason,
        "invocation_id": _text(event.invocation_id),
        "approval_id": _text(event.approval_id),
        "session_id": _text(event.session_id),
        "request_id": event.request_id,
        "source": event.source,
        "key_prefix": event.key_prefix,
        "leaf_index": None,
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadFilter("invocation: this is not an id") from None


def _moment(text: str) -> datetime:
    """RFC 3339 with an offset; a `+` that a query string turned into a space is put back."""
    try:
        moment = parse_datetime(text.replace(" ", "+"))
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise BadFilter("since and until are RFC 3339 times with a zone")
