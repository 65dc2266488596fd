"""The key cabinet: keys are handed out and taken back here, and each time the ledger is told."""

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction

from audit import ledger
from audit.changes import difference
from audit.events import EventName
from audit.models import local_now
from tools import identity, keys, registry
from tools.budgets import ceilings_of
from tools.errors import KeyRefused
from tools.limits import RateLimit
from tools.models import ApiKey

DEFAULT_LIFETIME = timedelta(days=90)
DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_REASON = 400


@transaction.atomic
def create_key(
    *,
    actor: str,
    scopes: Sequence[str],
    owner: User | None = None,
    tools: Sequence[str] = (),
    cidrs: Sequence[str] = (),
    rate_tier: str = "",
    ceilings: Mapping[str, int | None] = MappingProxyType({}),
    lifetime: timedelta | None = None,
    by: str | User,
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and its text, which is shown once and kept nowhere.

    Without a lifetime it is 90 days, or the longest allowed if that is shorter. Raises KeyRefused
    where an actor, scope, network, limit, ceiling or lifetime can't be.
    """
    now = local_now()
    new = keys.new_key()
    maker = None if isinstance(by, str) else by
    row = ApiKey(
        prefix=new.prefix,
        digest=new.digest,
        actor=actor_name(actor),
        owner=owner or service_account(actor),
        created_by=maker,
        scopes=scope_words(scopes),
        tools=[registry.canonical(name) for name in tools],
        cidrs=[_network(cidr) for cidr in cidrs],
        rate_tier=_tier(rate_tier),
        ceilings=_ceilings(ceilings),
        created_at=now,
        expires_at=now + allowed_lifetime(lifetime),
    )
    row.save(force_insert=True)
    _tell_created(row, by)
    return row, new.text


@transaction.atomic
def rotate_key(
    prefix: str,
    *,
    overlap: timedelta = DEFAULT_OVERLAP,
    lifetime: timedelta | None = None,
    by: str | User,
    by_holder: bool = False,
) -> tuple[ApiKey, str]:
    """Replace a key by another of the same caller; returns the new row and its text, shown once.

    The old key works until the overlap ends, and never longer than it would have. Rotated again
    before its successor was used, as after a lost answer, it gets another successor and the unused
    one is revoked. Without a lifetime the new key lives as long as the old one was made to.
    Asked for by its holder, the key must be usable still: whoever was let in may have waited here.
    Raises KeyRefused for a revoked key, one that was replaced and whose successor is in use, and a
    lifetime that can't be; ApiKey.DoesNotExist for an unknown one.
    """
    (old,) = hold([prefix])
    now = local_now()
    if by_holder and not ApiKey.objects.usable(now).filter(pk=old.pk).exists():
        raise KeyRefused("its time is over")
    unused = _rotatable(old)
    if unused is not None:
        _revoke_unused(unused, now, by=_name_of(by))
    if lifetime is None:
        lifetime = _lifetime_of(unused or old, at_most_the_longest=by_holder)
    new = keys.new_key()
    row = ApiKey(
        prefix=new.prefix,
        digest=new.digest,
        lineage=old.lineage,
        rotated_from=old,
        actor=old.actor,
        owner=old.owner,
        created_by=old.created_by if isinstance(by, str) else by,
        scopes=old.scopes,
        tools=old.tools,
        cidrs=old.cidrs,
        rate_tier=old.rate_tier,
        ceilings=old.ceilings,
        created_at=now,
        expires_at=now + allowed_lifetime(lifetime),
    )
    row.save(force_insert=True)
    until, ends = old.expires_at, now + overlap
    ends = ends if until is None else min(until, ends)
    ApiKey.objects.filter(pk=old.pk).update(expires_at=ends)
    _tell_created(row, by)
    ledger.record(
        EventName.KEY_ROTATED,
        actor=_name_of(by),
        key_prefix=old.prefix,
        metadata={
            "actor": old.actor,
            "successor": row.prefix,
            "overlap_ends": ends,
            **difference({"expires_at": until}, {"expires_at": ends}),
        },
    )
    transaction.on_commit(lambda: identity.forget(prefix))
    return row, new.text


@transaction.atomic
def revoke_key(prefix: str, *, by: str, reason: str = "") -> bool:
    """Revoke the key for ever; False if it was revoked already. ApiKey.DoesNotExist if unknown.

    The reason, in a person's words, goes into the ledger.
    """
    (row,) = hold([prefix])
    return _revoke(row, local_now(), by=by, told=reason)


@transaction.atomic
def revoke_keys(
    prefixes: Sequence[str], *, with_lineage: bool = False, by: str, reason: str = ""
) -> dict[str, bool]:
    """Revoke them all or none, with their callers' other keys if wanted; True where it was not.

    ApiKey.DoesNotExist if one is unknown.
    """
    rows = hold(prefixes)
    if with_lineage:
        lineages = {row.lineage for row in rows}
        rows = list(ApiKey.objects.filter(lineage__in=lineages).order_by("pk"))
    now = local_now()
    return {row.prefix: _revoke(row, now, by=by, told=reason) for row in rows}


def _revoke(row: ApiKey, now: datetime, *, by: str, why: str = "", told: str = "") -> bool:
    changed = ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=now)
    if changed:
        ledger.record(
            EventName.KEY_REVOKED,
            actor=by,
            reason=why,
            key_prefix=row.prefix,
            metadata={
                "actor": row.actor,
                **({"reason": told[:LONGEST_REASON]} if told else {}),
                **difference({"revoked_at": None}, {"revoked_at": now}),
            },
        )
        transaction.on_commit(lambda: identity.forget(row.prefix))
    return bool(changed)


def hold(prefixes: Sequence[str]) -> list[ApiKey]:
    """The keys, read while nobody else can rotate or revoke a key of the same callers.

    A caller's first key stands for the caller: whoever has locked its row sees all its keys.
    """
    lineages = [ApiKey.objects.get(prefix=prefix).lineage for prefix in prefixes]
    firsts = ApiKey.objects.filter(lineage__in=lineages, rotated_from=None).order_by("pk")
    list(firsts.select_for_update())
    return [ApiKey.objects.get(prefix=prefix) for prefix in prefixes]


def _revoke_unused(row: ApiKey, now: datetime, *, by: str) -> None:
    """KeyRefused if somebody has begun to use it meanwhile."""
    unused = ApiKey.objects.select_for_update().filter(pk=row.pk, last_used_at__isnull=True)
    if unused.first() is None:
        raise KeyRefused(f"it was replaced by {row.prefix}, which is in use: rotate that one")
    _revoke(row, now, by=by, why="replaced_unused")


def _rotatable(old: ApiKey) -> ApiKey | None:
    """Its successor that nobody has used yet, if there is one; KeyRefused if it may not rotate."""
    if old.issuer:
        raise KeyRefused("this caller comes with tokens, which its issuer replaces")
    if old.revoked_at is not None:
        raise KeyRefused("a revoked key stays revoked: make another")
    successor = _successor(old)
    if successor and (successor.last_used_at or _successor(successor)):
        raise KeyRefused(f"it was replaced by {successor.prefix}, which is in use: rotate that one")
    return successor


def _successor(key: ApiKey) -> ApiKey | None:
    return key.successors.filter(revoked_at__isnull=True).first()


def _lifetime_of(row: ApiKey, *, at_most_the_longest: bool) -> timedelta | None:
    """How long the key was made to live; None where its successor gets the usual time."""
    if row.expires_at is None or row.must_rotate or row.expires_at <= row.created_at:
        return None
    made_for = row.expires_at - row.created_at
    longest: timedelta = settings.RAMPART_MAX_KEY_LIFETIME
    return min(made_for, longest) if at_most_the_longest else made_for


def new_key_document(row: ApiKey, text: str) -> dict[str, Any]:
    """What is said of a key when it is made, the one time that its text is there."""
    return {
        "prefix": row.prefix,
        "key": text,
        "actor": row.actor,
        "scopes": row.scopes,
        "expires_at": row.expires_at,
    }


def service_account(actor: str) -> User:
    """The account that owns a key when no person does; it can't sign in."""
    name = f"service:{actor_name(actor)}"[:150]
    account, created = get_user_model().objects.get_or_create(username=name)
    if created:
        account.set_unusable_password()
        account.save(update_fields=["password"])
    return account


def _tell_created(row: ApiKey, by: str | User) -> None:
    replaces = {"replaces": row.rotated_from.prefix} if row.rotated_from else {}
    said = _said(row)
    ledger.record(
        EventName.KEY_CREATED,
        actor=_name_of(by),
        key_prefix=row.prefix,
        metadata={**said, **replaces, **difference(None, said)},
    )


def _said(row: ApiKey) -> dict[str, Any]:
    """What a key allows to whom, as the ledger keeps it."""
    return {
        "actor": row.actor,
        "owner": row.owner.get_username(),
        "scopes": row.scopes,
        "tools": row.tools,
        "cidrs": row.cidrs,
        "rate_tier": row.rate_tier,
        "ceilings": row.ceilings,
        "expires_at": row.expires_at,
    }


def _name_of(by: str | User) -> str:
    return by if isinstance(by, str) else by.get_username()


def actor_name(actor: str) -> str:
    """The actor as it is kept; KeyRefused if it can't be one."""
    if not actor.strip() or len(actor) > 200 or not actor.isprintable():
        raise KeyRefused("actor: a printable name of at most 200 characters")
    return actor.strip()


def scope_words(scopes: Sequence[str]) -> list[str]:
    """The scopes, each once; KeyRefused if there is none, or one is no word."""
    if not scopes:
        raise KeyRefused("scope: a key without any scope can do nothing; give at least one")
    if wrong := [scope for scope in scopes if not scope.isprintable() or scope.split() != [scope]]:
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


def _ceilings(given: Mapping[str, int | None]) -> dict[str, int]:
    try:
        return ceilings_of(given)
    except ValueError as error:
        raise KeyRefused(f"ceilings: {error}") from None


def allowed_lifetime(lifetime: timedelta | None) -> timedelta:
    """The lifetime, or the usual one; KeyRefused if it is longer than allowed, or below zero."""
    longest: timedelta = settings.RAMPART_MAX_KEY_LIFETIME
    chosen = min(DEFAULT_LIFETIME, longest) if lifetime is None else lifetime
    if chosen > longest:
        raise KeyRefused(f"expires: {chosen} is longer than the {longest} that is allowed")
    if chosen < timedelta(0):
        raise KeyRefused("expires: a lifetime can't be below zero")
    return chosen
