"""Why something could not be delivered, said so that an operator can mend it; secrets masked."""

import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from smtplib import SMTPException, SMTPResponseException
from urllib.parse import unquote, urlsplit

import requests
from requests_hardened.ip_filter import InvalidIPAddress
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from audit.canonical import storable_text

MASK = "•••"
LONGEST_ANSWER = 500
SHORTEST_SECRET = 6
"""Shorter parts of a URL are words such as `v1`: to mask them would hide the error itself."""

HINTS = {
    "dns": "The host's name has no address, as seen from here: is it spelled right?",
    "private": "Its address is inside a private network; if it is meant, name the host in"
    " RAMPART_INTERNAL_RECEIVERS.",
    "tcp": "Nobody answers at that address and port: is it running, and is the way open?",
    "tls": "The certificate is not one that is trusted here, is of another name, or is too old.",
    "address": "Mail can't be sent to such an address: write it anew.",
    "smtp": "The mail server refused: see its answer.",
    "http": "It was reached, and did not answer with 2xx in time: see its answer.",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """The other side has taken it."""

    code: int | None = None
    answer: str = ""
    thread: str = ""
    """What the message is called, so that the next ones can join it."""


class Undelivered(Exception):
    """The other side has not taken it."""

    def __init__(
        self,
        phase: str,
        said: str,
        *,
        host: str = "",
        code: int | None = None,
        hint: str = "",
        is_final: bool = False,
        is_of_channel: bool = True,
    ) -> None:
        super().__init__(said)
        self.phase, self.said, self.host, self.code = phase, said, host, code
        self.hint = hint or HINTS.get(phase, "")
        self.is_final = is_final
        """Trying again would bring the same answer."""
        self.is_of_channel = is_of_channel
        """Everything else for the same place would fare alike now."""


def masked(text: str, secrets: Iterable[str]) -> str:
    """The beginning of what was said, as it can be kept: nothing of a secret is in it."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = re.sub(re.escape(secret), MASK, text, flags=re.IGNORECASE)
    return storable_text(text)[:LONGEST_ANSWER]


def secrets_of(url: str) -> Iterator[str]:
    """The URL, and those of its parts that may be secret: as written, as sent, and unquoted."""
    as_sent = requests.Request("POST", url).prepare().url or url
    for whole in (url, as_sent):
        yield whole
        parts = urlsplit(whole)
        for piece in re.split(r"[/?&=;#]", f"{parts.path}?{parts.query}"):
            for text in (piece, unquote(piece)):
                if len(text) >= SHORTEST_SECRET:
                    yield text


def phase_of(error: BaseException) -> str:
    """How far it got: `dns`, `tcp`, `tls`, `smtp` or `http`; `private` for a forbidden address."""
    causes = list(_causes(error))
    for phase, kinds in (
        ("private", InvalidIPAddress),
        ("dns", (socket.gaierror, NameResolutionError, UnicodeError)),
        ("tls", ssl.SSLError),
        ("smtp", SMTPException),
        ("tcp", (ConnectTimeoutError, NewConnectionError, ConnectionRefusedError)),
    ):
        if any(isinstance(cause, kinds) for cause in causes):
            return phase
    return ""


def code_of(error: BaseException) -> int | None:
    """The status that a mail server gave."""
    return error.smtp_code if isinstance(error, SMTPResponseException) else None


def root_of(error: BaseException) -> str:
    """What the innermost cause says: the outer ones repeat the URL."""
    innermost = list(_causes(error))[-1]
    return f"{type(innermost).__name__}: {innermost}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and each that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "reason", None)
        inner = inner if isinstance(inner, BaseException) else next(_held_in(error), None)
        error = inner or error.__cause__ or error.__context__


def _held_in(error: BaseException) -> Iterator[BaseException]:
    return (held for held in error.args if isinstance(held, BaseException))
