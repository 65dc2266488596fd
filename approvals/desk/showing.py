"""The page of one held call, as everybody sees it who may look."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from approvals import deciding, forms, reviewers, transitions
from approvals.deciding import Undecided
from approvals.desk.cancelling import may_cancel
from approvals.desk.evidence import last_calls, similar_decisions
from approvals.desk.looks import badge, effect_badges, risk_badge, stages_of, timeline_of
from approvals.desk.people import sees_all
from approvals.desk.rows import stuck_after
from approvals.desk.unusual import oddities
from approvals.forms import DecisionForm
from approvals.models import Approval, Invocation, Preset
from approvals.results import undecided_status
from approvals.reviewers import Reason
from approvals.serializers import arguments_in_order, summary
from approvals.transitions import Said
from audit.models import local_now
from audit.plain_text import visible
from audit.sheets import FOLD_ABOVE, pretty
from audit.windows import Window
from tools import registry, step_up
from tools.pages import badge as sign_badge
from tools.pages import the_person

READING = ("GET", "HEAD")
FOR_GOOD = ("expired", "already_decided")
"""Why nobody decides a call any more."""


class CallWindow(Window):
    """One call to look at; the ways to decide it are added to this."""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of one call. It shows; deciding has addresses of its own."""
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        return self.page(request, self.found(request, object_id))

    def raw_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`GET …/raw/`: the arguments as JSON, character for character, to copy or to keep."""
        if request.method not in READING:
            return HttpResponseNotAllowed(READING)
        approval = self.found(request, object_id)
        text = pretty(arguments_in_order(approval.invocation))
        answer = HttpResponse(text, content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="{approval.pk}.json"'
        return answer

    def found(self, request: HttpRequest, object_id: str) -> Approval:
        """The call of this address, for somebody who may look at it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        approval: Approval | None = self.get_object(request, unquote(object_id))
        if approval is None:
            raise Http404
        return approval

    def undecided(self, request: HttpRequest, outcome: Undecided) -> HttpResponse:
        """The page as it stands now, with the reason on top and nothing lost that was typed."""
        messages.error(request, outcome.sentence)
        approval = deciding.fresh_approval(outcome.approval.pk)
        form = DecisionForm(initial=_written(request, approval), approval=approval)
        return self.page(request, approval, form, HTTPStatus(undecided_status(outcome.code)))

    def page(
        self,
        request: HttpRequest,
        approval: Approval,
        form: DecisionForm | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:
        """The page itself, with the form as it was filled in if it was."""
        row, person = approval.invocation, the_person(request)
        initial = _fresh(approval, person)
        context = {
            **self.admin_site.each_context(request),
            **_call(approval),
            **_evidence(approval, person),
            **_decision(request, approval),
            "opts": self.opts,
            "form": form or DecisionForm(initial=initial, approval=approval),
            "timeline": timeline_of(row),
        }
        return TemplateResponse(request, "admin/approvals/approval.html", context, status=status)


def said_in(request: HttpRequest, given: dict[str, Any], **more: Any) -> Said:
    """What was said on the page, and that it was said there."""
    return Said(
        note=given.get("note", ""),
        reason_to_agent=given.get("reason_to_agent", ""),
        request_id=getattr(request, "request_id", ""),
        source="admin",
        **more,
    )


def may_remind(refused: Reason | None) -> bool:
    """Whether it helps to remind others: this person can't decide, and somebody still may."""
    return refused is not None and refused.code not in FOR_GOOD


def address(approval: Approval) -> str:
    """Where its page is."""
    return reverse("admin:approvals_approval_change", args=[approval.pk])


def sentence(approval: Approval) -> str:
    """What it is about, for a message or a title."""
    return visible(summary(approval.invocation))


def _fresh(approval: Approval, person: User) -> dict[str, str]:
    """What binds a form to what is shown now, and to whom and when."""
    return {
        "expected_digest": approval.invocation.digest,
        "shown": forms.shown_token(approval, person, transitions.now()),
    }


def _written(request: HttpRequest, approval: Approval) -> dict[str, str]:
    """What was posted, bound to what is shown now; it counts as seen since it was first seen."""
    written = request.POST.dict()
    has_seen_this = written.get("expected_digest") == approval.invocation.digest
    if has_seen_this:
        return written
    return {**written, "typed": "", **_fresh(approval, the_person(request))}


def _call(approval: Approval) -> dict[str, Any]:
    """The call: what it wants, what it would do, why it is held."""
    row = approval.invocation
    arguments = arguments_in_order(row)
    raw = pretty(arguments)
    return {
        "title": sentence(approval),
        "approval": approval,
        "row": row,
        "sentence": summary(row),
        "arguments": arguments,
        "raw": raw if len(raw) <= FOLD_ABOVE else "",
        "seconds_left": int((approval.expires_at - local_now()).total_seconds()),
        "badge": badge(approval),
        "call_badge": badge(row),
        "risk": risk_badge(approval),
        "effects": [*effect_badges(row), *_reach_badges(row)],
    }


def _reach_badges(row: Invocation) -> Iterator[SafeString]:
    """What the call would be given when it runs; a tool that has changed since runs no more."""
    tool = registry.loaded().get(row.tool_name)
    if tool is None or tool.schema_hash != row.tool_version.schema_hash:
        return
    for name in tool.secrets:
        yield sign_badge("waiting", "⚿", f"is given {name}")
    if grants := tool.grants:
        reach = ["network"] if grants.network else []
        reach += [f"reads {path}" for path in grants.read]
        reach += [f"writes {path}" for path in grants.write]
        yield sign_badge("over", "▣", f"jailed: {', '.join(reach) or 'reaches nothing'}")


def _evidence(approval: Approval, person: User) -> dict[str, Any]:
    """What went before, and what is odd about it while somebody may still decide.

    The owner of a key sees that key's calls; what others asked for is for those who see them all.
    """
    row, sees_others = approval.invocation, sees_all(person)
    return {
        "oddities": oddities(row) if sees_others and approval.is_pending else [],
        "last_calls": last_calls(row),
        "similar": similar_decisions(approval) if sees_others else [],
    }


def _decision(request: HttpRequest, approval: Approval) -> dict[str, Any]:
    """Who may decide, who has, and what this person may do here."""
    person, holders = the_person(request), reviewers.deciders()
    refused, agreed = reviewers.why_not(approval, person), approval.agreed
    typed_texts = _typed_texts(request)
    needs_proof = agreed.step_up and not step_up.is_recent(request, deciding.PROVED_WITHIN)
    return {
        "why_not": refused,
        "may_think_better": refused and reviewers.why_not_reject(approval, person) is None,
        "may_remind": may_remind(refused),
        "may_cancel": may_cancel(approval, person.pk),
        "eligible": reviewers.eligible(approval, holders),
        "stages": stages_of(approval, holders),
        "is_staged": len(agreed.stages) > 1 or agreed.stages[0].described != "1 person",
        "stuck_after": "" if refused else stuck_after(approval, person, holders),
        "presets": Preset.objects.all(),
        "typed_texts": typed_texts,
        "needs_proof": needs_proof,
        "can_approve": bool(typed_texts) or not needs_proof,
        "prove_url": step_up.prove_url(address(approval)),
    }


def _typed_texts(request: HttpRequest) -> list[tuple[str, str]]:
    """What was written and could not be said any more."""
    labels = {"note": "Note", "reason_to_agent": "Reason, told to the agent"}
    return [(label, text) for name, label in labels.items() if (text := request.POST.get(name))]
