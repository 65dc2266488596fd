"""Small charts as rectangles in a box of 100 by 100, which the page stretches. Pure.

The looks are classes, so that light and dark come with the page's own colours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from approvals.insights import Insights, Outcome, Tally

LOOKS: dict[Outcome, str] = {
    Outcome.APPROVED: "yes", Outcome.REJECTED: "no", Outcome.EXPIRED: "lapsed",
    Outcome.CANCELLED: "gone", Outcome.VOID: "gone", Outcome.WAITING: "open",
}  # fmt: skip
"""The class of each outcome's rectangle, in the order in which they are stacked."""
GAP = 0.2
"""The share of a column's place that stays free."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in hundredths of the chart."""

    look: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Columns:
    """A column of stacked outcomes a day."""

    boxes: list[Box]
    highest: int
    first: date
    last: date


def box(look: str, x: float, y: float, width: float, height: float) -> Box:
    """A rectangle, its figures short."""
    return Box(look, *(f"{figure:.3f}".rstrip("0").rstrip(".") for figure in (x, y, width, height)))


def days_between(first: date, last: date) -> list[date]:
    """Each day, both ends included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def columns(insights: Insights, first: date, last: date) -> Columns:
    """What was held on each day, stacked by what became of it."""
    days = days_between(first, last)
    tallies = [insights.days.get(day, Tally()) for day in days]
    highest = max(tally.held for tally in tallies)
    place = 100 / len(days)
    boxes: list[Box] = []
    for number, tally in enumerate(tallies):
        foot = 100.0
        for look, count in stacked(tally):
            height = 100 * count / highest
            foot -= height
            boxes.append(box(look, (number + GAP / 2) * place, foot, place * (1 - GAP), height))
    return Columns(boxes, highest, first, last)


def bar(parts: Iterable[tuple[str, int]], whole: int) -> list[Box]:
    """One bar, its parts side by side; `whole` is what the full length stands for."""
    boxes: list[Box] = []
    x = 0.0
    for look, count in parts:
        width = 100 * count / whole if whole else 0
        boxes.append(box(look, x, 0, width, 100))
        x += width
    return boxes


def stacked(tally: Tally) -> Sequence[tuple[str, int]]:
    """The counts of the outcomes that there were, each with its look."""
    counted = [(look, tally.outcomes[outcome]) for outcome, look in LOOKS.items()]
    return [(look, count) for look, count in counted if count]
