"""The Merkle tree of RFC 9162, section 2.1: hashes, roots, and proofs. Pure: it reads no store.

A leaf's entry is the 32 bytes of an event's digest. A perfect subtree is named by (level, index):
it covers the 2**level leaves from index * 2**level on.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

Subtree: TypeAlias = tuple[int, int]
"""Level and index of a perfect subtree; level 0 is the leaves."""
Span: TypeAlias = tuple[int, int]
"""The first leaf of a range, and the one after its last."""

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class BadProof(ValueError):
    """The proof does not lead to the root."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The perfect subtrees that cover the first `size` leaves, the largest first.

    It is all that is needed to go on from there: log2(size) hashes.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size, self.hashes = size, list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"{len(self.hashes)} hashes can't stand for {size} leaves")

    @classmethod
    def from_bytes(cls, size: int, joined: bytes) -> "Frontier":
        """What `to_bytes` has made."""
        return cls(size, split(joined))

    def to_bytes(self) -> bytes:
        return b"".join(self.hashes)

    def append(self, leaf: bytes) -> list[tuple[Subtree, bytes]]:
        """Add a leaf's hash; returns the subtrees above it that it completes, the lowest first."""
        return self.append_subtree(0, leaf)

    def append_subtree(self, level: int, root: bytes) -> list[tuple[Subtree, bytes]]:
        """Add a whole subtree of 2**level leaves; ValueError where none can begin."""
        if self.size % (1 << level):
            raise ValueError(f"no subtree of level {level} begins at leaf {self.size}")
        index, completed = self.size >> level, []
        self.size += 1 << level
        while index & 1:
            root = node_hash(self.hashes.pop(), root)
            level, index = level + 1, index >> 1
            completed.append(((level, index), root))
        self.hashes.append(root)
        return completed

    def root(self) -> bytes:
        return folded(self.hashes) if self.hashes else EMPTY_ROOT


def folded(hashes: Sequence[bytes]) -> bytes:
    """The root over neighbouring subtrees that get smaller from left to right."""
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def split(joined: bytes) -> list[bytes]:
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def subtrees(first: int, end: int) -> Iterator[Subtree]:
    """The largest perfect subtrees that cover the leaves from `first` up to `end`, in order."""
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield level, first >> level
        first += 1 << level


HashOf: TypeAlias = Callable[[int, int], bytes]
"""The hash over the leaves from the first number up to the second (`Span`)."""


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The ranges whose hashes prove that a leaf is in the tree, from the leaf up."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    spans, first, end = [], 0, size
    while end - first > 1:
        middle = first + _half(end - first)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((first, middle))
            first = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """The ranges whose hashes prove that the tree of `old` leaves is the beginning of `new`."""
    if not 0 < old <= new:
        raise ValueError(f"no tree of {old} leaves is the beginning of one of {new}")
    spans, first, end, is_whole = [], 0, new, True
    while old != end:
        middle = first + _half(end - first)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((first, middle))
            first, is_whole = middle, False
    return ([] if is_whole else [(first, end)]) + spans[::-1]


def _half(size: int) -> int:
    """The largest power of two below a size above one."""
    return 1 << (size - 1).bit_length() - 1


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162, section 2.1.3.2; raises BadProof."""
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} is not in a tree of {size}")
    computed = leaf
    for sibling, is_left in _siblings(index, size - 1, path):
        computed = node_hash(sibling, computed) if is_left else node_hash(computed, sibling)
    if computed != root:
        raise BadProof("the path leads to another root")


def check_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """RFC 9162, section 2.1.4.2; raises BadProof."""
    if not 0 < old <= new:
        raise BadProof(f"no tree of {old} leaves is the beginning of one of {new}")
    if old == new:
        if path or old_root != new_root:
            raise BadProof("two trees of one size have two roots")
        return
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not hashes:
        raise BadProof("the path is too short")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = becomes = hashes[0]
    for sibling, is_left in _siblings(node, last, hashes[1:]):
        if is_left:
            was, becomes = node_hash(sibling, was), node_hash(sibling, becomes)
        else:
            becomes = node_hash(becomes, sibling)
    if was != old_root or becomes != new_root:
        raise BadProof("the path leads to another root")


def _siblings(node: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """What a node is hashed with on its way to the root, and whether that stands to its left.

    Nodes are counted from the left, `last` is the last one of the level.
    """
    for sibling in path:
        if last == 0:
            raise BadProof("the path is too long")
        is_left = bool(node & 1) or node == last
        while is_left and node and not node & 1:  # The right edge rises where it has no sibling.
            node, last = node >> 1, last >> 1
        yield sibling, is_left
        node, last = node >> 1, last >> 1
    if last != 0:
        raise BadProof("the path is too short")
