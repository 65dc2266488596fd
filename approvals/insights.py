"""What became of held calls, how long people took, and how they looked: figures of plain records.

Pure, so that both databases give the same: percentiles are by nearest rank, the smallest value
that at least so many in a hundred don't exceed. docs/explanation/insights.md defines each figure.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import NamedTuple

HASTY = 3_000
"""Whoever answers within so many milliseconds of being shown a call has hardly read it."""

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
SPREAD = (
    (_MINUTE, "under 1 min"),
    (5 * _MINUTE, "1 to 5 min"),
    (15 * _MINUTE, "5 to 15 min"),
    (_HOUR, "15 to 60 min"),
    (4 * _HOUR, "1 to 4 h"),
    (_DAY, "4 to 24 h"),
)
"""Up to where each class of times to decide reaches, and its name."""
BEYOND = "a day or more"


class Outcome(StrEnum):
    """What became of a held call; each has exactly one."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    VOID = "void"
    WAITING = "waiting"


class HeldCall(NamedTuple):
    """One held call."""

    tool: str
    day: date
    outcome: Outcome
    is_unused: bool
    """Approved, and yet it never ran."""
    took: int | None
    """Milliseconds from the hold to the decision; None where people decided nothing."""


class CastVote(NamedTuple):
    """One vote."""

    reviewer: int
    is_yes: bool
    after: int
    """Milliseconds since the call was held."""
    looked: int | None
    """Milliseconds since the page was shown on which it was said; None if there was no page."""
    in_bulk: bool
    source: str


class Times:
    """Lengths of time in milliseconds, eight bytes each."""

    def __init__(self) -> None:
        self._all = array("q")

    def __len__(self) -> int:
        return len(self._all)

    def add(self, milliseconds: int) -> None:
        """One more; clocks that disagree make no negative one."""
        self._all.append(max(0, milliseconds))

    def percentiles(self, *percents: int) -> list[int | None]:
        """The values at these ranks; None of nothing."""
        ordered = sorted(self._all)
        return [nearest_rank(ordered, percent) for percent in percents]

    def spread(self) -> list[tuple[str, int]]:
        """How many lie in each class."""
        counted = Counter(_class_of(one) for one in self._all)
        return [(name, counted[name]) for name in (*(name for _, name in SPREAD), BEYOND)]


def nearest_rank(ordered: Sequence[int], percent: int) -> int | None:
    """The smallest value that at least so many percent of all don't exceed."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _class_of(milliseconds: int) -> str:
    return next((name for end, name in SPREAD if milliseconds < end), BEYOND)


@dataclass
class Tally:
    """What became of some held calls."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    unused: int = 0
    took: Times = field(default_factory=Times)

    def add(self, call: HeldCall) -> None:
        self.outcomes[call.outcome] += 1
        self.unused += call.is_unused
        if call.took is not None:
            self.took.add(call.took)

    @property
    def held(self) -> int:
        return self.outcomes.total()

    @property
    def approval_rate(self) -> float | None:
        """Of those that people decided, the share that they approved."""
        yes, no = self.outcomes[Outcome.APPROVED], self.outcomes[Outcome.REJECTED]
        return share(yes, yes + no)


@dataclass
class Reviewing:
    """How one person votes."""

    yes: int = 0
    no: int = 0
    after: Times = field(default_factory=Times)
    looked: Times = field(default_factory=Times)
    hasty: int = 0
    in_bulk: int = 0
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, vote: CastVote) -> None:
        self.yes += vote.is_yes
        self.no += not vote.is_yes
        self.after.add(vote.after)
        self.in_bulk += vote.in_bulk
        self.sources[vote.source or "unknown"] += 1
        if vote.looked is not None:
            self.looked.add(vote.looked)
            self.hasty += vote.looked < HASTY

    @property
    def votes(self) -> int:
        return self.yes + self.no

    @property
    def hasty_share(self) -> float | None:
        """Of the votes whose page is known, the share that came at once."""
        return share(self.hasty, len(self.looked))

    @property
    def bulk_share(self) -> float | None:
        return share(self.in_bulk, self.votes)


@dataclass
class Insights:
    """All figures of a span."""

    total: Tally = field(default_factory=Tally)
    tools: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    days: defaultdict[date, Tally] = field(default_factory=lambda: defaultdict(Tally))
    reviewers: defaultdict[int, Reviewing] = field(default_factory=lambda: defaultdict(Reviewing))


def figures(calls: Iterable[HeldCall], votes: Iterable[CastVote]) -> Insights:
    """Count, in one pass over each."""
    found = Insights()
    for call in calls:
        for tally in (found.total, found.tools[call.tool], found.days[call.day]):
            tally.add(call)
    for vote in votes:
        found.reviewers[vote.reviewer].add(vote)
    return found


def share(part: int, whole: int) -> float | None:
    """A part of a whole; None of nothing."""
    return part / whole if whole else None


def as_percent(part: float | None) -> str:
    """`85 %`; a dash where there is nothing to divide. Only all is 100 %, and only none is 0 %."""
    if part is None:
        return "–"
    return f"{part:.0%}".replace("%", " %") if part in (0, 1) else f"{_within(part)} %"


def _within(part: float) -> int:
    return min(99, max(1, round(part * 100)))


def in_words(milliseconds: int | None) -> str:
    """`0.4 s`, `42 s`, `4 min`, `2 h 5 min`, `3 d 4 h`; a dash for None."""
    if milliseconds is None:
        return "–"
    if milliseconds < 10 * _SECOND:
        return f"{milliseconds // 100 / 10:.1f} s"
    if milliseconds < _MINUTE:
        return f"{milliseconds // _SECOND} s"
    if milliseconds < _HOUR:
        return f"{milliseconds // _MINUTE} min"
    if milliseconds < _DAY:
        return _two(milliseconds, (_HOUR, "h"), (_MINUTE, "min"))
    return _two(milliseconds, (_DAY, "d"), (_HOUR, "h"))


def _two(milliseconds: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    whole, rest = divmod(milliseconds, large[0])
    part = rest // small[0]
    return f"{whole} {large[1]}" + (f" {part} {small[1]}" if part else "")
