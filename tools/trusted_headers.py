"""Who a trusted proxy says is calling, where the operator has it vouch for its services.

The proxy has proved who calls; it names them in one header and their scopes, apart by commas or
blanks, in another. Of the two families of names the operator chooses one. The other, and both from
anywhere else, mean nothing and are taken off the request before anybody could read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from tools.addresses import is_within
from tools.identity import BadCredentials

OFF = "off"
FAMILIES = {
    "rampart": ("X-Rampart-Actor", "X-Rampart-Scopes"),
    "toolrampart": ("X-ToolRampart-Actor", "X-ToolRampart-Scopes"),
}
ISSUER = "urn:rampart:trusted-proxy"
"""Who vouches for such a caller, in place of a token's issuer."""
LONGEST_ACTOR = 200
NO_ACTOR = "the actor is not a printable name without a comma"


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the proxy says."""

    actor: str
    scopes: tuple[str, ...]

    @property
    def credential(self) -> str:
        """By what this is remembered: no header can hold it, for its line's ends."""
        return "\n".join((ISSUER, self.actor, *self.scopes))


def _in_environment(name: str) -> str:
    """The header's name in WSGI."""
    return f"HTTP_{name.upper().replace('-', '_')}"


IN_ENVIRONMENT = {family: tuple(map(_in_environment, names)) for family, names in FAMILIES.items()}


def believed(peer: str) -> str:
    """The family that this peer of the connection may use, not what it forwards for; or `off`."""
    chosen: str = settings.RAMPART_TRUSTED_HEADERS
    trusted = chosen != OFF and is_within(peer, settings.RAMPART_TRUSTED_PROXIES)
    return chosen if trusted else OFF


def strip(environment: dict[str, str]) -> bool:
    """Take off what is not believed of this request; whether there was any."""
    own = believed(environment.get("REMOTE_ADDR", ""))
    others = [name for family, names in IN_ENVIRONMENT.items() if family != own for name in names]
    return bool([environment.pop(name) for name in others if name in environment])


def vouched(environment: Mapping[str, str]) -> Vouched | None:
    """Whom the proxy names, None if nobody; BadCredentials if it can't be made out."""
    family = believed(environment.get("REMOTE_ADDR", ""))
    if family == OFF:
        return None
    actor_header, scopes_header = IN_ENVIRONMENT[family]
    if actor_header not in environment:
        return None
    actor = environment[actor_header].strip()
    # A server joins two headers of a name by a comma: those would be two actors.
    if not actor or len(actor) > LONGEST_ACTOR or not actor.isprintable() or "," in actor:
        raise BadCredentials("malformed_credentials", fault=NO_ACTOR)
    words = environment.get(scopes_header, "").replace(",", " ").split()
    return Vouched(actor, tuple(dict.fromkeys(words)))
