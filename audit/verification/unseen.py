"""Which leaves an export does not show, and which of them a signed line accounts for.

Both are kept as runs of leaves, and no more of them than fit in a little memory: beyond, a leaf is
only said not to be shown.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

from audit.notes import Verifier
from audit.prunings import Leaves
from audit.verification.pruned import apart
from audit.verification.trust import Trust

MOST_RUNS = 2**20
Run = tuple[int, int]
"""A first and a last leaf."""


class Unseen:
    """The gaps between the lines as they pass by, and what the lines say was pruned."""

    def __init__(self) -> None:
        self.gaps = array("Q")
        self.gone: dict[tuple[Verifier, ...], array[int]] = {}

    def skip(self, first: int, end: int) -> None:
        """The leaves from `first` up to `end` are not shown."""
        if first < end:
            _add(self.gaps, [(first, end - 1)])

    def tell(self, leaves: Leaves, signers: tuple[Verifier, ...]) -> None:
        """These have signed that the events of these leaves are gone."""
        _add(self.gone.setdefault(signers, array("Q")), [(first, last) for first, last in leaves])

    def pruned(self, trust: Trust) -> int:
        """How many of the leaves that are not shown are gone by the word of a known key."""
        runs = [
            [first, last]
            for signers, told in self.gone.items()
            if trust.vouches_for(signers)
            for first, last in _runs(told)
        ]
        return _common(_runs(self.gaps), apart(runs))


def _add(runs: "array[int]", new: Sequence[Run]) -> None:
    if len(runs) // 2 + len(new) <= MOST_RUNS:
        runs.extend(array("Q", [leaf for run in new for leaf in run]))


def _runs(flat: "array[int]") -> Iterator[Run]:
    return zip(flat[::2], flat[1::2], strict=True)


def _common(gaps: Iterable[Run], gone: Leaves) -> int:
    """How many leaves are in both; each is in order and its runs are apart."""
    count, at = 0, 0
    for first, last in gaps:
        while at < len(gone) and gone[at][1] < first:
            at += 1
        ahead = at
        while ahead < len(gone) and gone[ahead][0] <= last:
            count += min(last, gone[ahead][1]) - max(first, gone[ahead][0]) + 1
            ahead += 1
        at = max(at, ahead - 1)
    return count
