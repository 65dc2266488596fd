"""System checks of the wall itself, each with a stable id."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from rampart.oidc import checks as oidc_checks  # noqa: F401 - loading them registers them
from tools import trusted_headers

SERIALIZERS = ("CELERY_TASK_SERIALIZER", "CELERY_RESULT_SERIALIZER", "CELERY_EVENT_SERIALIZER")
ACCEPTS = ("CELERY_ACCEPT_CONTENT", "CELERY_RESULT_ACCEPT_CONTENT")


@register()
def messages_are_json(**kwargs: Any) -> list[CheckMessage]:
    """rampart.E001: Celery would write or read something other than JSON, such as pickle."""
    wrong = [name for name in SERIALIZERS if getattr(settings, name, "json") != "json"]
    wrong += [
        name
        for name in ACCEPTS
        if set(getattr(settings, name, None) or ["json"]) - {"json", "application/json"}
    ]
    return [
        Error(
            f"{name} lets messages be something other than JSON",
            hint="whoever can write to the broker could then run code in a worker",
            id="rampart.E001",
        )
        for name in wrong
    ]


@register()
def no_layer_is_waived(**kwargs: Any) -> list[CheckMessage]:
    """rampart.W004: calls run although a layer of their jail is not to be had."""
    waived = ", ".join(settings.RAMPART_WAIVE_ISOLATION)
    if not waived:
        return []
    return [
        Warning(
            f"RAMPART_WAIVE_ISOLATION lets tools run without {waived}",
            hint="every line of the ledger says so; run on a kernel that has them, and clear this",
            id="rampart.W004",
        )
    ]


@register()
def whoever_vouches_is_named(**kwargs: Any) -> list[CheckMessage]:
    """rampart.E002, rampart.W001: callers are who a proxy says they are."""
    if settings.RAMPART_TRUSTED_HEADERS == trusted_headers.OFF:
        return []
    proxies = settings.RAMPART_TRUSTED_PROXIES
    if not proxies or any(network.prefixlen == 0 for network in proxies):
        return [
            Error(
                "RAMPART_TRUSTED_HEADERS is set, but RAMPART_TRUSTED_PROXIES names nobody or all",
                hint="name the addresses of the proxies that prove who calls",
                id="rampart.E002",
            )
        ]
    names = ", ".join(map(str, proxies))
    actor, scopes = trusted_headers.FAMILIES[settings.RAMPART_TRUSTED_HEADERS]
    return [
        Warning(
            f"whoever calls from {names} says who is calling, and with which scopes",
            hint=f"these proxies must set {actor} and {scopes} themselves, and drop both from what"
            " they receive, also when written with underscores",
            id="rampart.W001",
        )
    ]


@register()
def checkpoints_are_signed(**kwargs: Any) -> list[CheckMessage]:
    """rampart.W005: nobody signs what the ledger says."""
    if settings.RAMPART_CHECKPOINT_KEY:
        return []
    return [
        Warning(
            "RAMPART_CHECKPOINT_KEY is not set: the ledger is sealed, and nobody signs it",
            hint="whoever owns its tables could write all of it anew; docs/how-to/rotate-secrets.md"
            " tells how to make a key",
            id="rampart.W005",
        )
    ]
