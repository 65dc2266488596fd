"""The API of calls and approvals: parse, call one verb, answer."""

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import bodies, deciding, order, pipeline, reviewers
from approvals.door import Call
from approvals.limit_fields import limit_fields
from approvals.models import Approval, Invocation
from approvals.results import Answer, data_of, describe, invocation_url, undecided_status
from approvals.serializers import describe_approval, describe_approvals
from approvals.states import ApprovalStatus, InvocationStatus, api_word
from approvals.transitions import Said
from audit import ledger
from audit.canonical import storable_text
from audit.events import EventName
from tools import registry, step_up
from tools.errors import SessionNotFound, UnknownTool
from tools.identity import Caller

SECONDS_TO_LOOK_AGAIN = 1
MAY_NOT_DECIDE = {
    "machine_cannot_approve": "an API key can't decide",
    "permission_denied": "you may not decide calls",
}
VIEW = "approvals.view_approval"
VIEW_INVOCATION = "approvals.view_invocation"


class Refused(APIException):
    """What was asked can't be done, for a reason that has a code and a status."""

    status_code = 409

    def __init__(self, detail: str, code: str, status_code: int = 409) -> None:
        super().__init__(detail, code)
        self.status_code = status_code


class InvokeView(APIView):
    """`POST /tools/{name}/invoke`."""

    def post(self, request: Request, name: str) -> Response:
        caller = the_caller(request)
        body = bodies.read_invoke(request)
        wanted = bodies.preference(request)
        call = Call(
            tool_name=name,
            arguments=body.arguments,
            request_id=request_id_of(request, body.request_id),
            source="rest",
            approval_id=body.approval_id,
            idempotency_key=bodies.idempotency_key(request, body),
            session_id=body.session_id,
            metadata=body.metadata,
        )
        try:
            answer = pipeline.submit(call, caller, wanted.patience)
        except UnknownTool as error:
            raise NotFound(str(error), code="unknown_tool") from None
        except SessionNotFound as error:
            raise NotFound(str(error), code="session_not_found") from None
        return _response(answer, wanted.applied)


class InvocationListView(GenericAPIView[Invocation]):
    """`GET /invocations`: the caller's own, newest first."""

    results_name = "invocations"

    @staticmethod
    def weigh(row: Invocation) -> int:
        """What the row adds to a page's size."""
        return len(row.result_sealed or b"") + len(repr((row.result, row.arguments, row.metadata)))

    def get(self, request: Request) -> Response:
        rows = self.paginate_queryset(self.get_queryset()) or []
        order.know_positions(rows)
        return self.get_paginated_response([_read(self.request, row) for row in rows])

    def get_queryset(self) -> QuerySet[Invocation]:
        rows = own_invocations(self.request)
        params = self.request.query_params
        if "status" in params:
            rows = rows.filter(status__in=_statuses(params["status"]))
        if "tool" in params:
            rows = rows.filter(tool_name=storable_text(registry.canonical(params["tool"])))
        if "session" in params:
            rows = rows.filter(session_id=_uuid(params["session"]))
        return rows


class InvocationView(APIView):
    """`GET /invocations/{id}?wait=SECONDS`: how it stands, or how it ended."""

    def get(self, request: Request, invocation_id: UUID) -> Response:
        row = _found(own_invocations(request).filter(pk=invocation_id).first())
        row = pipeline.when_moved(row, bodies.wait_of(request))
        return Response(_read(request, row))


class InvocationCancelView(APIView):
    """`POST /invocations/{id}/cancel`: by the caller."""

    def post(self, request: Request, invocation_id: UUID) -> Response:
        row = _found(own_invocations(request).filter(pk=invocation_id).first())
        return _cancelled(request, row)


class ApprovalListView(GenericAPIView[Approval]):
    """`GET /approvals`: a key's own; a reviewer's, all."""

    results_name = "approvals"

    @staticmethod
    def weigh(approval: Approval) -> int:
        """What the row adds to a page's size."""
        return len(repr(approval.invocation.arguments))

    def get(self, request: Request) -> Response:
        rows = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(describe_approvals(rows or [], the_person(request)))

    def get_queryset(self) -> QuerySet[Approval]:
        rows = visible_approvals(self.request)
        params = self.request.query_params
        if "status" in params:
            if params["status"] not in ApprovalStatus:
                raise bodies.BadRequest("no approval has this status", code="invalid_filter")
            rows = rows.filter(status=params["status"])
        if "tool" in params:
            rows = rows.filter(
                invocation__tool_name=storable_text(registry.canonical(params["tool"]))
            )
        return rows


class ApprovalView(APIView):
    """`GET /approvals/{id}`."""

    def get(self, request: Request, approval_id: UUID) -> Response:
        approval = _found(visible_approvals(request).filter(pk=approval_id).first())
        return Response(describe_approval(approval, the_person(request)))


