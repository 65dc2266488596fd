"""The page of figures: what was held, what became of it, how long it took, and who looked how."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse

from approvals.desk import charts
from approvals.desk.history import MOST_COUNTED, history
from approvals.desk.people import sees_all
from approvals.insights import Insights, Outcome, Reviewing, Tally, as_percent, in_words
from audit.models import local_now
from tools.pages import the_person

SPANS = (7, 30, 90)
"""The days that can be looked back."""
USUAL_SPAN = 30
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table: whose it is, its cells by heading, and a bar of what they say."""

    name: str
    cells: dict[str, str | int]
    bar: list[charts.Box]


@dataclass(frozen=True, slots=True)
class Table:
    """Lines, those with the most first, and how many more there are."""

    lines: list[Line]
    left_out: int

    @property
    def headings(self) -> list[str]:
        return list(self.lines[0].cells) if self.lines else []


def insights_page(request: HttpRequest, around: Mapping[str, Any]) -> HttpResponse:
    """`GET /admin/insights/?days=30`: for those who see everybody's calls."""
    if not sees_all(the_person(request)):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    days = _span(request)
    context = {**around, "title": "Insights", "days": days, "spans": SPANS}
    shown = _shown(days, local_now())
    return TemplateResponse(request, "admin/approvals/insights.html", {**context, **shown})


def _span(request: HttpRequest) -> int:
    """The days asked for, if they can be looked back."""
    asked = request.GET.get("days", "")
    return next((days for days in SPANS if str(days) == asked), USUAL_SPAN)


def _shown(days: int, now: datetime) -> dict[str, Any]:
    since = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    found, is_cut = history(since, now)
    total = found.total
    median, slow = total.took.percentiles(50, 95)
    return {
        "since": since,
        "total": total,
        "outcomes": _outcomes(total),
        "approval_rate": as_percent(total.approval_rate),
        "median": in_words(median),
        "slow": in_words(slow),
        "decided": len(total.took),
        "columns": charts.columns(found, since.date(), now.date()),
        "by_day": _by_day(found),
        "spread": _spread(total),
        "tools": _by_tool(found),
        "reviewers": _by_reviewer(found),
        "most_counted": MOST_COUNTED if is_cut else None,
    }


def _outcomes(tally: Tally) -> list[tuple[Outcome, str, int]]:
    return [(outcome, look, tally.outcomes[outcome]) for outcome, look in charts.LOOKS.items()]


def _counted(tally: Tally) -> dict[str, str | int]:
    return {"held": tally.held, **{str(one): tally.outcomes[one] for one in Outcome}}


def _by_day(found: Insights) -> Table:
    days = sorted(found.days.items(), reverse=True)
    return Table([Line(f"{day}", _counted(tally), []) for day, tally in days], 0)


def _spread(tally: Tally) -> list[tuple[str, int, list[charts.Box]]]:
    classes = tally.took.spread()
    most = max(count for _, count in classes)
    return [(name, count, charts.bar([("took", count)], most)) for name, count in classes]


def _by_tool(found: Insights) -> Table:
    ranked = sorted(found.tools.items(), key=lambda pair: (-pair[1].held, pair[0]))
    lines = [Line(name, _of_tool(tally), _tool_bar(tally)) for name, tally in ranked[:MOST_LISTED]]
    return Table(lines, len(ranked) - len(lines))


def _tool_bar(tally: Tally) -> list[charts.Box]:
    return charts.bar(charts.stacked(tally), tally.held)


def _of_tool(tally: Tally) -> dict[str, str | int]:
    median, slow = tally.took.percentiles(50, 95)
    return _counted(tally) | {
        "approval rate": as_percent(tally.approval_rate),
        "median": in_words(median),
        "95th": in_words(slow),
    }


def _by_reviewer(found: Insights) -> Table:
    ranked = sorted(found.reviewers.items(), key=lambda pair: (-pair[1].votes, pair[0]))
    chosen = ranked[:MOST_LISTED]
    people = User.objects.in_bulk([pk for pk, _ in chosen])
    lines = [
        Line(people[pk].get_username(), _of_reviewer(one), _reviewer_bar(one)) for pk, one in chosen
    ]
    return Table(lines, len(ranked) - len(lines))


def _reviewer_bar(one: Reviewing) -> list[charts.Box]:
    return charts.bar([("yes", one.yes), ("no", one.no)], one.votes)


def _of_reviewer(one: Reviewing) -> dict[str, str | int]:
    median, slow = one.after.percentiles(50, 95)
    (looked,) = one.looked.percentiles(50)
    return {
        "votes": one.votes,
        "yes": one.yes,
        "no": one.no,
        "held to vote, median": in_words(median),
        "held to vote, 95th": in_words(slow),
        "shown to vote, median": in_words(looked),
        "under 3\u00a0s": as_percent(one.hasty_share),
        "in bulk": as_percent(one.bulk_share),
        "by way of": ", ".join(f"{way} {count}" for way, count in sorted(one.sources.items())),
    }
