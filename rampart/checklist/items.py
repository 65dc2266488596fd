"""One line of the checklist: who looks, what is found, and what mends it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

MOST_NAMED = 5


class Verdict(StrEnum):
    """What is said of one line."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_APPLICABLE = "N-A"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check has found, and, where it fails, what to do about it."""

    verdict: Verdict
    finding: str
    fix: str = ""


Check = Callable[[], Judgement]


def passes(finding: str) -> Judgement:
    """All is as it should be."""
    return Judgement(Verdict.PASS, finding)


def fails(finding: str, *, fix: str) -> Judgement:
    """Something is not, and this mends it."""
    return Judgement(Verdict.FAIL, finding, fix)


def does_not_apply(why: str) -> Judgement:
    """There is nothing here that the check is about."""
    return Judgement(Verdict.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is printed; `docs` is a path in the repository."""

    id: str
    title: str
    status: Verdict
    finding: str
    fix: str
    docs: str


@dataclass(frozen=True, slots=True)
class Item:
    """A check with its name."""

    id: str
    title: str
    docs: str
    check: Check

    def line(self) -> Line:
        """Look now."""
        found = self.check()
        return Line(self.id, self.title, found.verdict, found.finding, found.fix, self.docs)


items: list[Item] = []


def item(id: str, title: str, *, docs: str) -> Callable[[Check], Check]:
    """Put a check on the list."""

    def register(check: Check) -> Check:
        items.append(Item(id, title, docs, check))
        return check

    return register


def run() -> list[Line]:
    """Every line, in order. Database errors pass through."""
    return [each.line() for each in items]


def named(names: Iterable[str], between: str = ", ") -> str:
    """The first few names or sentences, and how many more there are."""
    known = list(names)
    shown = between.join(known[:MOST_NAMED])
    return shown if len(known) <= MOST_NAMED else f"{shown} and {len(known) - MOST_NAMED} more"
