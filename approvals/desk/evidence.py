"""What went before: the caller's last calls of a tool, and what people decided about such calls.

Each is one query that reads a bounded part of one index, whatever the tables hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, F, Func, IntegerField, Q, QuerySet, When

from approvals.desk.looks import badge
from approvals.models import Approval, Invocation
from approvals.serializers import summary
from audit.fields import CanonicalJSONField

MOST_SHOWN = 5
LOOKED_AT = 100
"""Of a tool's approvals, how many of the newest are searched for similar ones."""
SMALL = 4096
"""Octets of arguments that are read to make one line of them; of larger ones none are."""


class Octets(Func):
    """The size of a stored text; neither database reads the text itself to tell."""

    function = "octet_length"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **options: Any) -> Any:
        """Older SQLite has no octet_length."""
        template = "length(CAST(%(expressions)s AS BLOB))"
        return self.as_sql(compiler, connection, template=template, **options)


def small(column: str) -> Case:
    """The JSON of a column where it is small, else nothing."""
    kept = CanonicalJSONField(null=True)
    return Case(When(Q(size__lte=SMALL), then=F(column)), default=None, output_field=kept)


@dataclass(frozen=True, slots=True)
class Past:
    """Something that was asked before, in one sentence."""

    row: Any
    badge: str
    sentence: str
    is_same_caller: bool = True


def last_calls(row: Invocation) -> list[Past]:
    """The caller's last calls of the same tool before this one."""
    earlier = _calls_before(row).filter(lineage=row.lineage, tool_name=row.tool_name)
    return [Past(call, badge(call), _sentence(call, call)) for call in earlier[:MOST_SHOWN]]


def similar_decisions(approval: Approval) -> list[Past]:
    """What people decided about the same tool of late, this caller's calls first."""
    newest: Iterable[Any] = (
        Approval.objects.filter(tool_name=approval.tool_name)
        .select_related("resolved_by", "invocation")
        .defer(*(f"invocation__{column}" for column in LARGE), "terms", "trace")
        .annotate(size=Octets("invocation__arguments"))
        .annotate(given=small("invocation__arguments"))
        .order_by("-id")[:LOOKED_AT]
    )
    lineage = approval.invocation.lineage
    decided = [
        Past(one, badge(one), _sentence(one.invocation, one), one.invocation.lineage == lineage)
        for one in newest
        if one.resolved_by is not None and one.pk != approval.pk
    ]
    return sorted(decided, key=lambda past: not past.is_same_caller)[:MOST_SHOWN]


LARGE = (
    "arguments", "arguments_sealed", "result", "result_sealed", "modifications", "metadata",
    "progress", "error",
)  # fmt: skip
"""Columns that may hold mebibytes, and that no list needs."""


def _calls_before(row: Invocation) -> QuerySet[Invocation]:
    """Calls that came before it, newest first, with small arguments and nothing large."""
    return (
        Invocation.objects.filter(pk__lt=row.pk)
        .defer(*LARGE)
        .annotate(size=Octets("arguments"))
        .annotate(given=small("arguments"))
        .order_by("-id")
    )


def _sentence(row: Invocation, found: Any) -> str:
    """What was asked for; where the arguments were not read, no template is filled with gaps."""
    if found.given is None:
        return f"{row.actor} called {row.tool_name} (arguments too long to show here)"
    row.arguments = found.given
    return summary(row)
