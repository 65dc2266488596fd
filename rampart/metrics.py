"""`GET /metrics`: what this machine's processes have counted, and what waits at this moment."""

import logging
import time

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from approvals.metrics import Backlog
from rampart import counting, problems
from rampart.middleware import Next
from tools.addresses import is_within
from tools.authentication import client_address

log = logging.getLogger(__name__)

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
ANSWERS = Counter(
    "django_http_responses_total_by_status_view_method", "Answers by status, view and method.",
    ["status", "view", "method"],
)  # fmt: skip
SECONDS = Histogram(
    "django_http_requests_latency_seconds_by_view_method",
    "From a request's arrival to its answer, by view and method.", ["view", "method"],
)  # fmt: skip

BACKLOG = CollectorRegistry()
BACKLOG.register(Backlog())


def metrics(request: HttpRequest) -> HttpResponseBase:
    """Prometheus' text, for the networks of RAMPART_METRICS_ALLOW.

    While the database does not answer, the gauges that are read from it are left out.
    """
    if not _may_read(request):
        return problems.as_problem(request, 403, "permission_denied")
    counting.made_folder()
    response: HttpResponse = ExportToDjangoView(request)
    try:
        response.write(generate_latest(BACKLOG))
    except DatabaseError as error:
        log.warning("the backlog can't be read: %s", type(error).__name__)
    return response


def _may_read(request: HttpRequest) -> bool:
    """Behind a proxy that is not trusted nobody knows who asks, so nobody may."""
    address = client_address(request)
    passed_on = "HTTP_X_FORWARDED_FOR" in request.META
    if passed_on and not is_within(
        request.META.get("REMOTE_ADDR", ""), settings.RAMPART_TRUSTED_PROXIES
    ):
        return False
    return is_within(address, settings.RAMPART_METRICS_ALLOW)


class ByViewMiddleware:
    """Count each answer, and how long it took, by view: names of ours, nothing of the caller's.

    The two are django-prometheus' metrics by their names; all that its own middlewares count for a
    request would take longer than the rest of a short call's bookkeeping.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = self.get_response(request)
        view = request.resolver_match.view_name if request.resolver_match else "<unnamed view>"
        method = request.method if request.method in METHODS else "<invalid method>"
        ANSWERS.labels(response.status_code, view, method).inc()
        SECONDS.labels(view, method).observe(time.perf_counter() - began)
        return response
