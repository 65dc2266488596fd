"""Who is calling: resolved once, from the key alone, and typed.

Keys are looked up at most twice a second in each process, so that a busy caller costs no query;
a revocation is felt at once where it was made and within half a second everywhere else.
"""

import ipaddress
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from audit.models import local_now
from tools import keys, scopes
from tools.models import ApiKey

SECONDS_REMEMBERED = 0.5
MOST_REMEMBERED = 10_000
LAST_USED_EVERY = timedelta(minutes=1)
NO_KEY = keys.digest_of("no such key")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address is one, and in one of the networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


class BadCredentials(Exception):
    """Credentials were given and are not good; `code` is what the caller is told."""

    def __init__(self, code: str, prefix: str = "") -> None:
        super().__init__(code)
        self.code, self.prefix = code, prefix


@dataclass(frozen=True, slots=True)
class Caller:
    """A service, as its key proves it. Nothing in it comes from a request's body."""

    key_id: int
    prefix: str
    digest: str
    lineage: UUID
    actor: str
    owner_id: int
    owner_name: str
    owner_is_active: bool
    scopes: tuple[str, ...]
    tools: frozenset[str]
    networks: tuple[Network, ...]
    rate_tier: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    is_authenticated = True

    @classmethod
    def of(cls, row: ApiKey) -> "Caller":
        """The caller that a key's row describes."""
        return cls(
            key_id=row.pk,
            prefix=row.prefix,
            digest=row.digest,
            lineage=row.lineage,
            actor=row.actor,
            owner_id=row.owner_id,
            owner_name=row.owner.get_username(),
            owner_is_active=row.owner.is_active,
            scopes=tuple(row.scopes),
            tools=frozenset(row.tools),
            networks=tuple(ipaddress.ip_network(cidr) for cidr in row.cidrs),
            rate_tier=row.rate_tier,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
        )

    def may_call(self, tool_name: str) -> bool:
        """Whether the key is not limited to other tools."""
        return not self.tools or tool_name in self.tools

    def has_scope(self, needed: str | None) -> bool:
        """Whether one of the key's scopes covers the one needed."""
        return scopes.allows(self.scopes, needed)

    def may_come_from(self, address: str) -> bool:
        """Whether the key is not limited to other networks."""
        if not self.networks:
            return True
        return is_within(address, self.networks)

    def fault(self, now: datetime, address: str) -> str | None:
        """Why the key is not usable now from there, or None: the one notion of usable."""
        if self.revoked_at is not None:
            return "key_revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "key_expired"
        if not self.owner_is_active:
            return "key_owner_disabled"
        return None if self.may_come_from(address) else "key_not_allowed_here"


@dataclass(slots=True)
class _Memory:
    """Callers by prefix, each with the time until which it holds; `changes` counts forgettings."""

    callers: dict[str, tuple[float, Caller]] = field(default_factory=dict)
    changes: int = 0


_memory = _Memory()


def identify(text: str, address: str) -> Caller:
    """The caller whose key this is, calling from the address; BadCredentials otherwise.

    An unknown key and a wrong secret take the same time and the same code.
    """
    if len(text) > keys.LONGEST_CREDENTIAL or (prefix := keys.prefix_of(text)) is None:
        raise BadCredentials("invalid_credentials")
    caller = _find(prefix)
    if not keys.matches(text, caller.digest if caller else NO_KEY) or caller is None:
        raise BadCredentials("invalid_credentials", prefix)
    now = local_now()
    if fault := caller.fault(now, address):
        raise BadCredentials(fault, prefix)
    _note_use(caller, now)
    return caller


def forget(prefix: str) -> None:
    """Drop what this process remembers of a key, because it has just changed."""
    _memory.changes += 1
    _memory.callers.pop(prefix, None)


def forget_all() -> None:
    """Drop all that this process remembers."""
    _memory.changes += 1
    _memory.callers.clear()


def _find(prefix: str) -> Caller | None:
    now, changes = time.monotonic(), _memory.changes
    until, remembered = _memory.callers.get(prefix, (0.0, None))
    if now < until:
        return remembered
    row = ApiKey.objects.select_related("owner").filter(prefix=prefix).first()
    if row is None:
        return None
    caller = Caller.of(row)
    if changes == _memory.changes:  # Else the row may be older than what was just forgotten.
        _remember(caller, now + SECONDS_REMEMBERED)
    return caller


def _remember(caller: Caller, until: float) -> None:
    if len(_memory.callers) >= MOST_REMEMBERED:
        _memory.callers.clear()
    _memory.callers[caller.prefix] = (until, caller)


def _note_use(caller: Caller, now: datetime) -> None:
    """Write `last_used_at` at most once a minute."""
    if caller.last_used_at is None or now - caller.last_used_at > LAST_USED_EVERY:
        changes = _memory.changes
        until, _ = _memory.callers.get(caller.prefix, (0.0, None))
        ApiKey.objects.filter(pk=caller.key_id).update(last_used_at=now)
        if changes == _memory.changes:
            _remember(replace(caller, last_used_at=now), until)
