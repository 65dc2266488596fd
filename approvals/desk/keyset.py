"""Pages of a list by key: nothing is counted, and a row that comes or goes shifts no page."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Field, Q

from approvals.models import Approval, ApprovalQuerySet
from tools.models import know_people

Fits = Callable[[Approval], bool]
Order = tuple[str, ...]
"""Columns, the last one unique; `-` before those that fall."""

SOONEST: Order = ("expires_at", "id")
GRAVEST: Order = ("-risk", "expires_at", "id")
NEWEST: Order = ("-id",)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and the cursors of the pages beside it."""

    rows: list[Approval]
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """How many rows a page shows, and how many are looked at to find those that fit."""

    size: int
    looked_at: int


def page_of(
    rows: ApprovalQuerySet, order: Order, cursor: str, reach: Reach, fits: Fits = lambda row: True
) -> Page:
    """The page that a cursor points to; without one, the first."""
    if not cursor:
        return _forwards(rows, order, None, reach, fits)
    backwards, values = _decoded(cursor, order)
    if not backwards:
        return _forwards(rows, order, values, reach, fits)
    kept, rest = _taken(rows, _turned(order), values, reach, fits)
    if rest is None:  # The beginning: show it whole, not what is left before the old page.
        return _forwards(rows, order, None, reach, fits)
    kept.reverse()
    after = _encoded("after", order, kept[-1]) if kept else ""
    return Page(kept, before=_encoded("before", order, rest), after=after)


def _forwards(
    rows: ApprovalQuerySet, order: Order, values: list[Any] | None, reach: Reach, fits: Fits
) -> Page:
    kept, rest = _taken(rows, order, values, reach, fits)
    return Page(
        kept,
        before=_encoded("before", order, kept[0]) if values and kept else "",
        after=_encoded("after", order, rest) if rest else "",
    )


def _taken(
    rows: ApprovalQuerySet, order: Order, values: list[Any] | None, reach: Reach, fits: Fits
) -> tuple[list[Approval], Approval | None]:
    """The rows that fit, and the last one looked at if others follow it."""
    if values is not None:
        rows = rows.filter(_beyond(order, values))
    found = list(rows.order_by(*order)[: reach.looked_at + 1])
    know_people(row.invocation.key for row in found)
    kept: list[Approval] = []
    for number, row in enumerate(found[: reach.looked_at]):
        if fits(row):
            kept.append(row)
        if len(kept) == reach.size:
            return kept, row if number + 1 < len(found) else None
    return kept, found[reach.looked_at - 1] if len(found) > reach.looked_at else None


def _beyond(order: Order, values: list[Any]) -> Q:
    """The rows after these values; the bound on the first column is what an index can use."""
    (name, further), first = _compared(order[0]), values[0]
    if len(order) == 1:
        return Q(**{f"{name}__{further}": first})
    later = Q(**{name: first}) & _beyond(order[1:], values[1:])
    return Q(**{f"{name}__{further}e": first}) & (Q(**{f"{name}__{further}": first}) | later)


def _compared(column: str) -> tuple[str, str]:
    return (column[1:], "lt") if column.startswith("-") else (column, "gt")


def _turned(order: Order) -> Order:
    return tuple(column[1:] if column.startswith("-") else f"-{column}" for column in order)


def _encoded(side: str, order: Order, row: Approval) -> str:
    texts = [str(getattr(row, _compared(column)[0])) for column in order]
    return base64.urlsafe_b64encode(json.dumps([side, *texts]).encode()).decode()


def _decoded(cursor: str, order: Order) -> tuple[bool, list[Any]]:
    """Whether it points backwards, and the values from which it goes on."""
    try:
        side, *texts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if side not in ("before", "after") or len(texts) != len(order):
            raise ValueError
        return side == "before", list(_values(order, texts))
    except (ValueError, TypeError, OverflowError, RecursionError, ValidationError):
        raise BadRequest("this cursor was not given out here") from None


def _values(order: Order, texts: list[str]) -> Iterator[Any]:
    for column, text in zip(order, texts, strict=True):
        field = cast("Field[Any, Any]", Approval._meta.get_field(_compared(column)[0]))
        value = field.to_python(text)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError
            value = value.astimezone(timezone.utc)
        yield value
