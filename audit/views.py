"""The API of the ledger: a requester's own lines, or all of them by scope or permission."""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit import proofs
from audit.canonical import rfc3339, storable_text
from audit.events import EventName
from audit.finding import COLUMNS, narrowed
from audit.models import Event, EventQuerySet, Leaf
from audit.planning import planned_for_its_values
from audit.sealing import LONGEST_UNSIGNED

OWN, ALL, PERMISSION = "audit.read", "audit.read_all", "audit.view_event"
PLAIN_FILTERS = COLUMNS.keys() - {"invocation"}
MOST_DIGITS = 18

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


class NoCheckpoint(APIException):
    """No checkpoint has been signed yet."""

    status_code = 404
    default_detail = "no checkpoint has been signed yet"
    default_code = "no_checkpoint"


class NotSealedYet(APIException):
    """The event is not in the tree that the newest checkpoint signs."""

    status_code = 409
    default_detail = "the event is not in the newest checkpoint yet"
    default_code = "not_sealed_yet"
    wait = LONGEST_UNSIGNED.total_seconds()


class EventListView(GenericAPIView[Event]):
    """`GET /audit`: newest first."""

    results_name = "events"

    @staticmethod
    def weigh(event: Event) -> int:
        """What the event adds to a page's size."""
        return len(repr(event.result)) + len(repr(event.arguments))

    def get(self, request: Request) -> Response:
        with planned_for_its_values():
            rows = self.paginate_queryset(self.get_queryset()) or []
        places = places_of(rows)
        return self.get_paginated_response([describe(row, places.get(row.pk)) for row in rows])

    def get_queryset(self) -> QuerySet[Event]:
        params = self.request.query_params
        wanted: dict[str, Any] = {
            name: storable_text(params[name]) for name in PLAIN_FILTERS if name in params
        }
        wanted |= {name: _uuid(params[name]) for name in ("invocation",) if name in params}
        wanted |= {name: _moment(params[name]) for name in ("since", "until") if name in params}
        return narrowed(readable_events(self.request.user), wanted)


class CheckpointView(APIView):
    """`GET /audit/checkpoint`: the newest signed note, as it is."""

    def get(self, request: Request) -> HttpResponse:
        readable_events(request.user)
        try:
            note, _ = proofs.newest()
        except proofs.NoCheckpoint:
            raise NoCheckpoint from None
        return HttpResponse(note, content_type="text/plain; charset=utf-8")


class ProofView(APIView):
    """`GET /audit/{id}/proof`: that an event is in the newest checkpoint's tree."""

    def get(self, request: Request, event_id: UUID) -> Response:
        if not _may_see(request.user, event_id):
            raise Http404
        try:
            return Response(proofs.inclusion(event_id).described())
        except proofs.NoCheckpoint:
            raise NoCheckpoint from None
        except proofs.NotSealedYet:
            raise NotSealedYet from None


class ConsistencyView(APIView):
    """`GET /audit/consistency`: that nothing but additions lie between two sizes of the tree."""

    def get(self, request: Request) -> Response:
        readable_events(request.user)
        params = request.query_params
        new = _size(params["to"]) if "to" in params else None
        try:
            return Response(proofs.consistency(_size(params.get("from", "")), new))
        except proofs.NoCheckpoint:
            raise NoCheckpoint from None
        except ValueError as error:
            raise BadFilter(f"from and to: {error}") from None


def reads_all(user: Any) -> bool:
    """A person with the permission, or a key with `audit.read_all`."""
    has_scope = getattr(user, "has_scope", None)
    return bool(user.has_perm(PERMISSION) if has_scope is None else has_scope(ALL))


def readable_events(user: Any) -> EventQuerySet:
    """All events, or those of the key's actor; PermissionDenied for whoever may read none."""
    if reads_all(user):
        return Event.objects.all()
    has_scope = getattr(user, "has_scope", None)
    if has_scope is not None and has_scope(OWN):
        return Event.objects.filter(actor=user.actor).exclude(event__in=OF_PEOPLE)
    raise PermissionDenied(f"reading the ledger needs {OWN} or {ALL}", code="scope_denied")


def _may_see(user: Any, event_id: UUID) -> bool:
    """Who reads all also has the proof of an event that retention has taken."""
    if readable_events(user).filter(pk=event_id).exists():
        return True
    return reads_all(user) and Leaf.objects.filter(event_id=event_id).exists()


def places_of(events: Iterable[Event]) -> dict[UUID, int]:
    """The leaf of each of the events that is sealed."""
    leaves = Leaf.objects.filter(event_id__in=[event.pk for event in events])
    return dict(leaves.values_list("event_id", "index"))


def describe(event: Event, leaf_index: int | None) -> dict[str, Any]:
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
        "leaf_index": leaf_index,
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


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise BadFilter("from and to are numbers of leaves")
    return int(text)
