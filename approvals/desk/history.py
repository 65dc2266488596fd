"""Held calls and votes of the last days, read for their figures."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Func, Max, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import TruncDate
from django.db.models.sql.compiler import SQLCompiler

from approvals.insights import CastVote, HeldCall, Insights, Outcome, figures
from approvals.models import Approval, Vote
from approvals.states import ApprovalStatus, Verdict
from audit.models import first_id_at

MOST_COUNTED = 100_000
"""A page is no place for more; of a longer history the newest are counted."""
CLOCKS_APART = timedelta(hours=1)
"""By how much the clock that made an id may be ahead of the database's."""
ROWS_AT_ONCE = 5_000

Within = dict[str, UUID | datetime]
"""Which approvals, as conditions on their columns."""

_A = ApprovalStatus
_OUTCOMES: dict[str, Outcome] = {
    _A.PENDING: Outcome.WAITING, _A.REJECTED: Outcome.REJECTED, _A.EXPIRED: Outcome.EXPIRED,
    _A.CANCELLED: Outcome.CANCELLED, _A.VOID: Outcome.VOID,
}  # fmt: skip
_CLOSED = (_A.EXPIRED, _A.CANCELLED, _A.VOID)


class Microseconds(Func):
    """A stored time as a whole number, which databases make faster than we read their times."""

    arity = 1
    output_field = BigIntegerField()

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[str | int, ...]]:
        template = "(EXTRACT(EPOCH FROM %(expressions)s) * 1000000)::bigint"
        return super().as_sql(compiler, connection, template=template)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        seconds = "strftime('%%%%s', substr(%(expressions)s, 1, 19)) * 1000000"
        rest = "substr(%(expressions)s || '.000000', 21, 6)"
        return super().as_sql(compiler, connection, template=f"({seconds} + {rest})")


class History(NamedTuple):
    """The figures, and whether there was more than could be counted."""

    insights: Insights
    is_cut: bool


def history(since: datetime, until: datetime) -> History:
    """The figures of what was held in this time, and of the votes about it."""
    within: Within = {
        "pk__gte": first_id_at(since - CLOCKS_APART),
        "requested_at__gte": since,
        "requested_at__lte": until,
    }
    newest = Approval.objects.filter(**within).order_by("-pk").values_list("pk", flat=True)
    last = list(newest[MOST_COUNTED - 1 : MOST_COUNTED + 1])
    if is_cut := len(last) > 1:
        within["pk__gte"] = last[0]
    return History(figures(_calls(within), _votes(within)), is_cut)


def _calls(within: Within) -> Iterator[HeldCall]:
    """Of an approval that was never used the decision was the last vote, not the end."""
    held = Approval.objects.filter(**within)
    unused = Q(status__in=_CLOSED, resolved_by__isnull=False)
    said = held.filter(unused).annotate(last=Max("votes__at"))
    ends = ((held.exclude(unused), "resolved_at", False), (said, "last", True))
    for rows, end, is_unused in ends:
        found = rows.order_by().annotate(day=TruncDate("requested_at"), took=_since_held(end))
        columns = found.values_list("tool_name", "day", "status", "resolved_by_id", "took")
        for tool, day, status, decided_by, took in columns.iterator(ROWS_AT_ONCE):
            outcome = Outcome.APPROVED if is_unused else _OUTCOMES.get(status, Outcome.APPROVED)
            is_timed = decided_by is not None and took is not None
            yield HeldCall(tool, day, outcome, is_unused, took // 1000 if is_timed else None)


def _votes(within: Within) -> Iterator[CastVote]:
    said = Vote.objects.filter(**{f"approval__{name}": value for name, value in within.items()})
    after = Microseconds("at") - Microseconds("approval__requested_at")
    looked = Microseconds("at") - Microseconds("shown_at")
    votes = said.annotate(after=after, looked=looked)
    columns = ("reviewer_id", "verdict", "after", "looked", "in_bulk", "source")
    rows = votes.order_by().values_list(*columns).iterator(ROWS_AT_ONCE)
    for reviewer, verdict, waited, seen, in_bulk, source in rows:
        looked_for = None if seen is None else seen // 1000
        yield CastVote(
            reviewer, verdict == Verdict.APPROVE, waited // 1000, looked_for, in_bulk, source
        )


def _since_held(end: str) -> CombinedExpression:
    return Microseconds(end) - Microseconds("requested_at")
