"""Sealing: committed events get their place in the tree, away from the path of callers.

Whoever holds the tree's row seals. A batch is one transaction: the events' leaves, the nodes that
they complete and the tree's new size are there together or not at all, and the unsealed are taken
away in it, so that no event is sealed twice however often a sealer is killed.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import OuterRef, Subquery

from audit import checkpoints
from audit.checkpoints import Statement
from audit.merkle import Frontier, Subtree, leaf_hash
from audit.models import Checkpoint, Event, Leaf, Node, Tree, Unsealed, local_now
from audit.models.tree import THE_ONE
from audit.planning import Among

FIRST = UUID(int=0)
BATCH = {"postgresql": 2000, "sqlite": 200}
"""Events a transaction: on SQLite, nobody else writes for as long."""
BREATH = {"postgresql": 0.0, "sqlite": 0.02}
"""Seconds between two batches: who waits to write on SQLite looks now and then, and must find a
moment when nobody does."""
STORED_LEVELS = 8
"""Nodes are kept for each eighth level; those between are computed from them."""
MOST_UNSIGNED = 10_000
LONGEST_UNSIGNED = timedelta(seconds=10)
DIGEST = re.compile("[0-9a-f]{64}")
LeafRow = tuple[int, UUID, bytes]
"""Index, event, hash."""
NodeRow = tuple[int, int, bytes]
"""Level, index, hash."""


class SomebodyElseSeals(Exception):
    """The tree's row is held by another process, and this one did not want to wait."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a round has done, and how far the ledger is sealed."""

    events: int
    size: int
    checkpoint: Checkpoint | None
    """Signed in this round; None where none was due, or no key is set."""


class _Entry(NamedTuple):
    """An event that waits: its digest if it is there, and its leaf if it has one already."""

    id: UUID
    digest: str | None
    leaf: int | None


def seal(*, wait: bool = True, sign_now: bool = True) -> Sealed:
    """Seal all that is committed, and sign a checkpoint.

    Without `sign_now` only if one is due: so many events, or so much time, after the last.
    Without `wait`, SomebodyElseSeals is raised where somebody does. Database errors pass through:
    what they leave unsealed is for the next round.
    """
    if checkpoints.unannounced(the_tree().origin):
        _announce_new_keys(wait)
    count = 0
    last: UUID | None = FIRST
    while last is not None:
        done, last = _seal_batch(last, wait)
        count += done
        if last is not None:
            time.sleep(BREATH[connection.vendor])
    return Sealed(count, the_tree().size, _sign(wait, sign_now))


def the_tree() -> Tree:
    """The tree's row, made when it is first asked for."""
    return Tree.objects.get_or_create(pk=THE_ONE)[0]


def hold_tree(*, wait: bool = True) -> Tree:
    """The tree's row, locked until the transaction ends.

    SQLite's transactions lock the database when they begin, and wait for each other there.
    """
    rows = Tree.objects.select_for_update(skip_locked=not wait)
    tree = rows.filter(pk=THE_ONE).first()
    if tree is None:
        raise SomebodyElseSeals
    return tree


@transaction.atomic
def _announce_new_keys(wait: bool) -> None:
    """Once for each key, however many processes begin to use it at once."""
    for verifier in checkpoints.unannounced(hold_tree(wait=wait).origin):
        checkpoints.announce(verifier)


@transaction.atomic
def _seal_batch(after: UUID, wait: bool) -> tuple[int, UUID | None]:
    """Seal a batch of what is unsealed beyond this id; how many, and where the next one begins."""
    tree = hold_tree(wait=wait)
    unsealed = _unsealed(after)
    frontier = Frontier.from_bytes(tree.size, bytes(tree.frontier))
    leaves: list[LeafRow] = []
    nodes: list[NodeRow] = []
    for entry in unsealed:
        if entry.leaf is None and entry.digest and DIGEST.fullmatch(entry.digest):
            hashed = leaf_hash(bytes.fromhex(entry.digest))
            leaves.append((frontier.size, entry.id, hashed))
            nodes += _kept(frontier.append(hashed))
    if leaves:
        _store(leaves, nodes)
        sealed = Leaf.objects.filter(index__gte=tree.size, index__lt=frontier.size)
        Unsealed.objects.filter(Among("pk", sealed.values("event_id"))).delete()
        tree.size, tree.frontier = frontier.size, frontier.to_bytes()
        tree.save(update_fields=["size", "frontier"])
    return len(leaves), unsealed[-1].id if len(unsealed) == BATCH[connection.vendor] else None


def _unsealed(after: UUID) -> list[_Entry]:
    """The next entries in the order of their ids.

    One whose event is gone, is sealed already or has no digest stays where it is, and is in
    nobody's way: only somebody with a database prompt can have made it.
    """
    digest = Event.objects.order_by().filter(pk=OuterRef("pk")).values("digest")
    leaf = Leaf.objects.filter(event_id=OuterRef("pk")).values("index")
    entries = Unsealed.objects.filter(pk__gt=after).order_by("pk")
    rows = entries.values_list("pk", Subquery(digest), Subquery(leaf))
    return [_Entry(*row) for row in rows[: BATCH[connection.vendor]]]


def _kept(completed: list[tuple[Subtree, bytes]]) -> Iterator[NodeRow]:
    for (level, index), hashed in completed:
        if level % STORED_LEVELS == 0:
            yield level, index, hashed


def _store(leaves: list[LeafRow], nodes: list[NodeRow]) -> None:
    """PostgreSQL takes thousands of rows by COPY in a fraction of an INSERT's time."""
    if connection.vendor != "postgresql":
        Leaf.objects.bulk_create(
            Leaf(index=index, event_id=event_id, hash=hashed) for index, event_id, hashed in leaves
        )
        Node.objects.bulk_create(
            Node(level=level, index=index, hash=hashed) for level, index, hashed in nodes
        )
        return
    _copy("audit_leaf (index, event_id, hash)", leaves)
    _copy("audit_node (level, index, hash)", nodes)


def _copy(columns: str, rows: list[LeafRow] | list[NodeRow]) -> None:
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {columns} FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


@transaction.atomic
def _sign(wait: bool, sign_now: bool) -> Checkpoint | None:
    """A checkpoint over all that is sealed, if there is something new to say."""
    tree = hold_tree(wait=wait)
    last = checkpoints.latest()
    if tree.size <= (last.size if last else 0) or not (sign_now or _is_due(tree, last)):
        return None
    frontier = Frontier.from_bytes(tree.size, bytes(tree.frontier))
    return checkpoints.sign(Statement(tree.origin, tree.size, frontier.root()))


def _is_due(tree: Tree, last: Checkpoint | None) -> bool:
    """Whether so much is unsigned, or for so long; a clock that went back makes nobody wait."""
    if last is None or tree.size - last.size >= MOST_UNSIGNED:
        return True
    return abs(local_now() - last.signed_at) >= LONGEST_UNSIGNED
