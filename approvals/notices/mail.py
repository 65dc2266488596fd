"""Mail, through the server of EMAIL_HOST: plain text, one message each, threaded by call."""

import base64
from collections.abc import Sequence
from email.utils import make_msgid
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

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
    _refuse_what_is_no_address(to)
    headers = {"Message-ID": name, **AUTOMATIC}
    if joins:
        headers |= {"In-Reply-To": joins, "References": joins}
    _hand_over(EmailMessage(subject, text, to=list(to), headers=headers))
    return Taken(250, "taken by the mail server", thread=joins or name)


def _refuse_what_is_no_address(to: Sequence[str]) -> None:
    """One that can't be written into a mail is wrong for good, and no fault of the mail server."""
    try:
        for address in to:
            sanitize_address(address, settings.DEFAULT_CHARSET)
    except ValueError as error:
        raise Undelivered("address", str(error), is_final=True, is_of_channel=False) from None


def _hand_over(message: EmailMessage) -> None:
    server = EmailBackend(fail_silently=False)
    try:
        within(SECONDS_IN_ALL, lambda: server.send_messages([message]))
    except (OSError, ValueError) as error:  # Those of smtplib are OSErrors.
        phase, code = phase_of(error) or "tcp", code_of(error)
        raise Undelivered(
            phase,
            masked(root_of(error), _secrets()),
            host=settings.EMAIL_HOST,
            code=code,
            hint=HINTS.get(phase, ""),
            is_of_channel=phase != "smtp",
        ) from None


def _secrets() -> list[str]:
    """The password, as it stands and as it is written to sign in."""
    name, password = settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD
    if not password:
        return []
    written = (password, f"\0{name}\0{password}")
    return [password, *(base64.b64encode(text.encode()).decode() for text in written)]


def _domain() -> str:
    """What stands behind the @ of a message's own name."""
    return urlsplit(base()).hostname or make_msgid().partition("@")[2].rstrip(">")
