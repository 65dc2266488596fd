"""What is unusual about a call: hints for whoever decides, which decide nothing themselves.

Each hint names the number that it rests on. It is compared with what came before the call: a
bounded part of one index each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any

from approvals.desk.evidence import Octets, small
from approvals.models import Invocation
from audit.redaction import REDACTED

WITHIN = timedelta(days=30)
LOOKED_AT = 400
"""Of the tool's and of the caller's calls, how many of the newest are compared with."""
ENOUGH = 20
"""Fewer calls than this have no habits."""
LONGEST_NAME = 80
"""Characters of a text that may name something; a longer one says something."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """One hint: what is odd, and by which number."""

    what: str
    number: str


def oddities(row: Invocation) -> list[Oddity]:
    """Everything unusual about the call."""
    earlier = _arguments_before(row)
    found = [_first_use(row), *_high_numbers(row, earlier), *_new_names(row, earlier)]
    return [odd for odd in [*found, _off_hours(row)] if odd is not None]


def _first_use(row: Invocation) -> Oddity | None:
    mine = Invocation.objects.of_lineage(row.lineage).filter(tool_name=row.tool_name)
    earlier = mine.filter(pk__lt=row.pk).order_by("-id").values("pk")
    if earlier[:1]:  # The order, too, is the index's: without it PostgreSQL may scan the table.
        return None
    return Oddity("First use", f"0 earlier calls of {row.tool_name} by this caller")


def _high_numbers(row: Invocation, earlier: list[dict[str, Any]]) -> Iterator[Oddity]:
    for name, value in row.arguments.items():
        numbers = [given[name] for given in earlier if _is_number(given.get(name))]
        if not _is_number(value) or len(numbers) < ENOUGH:
            continue
        limit = quantiles(numbers, n=20, method="inclusive")[-1]
        if value > limit:
            usual = f"95 % of {len(numbers)} calls in {WITHIN.days} days had {limit:g} at most"
            yield Oddity("High", f"{name} {value:g}; {usual}")


def _new_names(row: Invocation, earlier: list[dict[str, Any]]) -> Iterator[Oddity]:
    """A value that was never given, where values are otherwise given again and again."""
    for name, value in row.arguments.items():
        known = [given[name] for given in earlier if _is_name(given.get(name))]
        if not _is_name(value) or value in known:
            continue
        if len(known) >= ENOUGH and len(set(known)) * 2 <= len(known):
            yield Oddity(
                "New", f"{name} {value}: in none of {len(known)} calls in {WITHIN.days} days"
            )


def _off_hours(row: Invocation) -> Oddity | None:
    """An hour of the day, with the one before and after it, in which the caller never calls."""
    calls = Invocation.objects.of_lineage(row.lineage).filter(pk__lt=row.pk).order_by("-id")
    moments = list(calls.values_list("created_at", flat=True)[:LOOKED_AT])
    hours = [moment.hour for moment in moments if _is_recent(moment, row)]
    hour = row.created_at.hour
    if len(hours) < ENOUGH or any((hour - other + 1) % 24 <= 2 for other in hours):
        return None
    near = f"0 of this caller's {len(hours)} calls in {WITHIN.days} days came near this hour"
    return Oddity("Off hours", f"asked at {row.created_at:%H:%M} UTC; {near}")


def _arguments_before(row: Invocation) -> list[dict[str, Any]]:
    """What the tool was given of late, by anybody."""
    calls = Invocation.objects.filter(tool_name=row.tool_name, pk__lt=row.pk).order_by("-id")
    given = calls.annotate(size=Octets("arguments")).annotate(given=small("arguments"))
    found = given.values_list("created_at", "given")[:LOOKED_AT]
    return [arguments for at, arguments in found if arguments and _is_recent(at, row)]


def _is_recent(moment: datetime, row: Invocation) -> bool:
    return moment >= row.created_at - WITHIN


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and REDACTED not in value
