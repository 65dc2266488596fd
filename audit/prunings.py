"""What retention has taken: signed, so that nobody without the key can pass a theft off as it.

The line `ledger:pruned` holds the leaves whose events are gone and a signed note over them; the
note's text is `<origin>/pruned` and the canonical JSON of the leaves, each on its line.
"""

from collections.abc import Sequence
from typing import Any

from audit import checkpoints, notes
from audit.canonical import canonical_text
from audit.notes import BadNote, Verifier

Leaves = list[list[int]]
"""Pairs of a first and a last leaf, both included, ascending and apart."""


class NoKey(Exception):
    """RAMPART_CHECKPOINT_KEY is not set: nobody could prove what was pruned."""


def statement(origin: str, leaves: Leaves) -> str:
    return f"{origin}/pruned\n{canonical_text(leaves)}\n"


def signed(origin: str, leaves: Leaves) -> str:
    """The note over these leaves; raises NoKey."""
    signers = checkpoints.signers(origin)
    if not signers:
        raise NoKey
    return notes.sign(statement(origin, leaves), signers)


def pruned_leaves(origin: str, metadata: Any, verifiers: Sequence[Verifier]) -> Leaves:
    """The leaves that a line says are gone; BadNote unless a known key has signed just that."""
    try:
        leaves, note = metadata["leaves"], metadata["note"]
        text = notes.read(note, verifiers).text
    except (KeyError, TypeError, AttributeError):
        raise BadNote("it has no leaves or no note") from None
    if text != statement(origin, leaves):
        raise BadNote("its note is about something else")
    return [[first, last] for first, last in leaves]


def runs(indexes: Sequence[int]) -> Leaves:
    """Ascending leaf indexes as pairs of first and last."""
    found: Leaves = []
    for index in indexes:
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return found
