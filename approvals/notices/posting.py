"""One POST to a receiver: within 20 seconds, no redirect, no proxy, and nowhere private unnamed.

Receivers' addresses come from people, so that they must not lead to what only this machine can
reach. A name is resolved once, its address is judged, and exactly that address is connected to.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import requests
from django.conf import settings
from requests_hardened import Config, HTTPSession
from urllib3.exceptions import HTTPError

from approvals.notices.faults import (
    HINTS,
    LONGEST_ANSWER,
    Taken,
    Undelivered,
    masked,
    phase_of,
    root_of,
    secrets_of,
)
from approvals.notices.patience import within

SECONDS = (5.0, 10.0)
"""To connect, and for each wait for an answer."""
SECONDS_IN_ALL = 20.0
GONE = 410
TOO_MANY = 429


def fault_of_url(url: str) -> str:
    """What is wrong with a receiver's address; empty if nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it judges it
    except ValueError:
        return "This is not an address."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "A receiver's address begins with https://."
    if parts.scheme == "http" and not is_internal(parts.hostname):
        return "Plain http is only for hosts that RAMPART_INTERNAL_RECEIVERS names."
    return ""


def is_internal(host: str) -> bool:
    """Whether the operator has named this host as one that may be in a private network."""
    return host.lower() in settings.RAMPART_INTERNAL_RECEIVERS


def post(url: str, body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...] = ()) -> Taken:
    """Send it; Undelivered says how far it got. What is said of it holds no secret."""
    host = urlsplit(url).hostname or ""
    hidden = (*secrets_of(url), *secrets)
    try:
        code, answer = within(SECONDS_IN_ALL, lambda: _answer(url, body, headers))
    except (OSError, HTTPError, ValueError) as error:  # Those of requests are OSErrors.
        phase = phase_of(error)
        raise Undelivered(
            "dns" if phase == "private" else phase or "http",
            masked(root_of(error), hidden),
            host=host,
            hint=HINTS.get(phase, ""),
        ) from None
    if 200 <= code < 300:
        return Taken(code, masked(answer, hidden))
    raise Undelivered(
        "http",
        masked(answer, hidden),
        host=host,
        code=code,
        is_final=code == GONE,
        is_of_channel=code >= 500 or code in (GONE, TOO_MANY),
    )


def _answer(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    config = Config(
        ip_filter_enable=not is_internal(urlsplit(url).hostname or ""),
        ip_filter_allow_loopback_ips=False,
        never_redirect=True,
        default_timeout=SECONDS,
        user_agent_override="rampart",
    )
    with HTTPSession(config) as session:
        session.trust_env = False  # No proxy, no password of a .netrc, no other certificates.
        more = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
        with session.post(url, data=body, headers=more, stream=True) as response:
            return response.status_code, _start_of(response)


def _start_of(response: requests.Response) -> str:
    """How the answer begins; its status counts, even if nothing follows."""
    try:
        start: bytes = response.raw.read1(LONGEST_ANSWER)
    except (OSError, HTTPError):
        return ""
    return start.decode(errors="replace")
