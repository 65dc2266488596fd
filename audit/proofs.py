"""Proofs read from the stored tree: few rows each, whatever its size."""

from collections.abc import Iterable

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
from audit.models import Leaf, Node
from audit.sealing import STORED_LEVELS


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
