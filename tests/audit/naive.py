"""RFC 9162, section 2.1, as it is defined: recursive, slow, and nothing else's words."""

import hashlib
from collections.abc import Sequence

Hashes = Sequence[bytes]
"""Of leaves."""


def root(leaves: Hashes) -> bytes:
    """MTH."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def path(index: int, leaves: Hashes) -> list[bytes]:
    """PATH."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), root(leaves[k:])]
    return [*path(index - k, leaves[k:]), root(leaves[:k])]


def proof(size: int, leaves: Hashes) -> list[bytes]:
    """PROOF."""
    return _subproof(size, leaves, True)


def _subproof(size: int, leaves: Hashes, is_whole: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if is_whole else [root(leaves)]
    k = split(len(leaves))
    if size <= k:
        return [*_subproof(size, leaves[:k], is_whole), root(leaves[k:])]
    return [*_subproof(size - k, leaves[k:], False), root(leaves[:k])]


def split(size: int) -> int:
    """The largest power of two that is smaller."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k
