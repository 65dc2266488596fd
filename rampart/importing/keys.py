"""Which keys of another system can be taken over, and taking them over."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import transaction
from pydantic import ValidationError

from audit import ledger
from audit.events import EventName
from audit.models import local_now
from rampart.importing.toolrampart import Configuration, HashedKey, actor_of
from tools import key_cabinet, keys
from tools.errors import KeyRefused
from tools.imported_keys import KEY_ID, SlowHash
from tools.models import ApiKey

DEFAULT_LIFETIME = timedelta(days=30)
"""Their secrets were made elsewhere: long enough to rotate them, and no longer."""
PREFIX = "trp_"
KEY_ITSELF = re.compile(r".+_[A-Za-z0-9_-]{43}", re.DOTALL)
"""What ends like a key of theirs, where only its name should stand."""
NOT_SHOWN = "(not shown)"


class Outcome(StrEnum):
    """What becomes of an entry."""

    IMPORTED = "imported"
    IMPORTABLE = "importable"
    """It would be imported; this is a dry run."""
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry in the report; plaintext keys have no id, because theirs is the key."""

    id: str
    actor: str
    outcome: Outcome
    reason: str = ""
    scopes: tuple[str, ...] = ()
    prefix: str = ""
    expires_at: datetime | None = None


def default_lifetime() -> timedelta:
    """30 days, or the longest allowed if that is shorter."""
    return min(DEFAULT_LIFETIME, settings.RAMPART_MAX_KEY_LIFETIME)


@transaction.atomic
def import_keys(found: Configuration, *, lifetime: timedelta, by: str, dry_run: bool) -> list[Line]:
    """Take over all hashed keys that can be, or none if one fails; a line for each entry.

    Nobody's secret is known by that: each key waits for its first use, see `tools.imported_keys`.
    KeyRefused if the lifetime can't be.
    """
    rows = ApiKey.objects.filter(imported_id__isnull=False)
    known = dict(rows.values_list("imported_id", "prefix"))
    end = local_now() + key_cabinet.allowed_lifetime(lifetime)
    lines = []
    for key_id, entry in found.hashed.items():
        line, key = _judged(key_id, entry, known)
        lines.append(line if key is None or dry_run else _taken_over(line, key, end, by))
    return [*lines, *map(_plaintext, found.plaintext_actors)]


def _judged(
    key_id: str, entry: Any, known: Mapping[str | None, str]
) -> tuple[Line, HashedKey | None]:
    """The entry's line in the report, and the key if it is to be taken over."""
    actor = actor_of(entry)
    if KEY_ITSELF.fullmatch(key_id):
        return Line(NOT_SHOWN, actor, Outcome.REFUSED, "id: it looks like the key itself"), None
    try:
        key = _checked(key_id, entry)
    except KeyRefused as refused:
        return Line(key_id, actor, Outcome.REFUSED, str(refused)), None
    if not key.active:
        return Line(key_id, actor, Outcome.SKIPPED, "it is not active"), None
    if key_id in known:
        prefix = known[key_id]
        return Line(key_id, actor, Outcome.SKIPPED, "already there", prefix=prefix), None
    return Line(key_id, actor, Outcome.IMPORTABLE, scopes=tuple(key.scopes)), key


def _checked(key_id: str, entry: Any) -> HashedKey:
    """The entry, if a key can be made of it; KeyRefused, which repeats no hash, if not."""
    if not KEY_ID.fullmatch(key_id):
        raise KeyRefused("id: a header can't carry it; at most 200 printable ASCII characters")
    try:
        key = HashedKey.model_validate(entry)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "entry"
        raise KeyRefused(f"{place}: {fault['msg'].lower()}") from None
    key_cabinet.actor_name(key.actor)
    key_cabinet.scope_words(key.scopes)
    SlowHash.parse(key.hash)
    return key


def _plaintext(actor: str) -> Line:
    reason = "its text stands in the file: make another with create_key"
    return Line(NOT_SHOWN, actor, Outcome.REFUSED, reason)


def _taken_over(line: Line, key: HashedKey, end: datetime, by: str) -> Line:
    """Write the key's row, and its line in the ledger."""
    actor = key_cabinet.actor_name(key.actor)
    row = ApiKey(
        prefix=PREFIX + "".join(secrets.choice(keys.ALPHABET) for _ in range(10)),
        imported_id=line.id,
        slow_hash=key.hash,
        actor=actor,
        owner=key_cabinet.service_account(actor),
        scopes=key_cabinet.scope_words(key.scopes),
        must_rotate=True,
        expires_at=end,
    )
    ledger.record(
        EventName.KEY_IMPORTED,
        actor=by,
        key_prefix=row.prefix,
        metadata={
            "imported_id": row.imported_id,
            "actor": row.actor,
            "owner": row.owner.get_username(),
            "scopes": row.scopes,
            "expires_at": row.expires_at,
        },
        beside=(row,),
    )
    return replace(line, outcome=Outcome.IMPORTED, prefix=row.prefix, expires_at=end)
