"""The tree over the events: its leaves, its upper nodes, and what was signed of it."""

import secrets

from django.db import models

from audit.models.events import local_now, new_id

THE_ONE = 1


def new_origin() -> str:
    """A name that no other ledger has; it is the first line of each checkpoint."""
    return f"rampart/{secrets.token_hex(8)}"


class Unsealed(models.Model):
    """An event that has no leaf yet: written with the event, taken away with its leaf.

    So an event is sealed whenever its transaction commits, however early its id is. An entry
    without its event says that somebody took the event away.
    """

    event_id = models.UUIDField(primary_key=True)

    class Meta:
        verbose_name_plural = "unsealed"


class Leaf(models.Model):
    """The place of an event in the tree. It stays when retention takes the event."""

    index = models.BigIntegerField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    hash = models.BinaryField()
    """RFC 9162's leaf hash over the 32 bytes of the event's digest."""

    class Meta:
        verbose_name_plural = "leaves"


class Node(models.Model):
    """A complete subtree of 256, 65 536, … leaves: so a proof reads few rows at any size."""

    pk = models.CompositePrimaryKey("level", "index")
    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    hash = models.BinaryField()


class Tree(models.Model):
    """The one row that says how far the ledger is sealed. Whoever changes the tree, takes events
    out of the ledger or holds them in it locks this row first.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    origin = models.CharField(max_length=100, default=new_origin)
    size = models.BigIntegerField(default=0)
    frontier = models.BinaryField(default=bytes)
    """The hashes of the perfect subtrees that cover all leaves, the largest first."""


class Checkpoint(models.Model):
    """A signed word on the tree at one size: the note that is handed out, as it is."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    size = models.BigIntegerField(db_index=True)
    note = models.TextField()
    signed_at = models.DateTimeField(default=local_now)

    class Meta:
        ordering = ["-size", "-id"]
        get_latest_by = ["size", "id"]
