"""Proofs read from the stored tree: few rows each, whatever its size."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit import checkpoints
from audit.checkpoints import Statement
from audit.merkle import (
    Frontier,
    Span,
    Subtree,
    consistency_spans,
    folded,
    inclusion_spans,
    node_hash,
    subtrees,
)
from audit.models import Event, Leaf, Node
from audit.sealing import STORED_LEVELS

TLOG_PROOF = "c2sp.org/tlog-proof@v1"


class NoCheckpoint(Exception):
    """Nothing has been signed yet."""


class NotSealedYet(Exception):
    """The event is not in the tree that the newest checkpoint signs."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an event is in the tree that a checkpoint signs."""

    leaf: Leaf
    digest: str | None
    """The event's; None once retention has taken the event."""
    path: list[bytes]
    signed: Statement
    note: str

    def described(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "event_id": str(self.leaf.event_id),
            "leaf_index": self.leaf.index,
            "leaf_hash": encoded(bytes(self.leaf.hash)),
            "digest": self.digest,
            "tree_size": self.signed.size,
            "root": encoded(self.signed.root),
            "path": [encoded(one) for one in self.path],
            "checkpoint": self.note,
        }

    def text(self) -> str:
        """As other tools for transparency logs read it (C2SP tlog-proof, version 1)."""
        lines = [TLOG_PROOF, f"index {self.leaf.index}", *map(encoded, self.path)]
        return "\n".join([*lines, "", self.note])


def inclusion(event_id: UUID) -> Inclusion:
    """The proof against the newest checkpoint; raises NoCheckpoint, NotSealedYet."""
    note, signed = newest()
    leaf = Leaf.objects.filter(event_id=event_id, index__lt=signed.size).first()
    if leaf is None:
        raise NotSealedYet
    digest = Event.objects.filter(pk=event_id).values_list("digest", flat=True).first()
    return Inclusion(leaf, digest, inclusion_path(leaf.index, signed.size), signed, note)


def newest() -> tuple[str, Statement]:
    """The newest checkpoint: its note, and what that says; raises NoCheckpoint."""
    checkpoint = checkpoints.latest()
    if checkpoint is None:
        raise NoCheckpoint
    return checkpoint.note, checkpoints.stated(checkpoint)


def consistency(old: int, new: int | None = None) -> dict[str, Any]:
    """That one tree is the beginning of another, or of the newest that is signed, as JSON.

    Raises NoCheckpoint, and ValueError for sizes that are none of signed trees.
    """
    note, signed = newest()
    new = signed.size if new is None else new
    if not 0 < old <= new <= signed.size:
        raise ValueError(f"sizes of trees are from 1 to {signed.size}, the older one first")
    path = [encoded(one) for one in consistency_path(old, new)]
    return {"from": old, "to": new, "path": path, "checkpoint": note}


def encoded(hashed: bytes) -> str:
    return b64encode(hashed).decode()


def inclusion_path(index: int, size: int) -> list[bytes]:
    """RFC 9162's path from a leaf to the root of the tree of `size` leaves."""
    return span_hashes(inclusion_spans(index, size))


def consistency_path(old: int, new: int) -> list[bytes]:
    """RFC 9162's proof that the tree of `old` leaves is the beginning of the one of `new`."""
    return span_hashes(consistency_spans(old, new))


def frontier_at(size: int) -> Frontier:
    """The tree as it was when it had `size` leaves."""
    return Frontier(size, [subtree_hash(one) for one in subtrees(0, size)])


def span_hashes(spans: Iterable[Span]) -> list[bytes]:
    """The hash over each range of leaves; each must begin where a tree's subtree does."""
    return [folded(covering_hashes(first, end)) for first, end in spans]


def covering_hashes(first: int, end: int) -> list[bytes]:
    """The hashes of the subtrees that cover a range, in the order of `merkle.subtrees`."""
    return [subtree_hash(one) for one in subtrees(first, end)]


def subtree_hash(subtree: Subtree) -> bytes:
    """The hash of a perfect subtree, from the stored nodes below it."""
    level, index = subtree
    below = level % STORED_LEVELS
    hashes = _stored(level - below, index << below, (index + 1) << below)
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [node_hash(left, right) for left, right in pairs]
    return hashes[0]


class TreeIsIncomplete(Exception):
    """The stored tree lacks a node that it must have."""


def _stored(level: int, first: int, end: int) -> list[bytes]:
    if level == 0:
        rows = Leaf.objects.filter(index__gte=first, index__lt=end).order_by("index")
        hashes = list(rows.values_list("hash", flat=True))
    else:
        nodes = Node.objects.filter(level=level, index__gte=first, index__lt=end)
        hashes = list(nodes.order_by("index").values_list("hash", flat=True))
    if len(hashes) != end - first:
        raise TreeIsIncomplete(f"level {level}, from {first} to {end}")
    return [bytes(one) for one in hashes]
