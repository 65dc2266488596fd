"""Errors of the API in one shape: RFC 9457 problem details, with a stable `code`.

Every answer of 4xx or 5xx that is not a tool's result comes from here.
"""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views import csrf, defaults
from rest_framework import exceptions
from rest_framework.response import Response

from approvals.models import Approval, Invocation
from rampart.refusals import LOCKED_OUT, refuse
from tools.authentication import CredentialsRefused

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

CODES: dict[str, str] = {
    "not_authenticated": "The request carries no credentials.",
    "invalid_credentials": "The key is unknown, or its secret or the token's signature is wrong.",
    "malformed_credentials": "The credentials cannot be read, or two headers disagree.",
    "key_expired": "The key's time is over; ask its owner for another.",
    "key_revoked": "The key was revoked, by which the call was made or is to be made.",
    "key_owner_disabled": "The account that owns the key is disabled.",
    "key_not_allowed_here": "The key may be used only from other addresses.",
    "token_expired": "The token's time is over; get another from its issuer.",
    "token_not_yet_valid": "The token's time has not come; are the clocks right?",
    "token_incomplete": "The token lacks a claim that is required, or has it in another form.",
    "token_inactive": "The token's provider says that it is not active.",
    "wrong_audience": "The token was given out for somebody else.",
    "wrong_issuer": "The token's issuer is not trusted here.",
    "wrong_algorithm": "The token is signed by an algorithm that its issuer does not use here.",
    "unknown_signing_key": "The token is signed with a key that its issuer does not publish.",
    "unknown_person": "The token's person has never signed in here: sign in to the admin once.",
    "person_disabled": "The token's person is disabled here.",
    "not_a_person": "The token was got by a program for itself; only people come by this issuer.",
    "issuer_unavailable": "Whoever gave out the token does not answer: it can't be checked now.",
    "busy": "Keys are being checked for the first time, one after the other: try again.",
    "locked_out": "Too many refused credentials came from this address or for this key: wait.",
    "key_required": "Calls are made by services with an API key; people decide.",
    "permission_denied": "The person signed in may not do this.",
    "step_up_required": "This needs a new proof of who you are: give it in the admin, and repeat.",
    "scope_denied": "The key holds no scope that allows this.",
    "csrf_failed": "The session's CSRF token is missing or wrong.",
    "machine_cannot_approve": "An API key never decides; a person does, in the admin.",
    "self_approval": "The requester's side never decides its own call.",
    "already_decided": "Somebody has decided this call before.",
    "already_final": "The call has ended already.",
    "expired": "The time to decide this call is over.",
    "already_voted": "The person has approved this call; others have to as well.",
    "not_in_group": "The stage that is open now belongs to a group that the person is not in.",
    "reason_required": "The rules ask for a word with this decision, and none was given.",
    "confirmation_required": "The rules ask for the tool's name, typed, with this approval.",
    "single_only": "The rules ask that this call is decided on its own.",
    "digest_mismatch": "What was shown when deciding is not what the approval is for.",
    "not_rotatable": "The key cannot be replaced as it stands.",
    "not_sealed_yet": "The event is not in the newest checkpoint yet: ask again soon.",
    "tool_changed": "The tool's definition changed after the call was held.",
    "tool_gone": "The tool is no longer defined.",
    "tool_disabled": "The tool is switched off.",
    "policy_changed": "The tool's rules changed after the call was held.",
    "scope_lost": "The requester's key no longer has the scope that the tool needs.",
    "unknown_tool": "No tool has this name.",
    "session_not_found": "No session of this caller has this id, or it takes no more calls.",
    "invalid_session_config": "The budgets of a session are unknown, no numbers, or too high.",
    "too_many_sessions": "The caller has as many sessions open as it may.",
    "no_checkpoint": "Nothing has been signed yet, or no key is set to sign with.",
    "not_found": "There is nothing here, or nothing of yours.",
    "method_not_allowed": "The address exists, but not for this method.",
    "unsupported_media_type": "Bodies are application/json.",
    "length_required": "A body is sent with its length, not in chunks.",
    "body_too_large": "The body is larger than 1 MiB.",
    "malformed_json": "The body is not JSON as RFC 8259 readers agree on it.",
    "invalid_request": "The body or a parameter does not have the form it should.",
    "invalid_filter": "A filter's value cannot be read.",
    "invalid_cursor": "The cursor was not given out here.",
    "invalid_limit": "The limit is not a whole number from 1.",
    "invalid_idempotency_key": "The idempotency key is empty, too long or not printable.",
    "idempotency_key_mismatch": "The two idempotency headers differ.",
    "bad_request": "The request cannot be read.",
    "database_unavailable": (
        "The database does not answer. Whether the request was carried out can't be told: "
        "look, or repeat it under the same idempotency key."
    ),
    "internal_error": "Something went wrong on our side; nothing more is known.",
}
"""Every code with the sentence that its page shows."""

