"""Alive, and ready: two questions, open to everybody, with no detail that helps a thief."""

import logging
import os
from collections.abc import Callable
from functools import wraps

import redis
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from rampart import problems
from tools import availability
from tools.workshop import workshop

log = logging.getLogger(__name__)

READING = ("GET", "HEAD")


def _for_reading(view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """The view for GET and HEAD; anything else is a problem."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in READING:
            return view(request)
        return problems.method_not_allowed(request, READING)

    return answer


@_for_reading
def health(request: HttpRequest) -> JsonResponse:
    """`GET /health`: the process serves. It asks nothing of anybody else."""
    return JsonResponse({"status": "ok"})


@_for_reading
def ready(request: HttpRequest) -> JsonResponse:
    """`GET /ready`: whether calls would be carried out, part by part; 503 if any would not."""
    checks = {name: "ok" if _passes(check) else "failed" for name, check in CHECKS.items()}
    good = all(result == "ok" for result in checks.values())
    body = {"status": "ok" if good else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if good else 503)


def _passes(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception as error:
        log.warning("%s: %s", check.__name__, type(error).__name__)
        return False


def database() -> bool:
    """The database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone())


def broker() -> bool:
    """The broker would take a message."""
    if settings.REDIS_URL:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1
        )
        with client:
            return bool(client.ping())
    folder = settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"]
    return os.access(str(folder), os.W_OK | os.X_OK)


def migrations() -> bool:
    """No migration waits to be applied."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def sandbox() -> bool:
    """A tool's process can be started, and each tool's jail is whole on this machine, or waived."""
    workshop().check()
    return not availability.shut_tools()


CHECKS: dict[str, Callable[[], bool]] = {
    "database": database,
    "broker": broker,
    "migrations": migrations,
    "sandbox": sandbox,
}
