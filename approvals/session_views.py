"""The API of sessions: open one, see what is left of it, close it, read what it has done."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import bodies, sessions
from approvals.views import request_id_of, requester, the_caller
from tools.errors import SessionNotFound, TooManySessions
from tools.identity import Caller
from tools.models import ApiKey, Session, SessionQuerySet
from tools.sessions import SHORTEST_STAY, open_session

VIEW = "tools.view_session"
CLOSE = "tools.close_session"


class BadConfig(APIException):
    """The budgets can't be as asked; the sentence names each that is wrong."""

    status_code = 422
    default_code = "invalid_session_config"


class TooMany(APIException):
    """The caller has as many sessions as it may: it closes one, or waits until one is over."""

    status_code = 429
    default_code = "too_many_sessions"
    default_detail = str(TooManySessions())
    wait = SHORTEST_STAY.total_seconds()


class SessionListView(APIView):
    """`POST /sessions`: by a key, for itself."""

    def post(self, request: Request) -> Response:
        caller, asked = the_caller(request), _config(request)
        try:
            row = open_session(caller, asked, request_id=request_id_of(request), source="rest")
        except ValueError as error:
            raise BadConfig(str(error)) from None
        except TooManySessions:
            raise TooMany from None
        body = {"session_id": str(row.pk), "config": row.config, "created_at": row.created_at}
        return Response(body, status=201, headers={"Location": f"{request.path}/{row.pk}"})


class SessionView(APIView):
    """`GET /sessions/{id}`, and `DELETE`, which closes it."""

    def get(self, request: Request, session_id: UUID) -> Response:
        return Response(describe(_found(request, session_id)))

    def delete(self, request: Request, session_id: UUID) -> Response:
        row, who = _found(request, session_id), requester(request)
        if isinstance(who, User) and not may_close(row, who):
            raise PermissionDenied("only the caller or its owner closes", code="permission_denied")
        by = who.actor if isinstance(who, Caller) else who.get_username()
        sessions.close(row, by=by, request_id=request_id_of(request), source="rest")
        return Response({"success": True})


class ProvenanceView(APIView):
    """`GET /sessions/{id}/provenance?export_json=true`: what it has done; after its end, too."""

    def get(self, request: Request, session_id: UUID) -> Response:
        export = _flag(request, "export_json")
        return Response(sessions.report(_found(request, session_id), export=export))


def describe(row: Session) -> dict[str, Any]:
    """The session, and what is used of its budgets; asked for `with_clock`."""
    return {
        "session_id": str(row.pk),
        "actor": row.actor,
        "status": row.state,
        "config": row.config,
        "usage": {
            "tool_calls": row.tool_calls,
            "output_bytes": row.output_bytes,
            "elapsed_ms": row.elapsed // timedelta(milliseconds=1),
        },
        "created_at": row.created_at,
        "ends_at": row.ends_at,
        "closed_at": row.closed_at,
    }


def visible_to(who: Caller | User) -> SessionQuerySet:
    """A key's own; a person's all, or those of own keys."""
    rows = Session.objects.with_clock()
    if isinstance(who, Caller):
        return rows.of_lineage(who.lineage)
    return rows if who.has_perm(VIEW) else rows.filter(lineage__in=_owned_by(who))


def may_close(row: Session, person: User) -> bool:
    """Whoever answers for one of the caller's keys, and whoever has the permission."""
    return person.has_perm(CLOSE) or _owned_by(person).filter(lineage=row.lineage).exists()


def _owned_by(person: User) -> Any:
    return ApiKey.objects.filter(owner=person).order_by().values("lineage")


def _found(request: Request, session_id: UUID) -> Session:
    row = visible_to(requester(request)).filter(pk=session_id).first()
    if row is None:
        raise NotFound(str(SessionNotFound()), code="session_not_found")
    return row


def _config(request: Request) -> dict[str, Any]:
    """The budgets that are asked for; a body that means something else is not half understood."""
    body = request.data
    if not isinstance(body, dict):
        raise bodies.BadRequest("the body must be a JSON object", code="invalid_request")
    if set(body) - {"config"}:
        raise BadConfig("the body has one member, config")
    config = body.get("config")
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise BadConfig("config: an object of budgets")
    return config


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise bodies.BadRequest(f"{name} is true or false", code="invalid_request")
    return text == "true"
