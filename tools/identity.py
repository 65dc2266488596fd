"""Who is calling: resolved once, from the credential alone, and typed.

A good credential is remembered for half a second in each process, so that a busy caller costs no
query; a revocation is felt at once where it was made and within half a second everywhere else.
"""

import hashlib
import ipaddress
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from audit.models import local_now
from tools import keys, scopes
from tools.addresses import Network, is_within
from tools.models import ApiKey

SECONDS_REMEMBERED = 0.5
MOST_REMEMBERED = 10_000
LAST_USED_EVERY = timedelta(minutes=1)
NO_KEY = keys.digest_of("no such key")


class BadCredentials(Exception):
    """Credentials were given and are not good.

    `code` is what the caller is told; `fault` says more where that gives nothing away, `prefix` is
    the visible start of the key, and `status` of HTTP is 400 where not even one can be made out.
    """

    def __init__(self, code: str, prefix: str = "", *, fault: str = "", status: int = 401) -> None:
        super().__init__(code)
        self.code, self.prefix, self.fault, self.status = code, prefix, fault, status


@dataclass(frozen=True, slots=True)
class Caller:
    """A service, as its key proves it. Nothing in it comes from a request's body."""

    key_id: int
    prefix: str
    digest: str = field(repr=False)
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
    must_rotate: bool = False

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
            must_rotate=row.must_rotate,
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


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A caller whose credential was good, and the moment (monotonic) until which it counts."""

    until: float
    caller: Caller


@dataclass(slots=True)
class _Memory:
    """Callers by the SHA-256 of their credentials; `changes` counts forgettings."""

    callers: dict[bytes, _Remembered] = field(default_factory=dict)
    changes: int = 0


_memory = _Memory()


def identify(text: str, address: str) -> Caller:
    """The caller whose key this is, calling from the address; BadCredentials otherwise.

    An unknown key and a wrong secret look the same: one query, one comparison, one code.
    """
    if len(text) > keys.LONGEST_CREDENTIAL:
        raise BadCredentials("malformed_credentials")
    if caller := remembered(text, address):
        return caller
    asked = ask()
    return admit(_holder_of(text), text, address, asked)


def remembered(text: str, address: str) -> Caller | None:
    """The caller, if this credential was good less than half a second ago and is here too."""
    found = _memory.callers.get(_name_of(text))
    if found is None or time.monotonic() >= found.until:
        return None
    return found.caller if found.caller.may_come_from(address) else None


@dataclass(frozen=True, slots=True)
class Asked:
    """When the database was asked for a caller: how old its answer is, at least."""

    at: float
    changes: int


def ask() -> Asked:
    """To be called before a caller's row is read, and given to `admit`."""
    return Asked(time.monotonic(), _memory.changes)


def admit(caller: Caller, text: str, address: str, asked: Asked) -> Caller:
    """Let in who holds a right credential and may use it now from there, and remember that.

    BadCredentials otherwise. If anything was forgotten since the row was asked for, it may be older
    than that, and is not remembered.
    """
    now = local_now()
    if fault := caller.fault(now, address):
        raise BadCredentials(fault, caller.prefix)
    _note_use(caller, now)
    if asked.changes == _memory.changes:
        _remember(caller, text, now, asked)
    return caller


def forget(prefix: str) -> None:
    """Drop what this process remembers of a caller, because it has just changed."""
    _memory.changes += 1
    for name, found in list(_memory.callers.items()):
        if found.caller.prefix == prefix:
            _memory.callers.pop(name, None)


def forget_all() -> None:
    """Drop all that this process remembers."""
    _memory.changes += 1
    _memory.callers.clear()


def _name_of(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _holder_of(text: str) -> Caller:
    """Whose key it is, by one query; good or not."""
    prefix = keys.prefix_of(text)
    if prefix is None:
        raise BadCredentials("invalid_credentials")
    rows = ApiKey.objects.select_related("owner").filter(prefix=prefix).order_by()
    row = next(iter(rows), None)
    if not keys.matches(text, row.digest if row else NO_KEY) or row is None:
        raise BadCredentials("invalid_credentials", prefix)
    return Caller.of(row)


def _remember(caller: Caller, text: str, now: datetime, asked: Asked) -> None:
    if len(_memory.callers) >= MOST_REMEMBERED:
        _memory.callers.clear()
    seconds = SECONDS_REMEMBERED
    if caller.expires_at is not None:
        seconds = min(seconds, (caller.expires_at - now).total_seconds())
    _memory.callers[_name_of(text)] = _Remembered(asked.at + seconds, caller)


def _note_use(caller: Caller, now: datetime) -> None:
    """Write `last_used_at` at most once a minute."""
    if caller.last_used_at is None or now - caller.last_used_at > LAST_USED_EVERY:
        ApiKey.objects.filter(pk=caller.key_id).update(last_used_at=now)
