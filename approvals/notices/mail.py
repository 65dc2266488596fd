"""Mail, through the server of EMAIL_HOST: plain text, one message each, threaded by call."""

from collections.abc import Sequence
from email.utils import make_msgid
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from approvals.models import Notice
from approvals.notices.faults import (
    HINTS,
    Taken,
    Undelivered,
    code_of,
    masked,
    phase_of,
    root_of,
)
from approvals.notices.links import base
from approvals.notices.outbox import has_mail
from approvals.notices.patience import within

SECONDS_IN_ALL = 25.0
NO_SERVER = "There is no mail server: set EMAIL_HOST."
AUTOMATIC = {"Auto-Submitted": "auto-generated"}
"""Nobody's absence note answers it."""


def send(notice: Notice, to: Sequence[str], subject: str, text: str, joins: str = "") -> Taken:
    """Send it; the message joins the thread of an earlier one. Undelivered if nobody took it."""
    if not has_mail():
        raise Undelivered("smtp", NO_SERVER, hint=NO_SERVER)
    name = f"<{notice.pk}@{_domain()}>"
    headers = {"Message-ID": name, **AUTOMATIC}
    if joins:
        headers |= {"In-Reply-To": joins, "References": joins}
    _hand_over(EmailMessage(subject, text, to=list(to), headers=headers))
    return Taken(250, "taken by the mail server", thread=joins or name)


def _hand_over(message: EmailMessage) -> None:
    server = EmailBackend(fail_silently=False)
    try:
        within(SECONDS_IN_ALL, lambda: server.send_messages([message]))
    except (OSError, ValueError) as error:  # Those of smtplib are OSErrors.
        phase, code = phase_of(error) or "tcp", code_of(error)
        raise Undelivered(
            phase,
            masked(root_of(error), [settings.EMAIL_HOST_PASSWORD]),
            host=settings.EMAIL_HOST,
            code=code,
            hint=HINTS.get(phase, ""),
            is_of_channel=phase != "smtp",
        ) from None


def _domain() -> str:
    """What stands behind the @ of a message's own name."""
    return urlsplit(base()).hostname or make_msgid().partition("@")[2].rstrip(">")
