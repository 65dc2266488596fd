"""`GET /metrics`: what this machine's processes have counted, and what waits at this moment."""

import logging

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django_prometheus.exports import ExportToDjangoView
from django_prometheus.middleware import Metrics, PrometheusAfterMiddleware, Time, TimeSince
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from approvals.metrics import Backlog
from rampart import counting, problems
from tools.authentication import client_address
from tools.identity import is_within

log = logging.getLogger(__name__)

BACKLOG = CollectorRegistry()
BACKLOG.register(Backlog())


def metrics(request: HttpRequest) -> HttpResponseBase:
    """Prometheus' text, for the networks of RAMPART_METRICS_ALLOW.

    While the database does not answer, the gauges that are read from it are left out.
    """
    if not _may_read(request):
        return problems.as_problem(request, 403, "permission_denied")
    counting.folder()
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


class ByView(Metrics):  # type: ignore[misc]
    """Of django-prometheus' metrics those that tell views apart; each costs every request."""

    def register(self) -> None:
        self.answers = Counter(
            "django_http_responses_total_by_status_view_method",
            "Answers by status, view and method.", ["status", "view", "method"],
        )  # fmt: skip
        self.seconds = Histogram(
            "django_http_requests_latency_seconds_by_view_method",
            "From a request's arrival to its answer, by view and method.", ["view", "method"],
        )  # fmt: skip


class ByViewMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Count each answer, and how long it took, by view: names of ours, nothing of the caller's."""

    metrics_cls = ByView

    def process_request(self, request: HttpRequest) -> None:
        request.began = Time()  # type: ignore[attr-defined]

    def process_view(self, *args: object) -> None:
        """Counted with the answer."""

    def process_template_response(
        self, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Counted with the answer."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        view, method = self._get_view_name(request), self._method(request)
        self.metrics.answers.labels(str(response.status_code), view, method).inc()
        self.metrics.seconds.labels(view, method).observe(TimeSince(request.began))  # type: ignore[attr-defined]
        return response
