"""System checks of notices, each with a stable id."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError, InterfaceError, transaction

from approvals.models import Channel
from approvals.notices.outbox import has_mail


@register()
def links_lead_here(**kwargs: Any) -> list[CheckMessage]:
    """approvals.W004: mail is sent whose links lead nowhere but to this machine."""
    if not has_mail() or settings.RAMPART_PUBLIC_URL:
        return []
    return [
        Warning(
            "EMAIL_HOST is set and RAMPART_PUBLIC_URL is not: links in mails lead to this machine",
            hint="set RAMPART_PUBLIC_URL to the address that people use",
            id="approvals.W004",
        )
    ]


@register(Tags.database)
def mail_has_a_server(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """approvals.W005: a channel is for mail, and there is no mail server."""
    if not databases or has_mail() or not _has_channel_of_mail():
        return []
    return [
        Warning(
            "a channel is for mail, and there is no mail server",
            hint="set EMAIL_HOST, or switch the channel off",
            id="approvals.W005",
        )
    ]


def _has_channel_of_mail() -> bool:
    try:
        with transaction.atomic():
            return Channel.objects.filter(is_enabled=True, kind=Channel.Kind.EMAIL).exists()
    except (DatabaseError, InterfaceError):  # Whoever makes the tables must not need them.
        return False