class DecisionView(APIView):
    """`POST /approvals/{id}/approve` and `/reject`: by people, never by a key."""

    verb: str = ""

    def post(self, request: Request, approval_id: UUID) -> Response:
        person = the_person(request)
        if person is None or not person.has_perm(reviewers.DECIDE):
            code = "permission_denied" if person else "machine_cannot_approve"
            _tell_refused_decider(request, approval_id, code)
            raise PermissionDenied(MAY_NOT_DECIDE[code], code=code)
        approval = _found(Approval.objects.with_everything().filter(pk=approval_id).first())
        body = bodies.read_decision(request)
        said = Said(
            note=body.note,
            reason_to_agent=body.reason_to_agent,
            request_id=request_id_of(request),
            source="rest",
            typed=body.confirmation,
            is_proved=step_up.is_recent(request, deciding.PROVED_WITHIN),
        )
        decide = deciding.approve if self.verb == "approve" else deciding.reject
        outcome = decide(approval, person, said, expected_digest=body.expected_digest)
        if isinstance(outcome, deciding.Undecided):
            raise Refused(outcome.sentence, outcome.code, undecided_status(outcome.code))
        return Response({"approval": describe_approval(outcome.approval, person)})


class ApprovalCancelView(APIView):
    """`POST /approvals/{id}/cancel`: by the caller."""

    def post(self, request: Request, approval_id: UUID) -> Response:
        approval = _found(visible_approvals(request).filter(pk=approval_id).first())
        return _cancelled(request, approval.invocation)


def requester(request: Request) -> Caller | User:
    """A service or a person: the gate lets nobody else in."""
    return cast("Caller | User", request.user)


def the_caller(request: Request) -> Caller:
    """The service that calls; people use the admin instead."""
    who = requester(request)
    if not isinstance(who, Caller):
        raise PermissionDenied("calls are made with an API key", code="key_required")
    return who


def the_person(request: Request) -> User | None:
    """The person behind the request, or None for a service."""
    who = requester(request)
    return None if isinstance(who, Caller) else who


def own_invocations(request: Request) -> QuerySet[Invocation]:
    """The invocations that the requester may read: a key's own, a reviewer's all."""
    who = requester(request)
    rows = Invocation.objects.select_related("approval__resolved_by").defer("arguments_sealed")
    if isinstance(who, Caller):
        return rows.of_lineage(who.lineage)
    return rows if who.has_perm(VIEW_INVOCATION) else rows.filter(key__owner=who)


def visible_approvals(request: Request) -> QuerySet[Approval]:
    """The approvals that the requester may read: a key's own, a reviewer's all."""
    rows, who = Approval.objects.with_everything(), requester(request)
    if isinstance(who, Caller):
        return rows.filter(invocation__lineage=who.lineage)
    sees_all = who.has_perm(reviewers.DECIDE) or who.has_perm(VIEW)
    return rows if sees_all else rows.filter(invocation__key__owner=who)


def _cancelled(request: Request, row: Invocation) -> Response:
    """Cancel on behalf of the caller or of the key's owner."""
    who = requester(request)
    if not isinstance(who, Caller) and row.key.owner_id != who.pk:
        raise PermissionDenied("only the caller or its owner cancels", code="permission_denied")
    by = who.actor if isinstance(who, Caller) else who.get_username()
    if not pipeline.cancel(row, by=by):
        raise Refused("the call has ended already", code="already_final")
    return Response(_read(request, pipeline.when_moved(row, 0)))


def _tell_refused_decider(request: Request, approval_id: UUID, code: str) -> None:
    who = requester(request)
    ledger.record(
        EventName.APPROVAL_REFUSED,
        actor=who.actor if isinstance(who, Caller) else who.get_username(),
        reason=code,
        approval_id=approval_id,
        request_id=request_id_of(request),
        source="rest",
        key_prefix=who.prefix if isinstance(who, Caller) else "",
    )


def _read(request: Request, row: Invocation) -> dict[str, Any]:
    """The invocation for who asks: only its caller gets the raw result."""
    return describe(row, data_of(row) if isinstance(requester(request), Caller) else row.result)


def _response(answer: Answer, preference_applied: str | None) -> Response:
    response = Response(answer.body(), status=answer.http_status)
    for name, value in limit_fields(answer.count.standings).items():
        response[name] = value
    if preference_applied:
        response["Preference-Applied"] = preference_applied
    if answer.replayed:
        response["Idempotency-Replayed"] = "true"
    if answer.http_status == 202 and answer.invocation is not None:
        response["Location"] = invocation_url(answer.invocation)
        response["Retry-After"] = str(SECONDS_TO_LOOK_AGAIN)
    if answer.refusal is not None and answer.refusal.retry_after is not None:
        response["Retry-After"] = str(answer.refusal.retry_after)
    return response


def _statuses(word: str) -> list[str]:
    found = [str(status) for status in InvocationStatus if word in (status, api_word(status))]
    if not found:
        raise bodies.BadRequest("no invocation has this status", code="invalid_filter")
    return found


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise bodies.BadRequest("this is not an id", code="invalid_filter") from None


def _found(row: Any) -> Any:
    if row is None:
        raise NotFound("there is nothing here of yours", code="not_found")
    return row


def request_id_of(request: Request, given: str | None = None) -> str:
    """The id that the body gives, if it is well formed, else the request's own."""
    own: str = request._request.request_id  # type: ignore[attr-defined]
    return given if given and bodies.is_request_id(given) else own
