"""How rows go when their time is over, and which keys go: in short batches, each a transaction.

Every batch holds the tree's row of the ledger, as placing a legal hold does: from the moment that
a hold is placed nothing goes any more that it names, and two prunings at once take turns.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from audit import holds, sealing
from tools.models import ApiKey

M = TypeVar("M", bound=Model)

COLUMNS = {"actor": "actor"}
"""Of a key; its time is no one moment, so none narrows a hold of it."""


@contextmanager
def batch() -> Iterator[None]:
    """The transaction of one batch."""
    sealing.the_tree()
    with transaction.atomic():
        sealing.hold_tree()
        yield


def hold_still(rows: QuerySet[M], most: int | None = None) -> list[Any]:
    """The ids of at most so many of these rows, locked until the transaction ends.

    What somebody else has locked is passed over: who waits for nobody is in no deadlock. Then the
    rows are looked at again, since a lock keeps a row as it is, and not what else was asked of it.
    """
    locked = rows.select_for_update(of=("self",), skip_locked=True)
    ids = list(locked.values_list("pk", flat=True)[:most])
    return list(rows.filter(pk__in=ids).values_list("pk", flat=True)) if ids else []


def spent_keys(cutoff: datetime, in_use: Q) -> QuerySet[ApiKey]:
    """The keys of callers whose every key was over by then, and is not in use.

    A caller with tokens has a row so that it can be revoked, and an imported key has one so that
    it is not imported again: those stay.
    """
    is_over = Q(revoked_at__lt=cutoff) | Q(expires_at__lt=cutoff)
    came_from_elsewhere = ~Q(issuer="") | Q(imported_id__isnull=False)
    kept = ApiKey.objects.filter(
        ~is_over | came_from_elsewhere | holds.held(COLUMNS) | in_use, lineage=OuterRef("lineage")
    )
    return ApiKey.objects.exclude(Exists(kept)).order_by("-created_at", "pk")


def take_keys(cutoff: datetime, in_use: Q, most: int) -> Counter[str]:
    """Take at most so many of them; how many went."""
    with batch():
        going = hold_still(spent_keys(cutoff, in_use), most)
        ApiKey.objects.filter(rotated_from__in=going).update(rotated_from=None)
        return Counter(ApiKey.objects.filter(pk__in=going).delete()[1])
