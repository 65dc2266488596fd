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
from urllib3.util import parse_url

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
    if fault := fault_of_form(url):
        return fault
    if parse_url(url).scheme == "http" and not is_internal(host_of(url)):
        return "Plain http is only for hosts that RAMPART_INTERNAL_RECEIVERS names."
    return ""


def fault_of_form(url: str) -> str:
    """What is wrong with how it is written, whoever may be reached by it; empty if nothing is."""
    try:
        parts, read = urlsplit(url), parse_url(url)
    except (ValueError, HTTPError):
        return "This is not an address."
    if read.scheme not in ("http", "https") or not read.host:
        return "A receiver's address begins with https://."
    if bare(parts.hostname or "") != host_of(url):
        return "This is not an address: which host it names is not certain."
    if "@" in parts.netloc or read.auth is not None:
        return "An address holds no name and no password before its host."
    return ""


def host_of(url: str) -> str:
    """The host that would be connected to, as the library reads it that connects."""
    try:
        return (parse_url(url).host or "").strip("[]").lower()
    except HTTPError:
        return ""


def bare(name: str) -> str:
    """A host's name alone in the same form: lower case, ASCII, IPv6 without brackets."""
    name = name.strip("[]")
    return host_of(f"https://[{name}]" if ":" in name else f"https://{name}")


def is_internal(host: str) -> bool:
    """Whether the operator has named this host as one that may be in a private network."""
    return bool(host) and host in map(bare, settings.RAMPART_INTERNAL_RECEIVERS)


def post(url: str, body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...] = ()) -> Taken:
    """Send it; Undelivered says how far it got. What is said of it holds no secret."""
    host = host_of(url)
    if fault := fault_of_form(url):
        raise Undelivered("dns", fault, host=host)
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
        ip_filter_enable=not is_internal(host_of(url)),
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
