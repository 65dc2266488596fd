"""Several calls decided at once: exactly those that were shown, and each for itself."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from approvals import deciding, reviewers
from approvals.desk.rows import why_not_in_bulk
from approvals.forms import SaidForm
from approvals.models import Approval
from approvals.reviewers import Reason
from approvals.serializers import arguments_in_order, summary
from approvals.transitions import Said
from audit.windows import Window
from tools.pages import the_person

MOST = 50
ITEM = re.compile(r"([0-9a-f-]{36}):([0-9a-f]{64})", re.ASCII)
GONE = Reason("not_found", "There is no such call.")


@dataclass(frozen=True, slots=True)
class Ticked:
    """A call and the digest of what was shown of it."""

    approval_id: UUID
    digest: str

    def __str__(self) -> str:
        return f"{self.approval_id}:{self.digest}"


@dataclass(frozen=True, slots=True)
class Line:
    """What is told of one of them."""

    item: Ticked
    approval: Approval | None
    is_good: bool
    told: str = ""

    @property
    def sentence(self) -> str:
        """What the call wants."""
        return summary(self.approval.invocation) if self.approval else str(self.item.approval_id)

    @property
    def arguments(self) -> dict[str, Any]:
        """With what."""
        return arguments_in_order(self.approval.invocation) if self.approval else {}


class BulkForm(SaidForm):
    """The two texts that go with every decision of the batch."""

    def said_enough(self, verb: str, lines: list[Line]) -> bool:
        """Whether the texts are valid, and nothing more has to be said to do this."""
        if not self.is_valid():
            return False
        said = Said(**self.cleaned_data)
        if verb == "reject" and not said.reason_to_agent.strip():
            self.add_error("reason_to_agent", "Say why: the agents are told.")
        wants_a_word = any(line.approval and line.approval.agreed.reason_required for line in lines)
        if verb == "approve" and wants_a_word and not said.has_reason:
            self.add_error("note", "Say why: a rule asks for a word about some of these.")
        return not self.errors


class BulkPages(Window):
    """The page that lists what was ticked, and the buttons that decide it."""

    def get_urls(self) -> list[URLPattern]:
        views = {"": self.confirm_view, "approve/": self.approve_all, "reject/": self.reject_all}
        own = [
            path(
                f"bulk/{end}",
                self.admin_site.admin_view(view),
                name="_".join(filter(None, ("approvals_approval_bulk", end.rstrip("/")))),
            )
            for end, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def confirm_view(self, request: HttpRequest) -> HttpResponse:
        """`POST …/bulk/`: shows again what was ticked, and asks. Nothing is decided yet."""
        if (refused := self._refused(request)) is not None:
            return refused
        lines = [_looked_at(request, item) for item in ticked(request.POST)]
        if not lines:
            messages.warning(request, "Tick the calls first.")
            return redirect("admin:approvals_approval_changelist")
        return self._confirm(request, lines, BulkForm())

    def approve_all(self, request: HttpRequest) -> HttpResponse:
        """`POST …/bulk/approve/`."""
        return self._decide(request, "approve", deciding.approve)

    def reject_all(self, request: HttpRequest) -> HttpResponse:
        """`POST …/bulk/reject/`."""
        return self._decide(request, "reject", deciding.reject)

    def _decide(
        self,
        request: HttpRequest,
        verb: str,
        decide: Callable[..., deciding.Decided | deciding.Undecided],
    ) -> HttpResponse:
        if (refused := self._refused(request)) is not None:
            return refused
        items, form = ticked(request.POST), BulkForm(request.POST)
        shown = [_looked_at(request, item) for item in items]
        if not form.said_enough(verb, shown):
            return self._confirm(request, shown, form, HTTPStatus.UNPROCESSABLE_ENTITY)
        said = Said(
            **form.cleaned_data,
            request_id=getattr(request, "request_id", ""),
            source="admin",
            in_bulk=True,
        )
        lines = [_decided(request, item, decide, said) for item in items]
        return self._report(request, verb, lines)

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        """An answer to whoever may not do this at all, or not like this."""
        if not the_person(request).has_perm(reviewers.DECIDE):
            raise PermissionDenied
        return None if request.method == "POST" else HttpResponseNotAllowed(["POST"])

    def _confirm(
        self,
        request: HttpRequest,
        lines: list[Line],
        form: BulkForm,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:
        context = self._context(request, "Decide together", lines) | {"form": form}
        template = "admin/approvals/bulk.html"
        return TemplateResponse(request, template, context, status=status)

    def _report(self, request: HttpRequest, verb: str, lines: list[Line]) -> HttpResponse:
        title = "Approved together" if verb == "approve" else "Rejected together"
        context = self._context(request, title, lines)
        return TemplateResponse(request, "admin/approvals/bulk_done.html", context)

    def _context(self, request: HttpRequest, title: str, lines: list[Line]) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "lines": [line for line in lines if line.is_good],
            "left_out": [line for line in lines if not line.is_good],
        }


def ticked(posted: QueryDict) -> list[Ticked]:
    """The items that were posted, each once; BadRequest if no page of ours posts such."""
    items = dict.fromkeys(_items(posted.getlist("item")))
    if len(items) > MOST:
        raise BadRequest(f"no more than {MOST} calls are decided together")
    return list(items)


def _items(texts: list[str]) -> Iterator[Ticked]:
    for text in texts:
        match = ITEM.fullmatch(text)
        try:
            yield Ticked(UUID(match[1]), match[2]) if match else _malformed()
        except ValueError:
            _malformed()


def _malformed() -> Ticked:
    raise BadRequest("an item is an approval's id and the digest that was shown")


def _found(item: Ticked) -> Approval | None:
    return Approval.objects.with_everything().filter(pk=item.approval_id).first()


def _looked_at(request: HttpRequest, item: Ticked) -> Line:
    """Whether this one can be decided with others as it was shown; else why not."""
    approval = _found(item)
    refused = GONE if approval is None else _unfit(request, item, approval)
    return Line(item, approval, is_good=refused is None, told=refused.sentence if refused else "")


def _unfit(request: HttpRequest, item: Ticked, approval: Approval) -> Reason | None:
    return (
        reviewers.why_not(approval, the_person(request))
        or deciding.seen_otherwise(approval, item.digest)
        or why_not_in_bulk(approval)
    )


def _decided(
    request: HttpRequest,
    item: Ticked,
    decide: Callable[..., deciding.Decided | deciding.Undecided],
    said: Said,
) -> Line:
    """Decide one, in a transaction of its own, and tell what became of it."""
    approval, person = _found(item), the_person(request)
    if approval is None:
        return Line(item, None, is_good=False, told=GONE.sentence)
    single = why_not_in_bulk(approval)
    outcome = (
        deciding.refuse(approval, person, single, said)
        if single
        else decide(approval, person, said, expected_digest=item.digest)
    )
    if isinstance(outcome, deciding.Undecided):
        return Line(item, outcome.approval, is_good=False, told=outcome.sentence)
    still = f"it needs {outcome.lacking} more" if outcome.lacking else ""
    return Line(item, outcome.approval, is_good=True, told=still)