PLAIN_EXCEPTIONS: dict[type[Exception], tuple[int, str]] = {
    Http404: (404, "not_found"),
    Invocation.DoesNotExist: (404, "not_found"),  # Retention took it in this very moment.
    Approval.DoesNotExist: (404, "not_found"),
    PermissionDenied: (403, "permission_denied"),
    RequestDataTooBig: (413, "body_too_large"),
    TooManyFieldsSent: (400, "bad_request"),
    SuspiciousOperation: (400, "bad_request"),
    DataError: (400, "bad_request"),  # Such as NUL in a filter: no text in PostgreSQL holds it.
    OperationalError: (503, "database_unavailable"),
    InterfaceError: (503, "database_unavailable"),
}

REST_FRAMEWORK_NAMES = {
    "error": "internal_error",
    "parse_error": "malformed_json",
    "authentication_failed": "invalid_credentials",
}
"""The framework's own codes under the names that callers know."""


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler; None lets an unforeseen error go on to `server_error`."""
    request: HttpRequest = context["request"]._request
    if isinstance(error, exceptions.APIException):
        status, code = error.status_code, _code_of(error)
        detail, headers = _detail_of(error), _headers_of(error)
    elif found := _plain(error):
        (status, code), headers = found, {}
        detail = CODES[code]
        if status >= 500:
            log.error("%s %s: %s", request.method, request.path, type(error).__name__)
    else:
        return None
    if isinstance(error, CredentialsRefused) or status == 401:
        prefix, fault = getattr(error, "prefix", ""), getattr(error, "fault", "")
        if wait := refuse(request, code, prefix, fault):
            status, code, detail = 429, LOCKED_OUT, CODES[LOCKED_OUT]
            headers = {"Retry-After": str(wait)}
    return Response(
        problem(request, status, code, detail), status, headers=headers, content_type=MEDIA_TYPE
    )


def problem(request: HttpRequest, status: int, code: str, detail: str) -> dict[str, Any]:
    """The problem's members, as RFC 9457 names them, and our two."""
    return {
        "type": f"{settings.RAMPART_PUBLIC_URL}/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": getattr(request, "request_id", ""),
    }


def _code_of(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.PermissionDenied) and str(error.detail).startswith("CSRF"):
        return "csrf_failed"
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else "invalid_request"
    return REST_FRAMEWORK_NAMES.get(code, code)


def _detail_of(error: exceptions.APIException) -> str:
    return (
        str(error.detail) if not isinstance(error.detail, dict | list) else CODES["invalid_request"]
    )


def _headers_of(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers


def _plain(error: Exception) -> tuple[int, str] | None:
    return next(
        (found for kind, found in PLAIN_EXCEPTIONS.items() if isinstance(error, kind)), None
    )


# Django's own error pages: problems below /api/, pages elsewhere.


def is_api(request: HttpRequest) -> bool:
    """Whether a program asks, which wants problems rather than pages."""
    return request.path.startswith("/api/")


def as_problem(request: HttpRequest, status: int, code: str) -> HttpResponse:
    """The answer to a request that no view of the API has seen."""
    body = problem(request, status, code, CODES[code])
    return JsonResponse(body, status=status, content_type=MEDIA_TYPE)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if is_api(request):
        return as_problem(request, 404, "not_found")
    return defaults.page_not_found(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if is_api(request):
        return as_problem(request, 403, "permission_denied")
    return defaults.permission_denied(request, exception)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 from the CSRF middleware."""
    if is_api(request):
        return as_problem(request, 403, "csrf_failed")
    return csrf.csrf_failure(request, reason)


def method_not_allowed(request: HttpRequest, allowed: Iterable[str]) -> HttpResponse:
    """405, for views that are not REST framework's."""
    response = as_problem(request, 405, "method_not_allowed")
    response["Allow"] = ", ".join(allowed)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    if is_api(request):
        return as_problem(request, 400, "bad_request")
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 where it was the database."""
    if is_api(request):
        return as_problem(request, 500, "internal_error")
    return defaults.server_error(request)


def explain(request: HttpRequest, code: str) -> HttpResponse:
    """`GET /problems/{code}`: what a problem's `type` leads to."""
    if code not in CODES:
        raise Http404
    return TemplateResponse(request, "problem.html", {"code": code, "sentence": CODES[code]})
