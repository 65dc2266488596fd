"""The queue: what waits for people, what runs out soonest first."""

import hashlib
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from approvals import reviewers
from approvals.desk.filters import TO_DECIDE, Filters, narrowed, order_of
from approvals.desk.keyset import SOONEST, Page, Reach, page_of
from approvals.desk.people import (
    MOST_LOOKED_AT,
    fits,
    owns_keys,
    sees_all,
    share_of,
    visible_to,
    with_arguments,
)
from approvals.desk.pulse import pulse
from approvals.desk.rows import rows_of
from approvals.models import Vote
from audit.models import local_now
from audit.windows import Window
from tools.pages import the_person

READING = ("GET", "HEAD")
ROWS = 50


class QueuePages(Window):
    """The list of held calls, and what tells a browser that it has changed."""

    def get_urls(self) -> list[URLPattern]:
        pulse = self.admin_site.admin_view(self.pulse_view)
        return [path("pulse/", pulse, name="approvals_approval_pulse"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The queue. It shows; deciding has addresses of its own."""
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        person = self._looker(request)
        filters, moment = Filters(request.GET), local_now()
        version = version_of(person, moment)  # Before the rows: what comes between is news then.
        page = asked_page(person, filters, request.GET.get("cursor", ""), moment)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "filters": filters,
            "page": page,
            "rows": rows_of(with_arguments(page.rows), person, moment),
            "share": share_of(person),
            "decides": person.has_perm(reviewers.DECIDE),
            "owns_keys": owns_keys(person),
            "version": version,
            "last_vote": None if page.rows else last_vote(person),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/approvals/queue.html", context)

    def pulse_view(self, request: HttpRequest) -> HttpResponse:
        """`GET …/pulse/`: 304 until what waits is not what it was; then how much waits for whom."""
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        person = self._looker(request)
        version = version_of(person, local_now())
        return pulse(request, version, lambda: {"yours": share_of(person).label})

    def _looker(self, request: HttpRequest) -> User:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return the_person(request)


def asked_page(person: User, filters: Filters, cursor: str, moment: datetime) -> Page:
    """The rows that are asked for."""
    wanted = filters.wanted
    rows, order = narrowed(person, wanted, moment).for_a_list(), order_of(wanted)
    if wanted["whose"] == TO_DECIDE:
        return page_of(rows, order, cursor, Reach(ROWS, MOST_LOOKED_AT), fits(person, moment))
    return page_of(rows, order, cursor, Reach(ROWS, ROWS))


def version_of(person: User, moment: datetime) -> str:
    """A digest of what waits and how it stands, as far as a person sees it: one query."""
    votes = Vote.objects.filter(approval=OuterRef("pk")).order_by().values("approval")
    waiting = visible_to(person).pending().in_time(moment).order_by(*SOONEST)[:MOST_LOOKED_AT]
    told = waiting.values_list(
        "pk", "invocation__digest", Subquery(votes.annotate(cast=Count("pk")).values("cast"))
    )
    return hashlib.sha256(repr([person.pk, *map(str, told)]).encode()).hexdigest()[:32]


def last_vote(person: User) -> Vote | None:
    """The last word that anybody has said, where nothing is left to say; for who sees all."""
    if not sees_all(person):
        return None
    return Vote.objects.select_related("reviewer").order_by("-pk").first()
