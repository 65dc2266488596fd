"""What every response carries: a request id, and what the browser may do with the page."""

import logging
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from approvals.bodies import is_request_id
from rampart.problems import as_problem, is_api
from tools import trusted_headers

log = logging.getLogger(__name__)

Next = Callable[[HttpRequest], HttpResponseBase]

HEADER = "X-Request-ID"
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class RequestIdMiddleware:
    """Keep the caller's request id if it is well formed, else give one; answer with it."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if is_request_id(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response[HEADER] = request_id
        return response


class PlainRequestMiddleware:
    """Refuse what one reader would take for another request than the next does.

    WSGI has no length for a chunked body and Django reads it as empty, so it is refused with 411
    rather than run with defaults; NUL can stand in no text that a database compares (the API's own
    filters say so themselves).
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_TRANSFER_ENCODING" in request.META:
            return self._refuse(request, 411, "length_required")
        if "%00" in request.META.get("QUERY_STRING", "") and not is_api(request):
            return self._refuse(request, 400, "bad_request")
        return self.get_response(request)

    def _refuse(self, request: HttpRequest, status: int, code: str) -> HttpResponseBase:
        return as_problem(request, status, code)


class TrustedHeadersMiddleware:
    """Take off what only a trusted proxy may say, if somebody else says it, and log the attempt.

    Before anything reads the request's headers, of which Django then keeps a copy.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if trusted_headers.strip(request.META):
            log.warning("identity headers from %s were taken off", request.META.get("REMOTE_ADDR"))
        return self.get_response(request)


class SecurityHeadersMiddleware:
    """The Content-Security-Policy of SECURE_CSP, a fixed Permissions-Policy; the API uncached.

    SECURE_CSP has the name and form of Django 6's setting, whose middleware replaces this one.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response
        self.policy = "; ".join(
            f"{directive} {' '.join(sources)}" for directive, sources in settings.SECURE_CSP.items()
        )

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.setdefault("Content-Security-Policy", self.policy)
        response.setdefault("Permissions-Policy", PERMISSIONS)
        if is_api(request):
            response.setdefault("Cache-Control", "no-store")
        return response
