"""What every response carries: a request id, and what the browser may do with the page."""

import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from approvals.bodies import is_request_id

Next = Callable[[HttpRequest], HttpResponseBase]

HEADER = "X-Request-ID"
API_PREFIX = "/api/"
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
        if request.path.startswith(API_PREFIX):
            response.setdefault("Cache-Control", "no-store")
        return response
