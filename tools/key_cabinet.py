"""The key cabinet: keys are handed out and taken back here, and each time the ledger is told."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction

from audit import ledger
from audit.events import EventName
from audit.models import local_now
from tools import identity, keys
from tools.errors import KeyRefused
from tools.limits import RateLimit
from tools.models import ApiKey

DEFAULT_LIFETIME = timedelta(days=90)


@transaction.atomic
def create_key(
    *,
    actor: str,
    scopes: Sequence[str],
    owner: User | None = None,
    tools: Sequence[str] = (),
    cidrs: Sequence[str] = (),
    rate_tier: str = "",
    lifetime: timedelta | None = None,
    by: str | User,
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and its text, which is shown once and kept nowhere.

    Without a lifetime it is 90 days, or the longest allowed if that is shorter. Raises KeyRefused
    where an actor, scope, network, limit or lifetime can't be.
    """
    now = local_now()
    new = keys.new_key()
    maker = None if isinstance(by, str) else by
    row = ApiKey(
        prefix=new.prefix,
        digest=new.digest,
        actor=_named(actor),
        owner=owner or service_account(actor),
        created_by=maker,
        scopes=_scopes(scopes),
        tools=list(tools),
        cidrs=[_network(cidr) for cidr in cidrs],
        rate_tier=_tier(rate_tier),
        created_at=now,
        expires_at=now + _allowed(lifetime),
    )
    row.save(force_insert=True)
    ledger.record(
        EventName.KEY_CREATED,
        actor=by if isinstance(by, str) else by.get_username(),
        key_prefix=row.prefix,
        metadata={
            "actor": row.actor,
            "owner": row.owner.get_username(),
            "scopes": row.scopes,
            "tools": row.tools,
            "cidrs": row.cidrs,
            "rate_tier": row.rate_tier,
            "expires_at": row.expires_at,
        },
    )
    return row, new.text


@transaction.atomic
def revoke_key(prefix: str, *, by: str) -> bool:
    """Revoke the key for ever; False if it was revoked already. ApiKey.DoesNotExist if unknown."""
    row = ApiKey.objects.get(prefix=prefix)
    now = local_now()
    changed = ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=now)
    if changed:
        ledger.record(
            EventName.KEY_REVOKED, actor=by, key_prefix=prefix, metadata={"actor": row.actor}
        )
        transaction.on_commit(lambda: identity.forget(prefix))
    return bool(changed)


def service_account(actor: str) -> User:
    """The account that owns a key when no person does; it can't sign in."""
    name = f"service:{_named(actor)}"[:150]
    account, created = get_user_model().objects.get_or_create(username=name)
    if created:
        account.set_unusable_password()
        account.save(update_fields=["password"])
    return account


def _named(actor: str) -> str:
    if not actor.strip() or len(actor) > 200 or not actor.isprintable():
        raise KeyRefused("actor: a printable name of at most 200 characters")
    return actor.strip()


def _scopes(scopes: Sequence[str]) -> list[str]:
    if not scopes:
        raise KeyRefused("scope: a key without any scope can do nothing; give at least one")
    if wrong := [scope for scope in scopes if not scope or any(c.isspace() for c in scope)]:
        raise KeyRefused(f"scope: {wrong[0]!r} is not a word")
    return list(dict.fromkeys(scopes))


def _network(cidr: str) -> str:
    try:
        return str(ipaddress.ip_network(cidr))
    except ValueError as error:
        raise KeyRefused(f"cidr: {error}") from None


def _tier(tier: str) -> str:
    try:
        return tier and RateLimit.parse(f"{tier}/key").text.removesuffix("/key")
    except ValueError as error:
        raise KeyRefused(f"rate_tier: {error}") from None


def _allowed(lifetime: timedelta | None) -> timedelta:
    longest: timedelta = settings.RAMPART_MAX_KEY_LIFETIME
    chosen = min(DEFAULT_LIFETIME, longest) if lifetime is None else lifetime
    if chosen > longest:
        raise KeyRefused(f"expires: {chosen} is longer than the {longest} that is allowed")
    if chosen < timedelta(0):
        raise KeyRefused("expires: a lifetime can't be below zero")
    return chosen


def expires_soon(row: ApiKey, now: datetime) -> bool:
    """Whether the key runs out within two weeks."""
    return row.expires_at is not None and now < row.expires_at < now + timedelta(days=14)
