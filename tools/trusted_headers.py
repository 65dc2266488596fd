"""Who a trusted proxy says is calling, where the operator has it vouch for its services.

The proxy has proved who calls; it names them in `X-Rampart-Actor` and their scopes, apart by commas
or blanks, in `X-Rampart-Scopes`, or under ToolRampart's names. From anywhere else these headers
mean nothing, and are taken off the request before anybody could read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from tools.addresses import is_within
from tools.identity import BadCredentials

ACTOR = ("X-Rampart-Actor", "X-ToolRampart-Actor")
SCOPES = ("X-Rampart-Scopes", "X-ToolRampart-Scopes")
ISSUER = "urn:rampart:trusted-proxy"
"""Who vouches for such a caller, in place of a token's issuer."""
LONGEST_ACTOR = 200
IN_ENVIRONMENT = [f"HTTP_{name.upper().replace('-', '_')}" for name in (*ACTOR, *SCOPES)]
"""The headers' names in WSGI."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the proxy says."""

    actor: str
    scopes: tuple[str, ...]

    @property
    def credential(self) -> str:
        """By what this is remembered: no header can hold it, for its line's ends."""
        return "\n".join((ISSUER, self.actor, *self.scopes))


def is_trusted(peer: str) -> bool:
    """Whether the peer of the connection, not what it forwards for, may vouch for callers."""
    return settings.RAMPART_TRUSTED_HEADERS and is_within(peer, settings.RAMPART_TRUSTED_PROXIES)


def strip(meta: dict[str, str]) -> bool:
    """Take the headers off a WSGI environment; whether there were any."""
    return bool([meta.pop(name) for name in IN_ENVIRONMENT if name in meta])


def vouched(headers: Mapping[str, str]) -> Vouched | None:
    """Whom the proxy names, None if nobody; BadCredentials if it can't be made out."""
    actor = _one_of(ACTOR, headers)
    if actor is None:
        return None
    if not actor.strip() or len(actor) > LONGEST_ACTOR or not actor.isprintable():
        raise BadCredentials("malformed_credentials", fault="the actor is not a printable name")
    words = (_one_of(SCOPES, headers) or "").replace(",", " ").split()
    return Vouched(actor.strip(), tuple(dict.fromkeys(words)))


def _one_of(names: tuple[str, ...], headers: Mapping[str, str]) -> str | None:
    given = {headers[name] for name in names if name in headers}
    if len(given) > 1:
        raise BadCredentials("malformed_credentials", fault="the headers disagree")
    return given.pop() if given else None
