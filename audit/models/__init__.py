"""The ledger's tables: what happened, the tree that seals it, and what keeps it."""

from audit.models.events import Event, EventQuerySet, first_id_at, local_now, new_id
from audit.models.keeping import Door, LegalHold, LegalHoldQuerySet, VerificationRun
from audit.models.tree import Checkpoint, Leaf, Node, Tree, Unsealed

__all__ = [
    "Checkpoint",
    "Door",
    "Event",
    "EventQuerySet",
    "Leaf",
    "LegalHold",
    "LegalHoldQuerySet",
    "Node",
    "Tree",
    "Unsealed",
    "VerificationRun",
    "first_id_at",
    "local_now",
    "new_id",
]
