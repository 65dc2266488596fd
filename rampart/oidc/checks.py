"""System checks of the sign-in by a provider."""

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connection

from rampart import oidc

PROVIDER = (
    "OIDC_OP_AUTHORIZATION_ENDPOINT", "OIDC_OP_TOKEN_ENDPOINT", "OIDC_OP_USER_ENDPOINT",
    "OIDC_OP_JWKS_ENDPOINT",
)  # fmt: skip


@register()
def the_provider_is_spoken_to_in_private(**kwargs: Any) -> list[CheckMessage]:
    """rampart.W002: who listens to the provider's answers could write them, too."""
    return [
        Warning(
            f"{name} is plain http to another machine",
            hint="who listens there can sign in as anybody: use https",
            id="rampart.W002",
        )
        for name in PROVIDER
        if oidc.is_on() and _is_in_the_clear(getattr(settings, name))
    ]


def _is_in_the_clear(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@register(Tags.database)
def mapped_groups_exist(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """rampart.W003: the provider's word for a group that nobody has made changes nothing."""
    return [
        Warning(
            f"RAMPART_OIDC_GROUPS names a group that does not exist: {name}",
            hint="make the group in the admin, or correct the name",
            id="rampart.W003",
        )
        for name in (_missing_groups() if databases and oidc.is_on() else [])
    ]


def _missing_groups() -> list[str]:
    """The mapped groups that are not there; none are missed before the tables are."""
    if Group._meta.db_table not in connection.introspection.table_names():
        return []
    mapped = {group for _, group in settings.RAMPART_OIDC_GROUPS}
    return sorted(mapped - set(Group.objects.values_list("name", flat=True)))
