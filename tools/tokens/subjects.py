"""Services that come with tokens: each has a row from its first visit on.

The row holds its lineage, so that its calls, limits and idempotency keys are its own, and it can be
revoked. What it may do is in each token.
"""

import secrets
from dataclasses import replace
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from audit import ledger
from audit.events import EventName
from tools.identity import Caller
from tools.key_cabinet import service_account
from tools.keys import ALPHABET
from tools.models import ApiKey
from tools.tokens.claims import Service


def caller_for(service: Service) -> Caller:
    """The service as a caller, with the token's scopes, for as long as the token is good.

    Whether it may still come is to be asked of the caller (`fault`): its row may be revoked.
    """
    rows = list(_rows_of(service))
    row = next((one for one in rows if one.actor == service.actor), None) or _enrolled(service)
    return replace(
        Caller.of(row),
        scopes=service.scopes,
        expires_at=_earlier(row.expires_at, service.good_until),
        revoked_at=_earlier(*(one.revoked_at for one in rows)),
    )


def _rows_of(service: Service) -> QuerySet[ApiKey]:
    """The subject's, under whatever names it came: revoked under one, it is out under all."""
    rows = ApiKey.objects.select_related("owner")
    return rows.filter(issuer=service.issuer, subject=service.subject)


def _enrolled(service: Service) -> ApiKey:
    """Its new row; another request may have been quicker, then that one's."""
    try:
        with transaction.atomic():
            return _enrol(service)
    except IntegrityError:
        if row := _rows_of(service).filter(actor=service.actor).first():
            return row
        raise


def _enrol(service: Service) -> ApiKey:
    row = ApiKey(
        prefix=_new_prefix(),
        issuer=service.issuer,
        subject=service.subject,
        actor=service.actor,
        owner=service_account(service.actor),
    )
    row.save(force_insert=True)
    ledger.record(
        EventName.SUBJECT_ENROLLED,
        actor=row.actor,
        key_prefix=row.prefix,
        metadata={
            "issuer": row.issuer,
            "subject": row.subject,
            "owner": row.owner.get_username(),
        },
    )
    return row


def _new_prefix() -> str:
    """Like a key's visible start, and never one: no text can be this caller's key."""
    return "sub_" + "".join(secrets.choice(ALPHABET) for _ in range(10))


def _earlier(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
