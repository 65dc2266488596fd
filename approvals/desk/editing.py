"""Editing what would run: the form, the difference, and the change once that is confirmed."""

from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse

from approvals import deciding, editing, execution, reviewers
from approvals.deciding import Undecided
from approvals.desk.arguments import ArgumentsForm
from approvals.desk.showing import READING, CallWindow, address, said_in, sentence
from approvals.forms import WordsForm
from approvals.holding import held_by
from approvals.models import Approval
from approvals.reviewers import Reason
from approvals.transitions import Said
from audit.canonical import canonical_text, value_of
from tools.pages import the_person


class EditPages(CallWindow):
    """GET is the form, POST shows what would change, and the same POST confirmed changes it."""

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`…/edit/`."""
        approval = self.found(request, object_id)
        if request.method == "POST":
            return self._edit(request, approval)
        if request.method not in READING:
            return HttpResponseNotAllowed([*READING, "POST"])
        is_open = reviewers.why_not(approval, the_person(request)) is None
        if not is_open or execution.authority_lost(approval.invocation) is not None:
            return HttpResponseRedirect(address(approval))
        initial = {"expected_digest": approval.invocation.digest}
        words = WordsForm(initial=initial, approval=approval)
        return self._form(request, approval, ArgumentsForm(approval.invocation), words)

    def _edit(self, request: HttpRequest, approval: Approval) -> HttpResponse:
        words = WordsForm(request.POST, approval=approval)
        is_said = words.is_valid()
        said = said_in(request, words.cleaned_data)
        refused = _refused(request, approval)
        if refused is not None:
            outcome = deciding.refuse(approval, the_person(request), refused, said)
            return self.undecided(request, outcome)
        arguments = ArgumentsForm(approval.invocation, request.POST)
        if (refused := deciding.seen_otherwise(approval, words.seen)) is not None:
            deciding.refuse(approval, the_person(request), refused, said)
            return self._again(request, approval, arguments, words, refused)
        if not (arguments.is_valid() and is_said):
            return self._form(request, approval, arguments, words, HTTPStatus.UNPROCESSABLE_ENTITY)
        return self._change(request, approval, arguments, words, said)

    def _change(
        self,
        request: HttpRequest,
        approval: Approval,
        arguments: ArgumentsForm,
        words: WordsForm,
        said: Said,
    ) -> HttpResponse:
        """Show the difference; change the call once exactly that difference is confirmed."""
        wanted, person = arguments.edited(), the_person(request)
        try:
            revision = editing.revised(approval.invocation, wanted)
            if words.cleaned_data["becomes"] != revision.digest:
                terms = held_by(revision.judgement).terms
                difference = {
                    "becomes": revision.digest,
                    "changes": value_of(canonical_text(revision.changes)),
                    "asks_for": ", then ".join(stage.described for stage in terms.stages),
                }
                return self._form(request, approval, arguments, words, difference=difference)
            outcome = editing.edit(approval, person, wanted, said, expected_digest=words.seen)
        except editing.Unfitting as fault:
            arguments.blame(fault)
            return self._form(request, approval, arguments, words, HTTPStatus.UNPROCESSABLE_ENTITY)
        if isinstance(outcome, Undecided):
            return self.undecided(request, outcome)
        needed = reviewers.lacking(outcome.approval)
        messages.success(request, f"Changed. It needs {needed} now; who edits does not decide.")
        return HttpResponseRedirect(address(approval))

    def _again(
        self,
        request: HttpRequest,
        approval: Approval,
        arguments: ArgumentsForm,
        words: WordsForm,
        refused: Reason,
    ) -> HttpResponse:
        """What was typed, over what the call is for by now."""
        messages.error(request, refused.sentence)
        given = {**request.POST.dict(), "expected_digest": approval.invocation.digest}
        anew = WordsForm({**given, "becomes": ""}, approval=approval)
        return self._form(request, approval, arguments, anew, HTTPStatus.CONFLICT)

    def _form(
        self,
        request: HttpRequest,
        approval: Approval,
        arguments: ArgumentsForm,
        words: WordsForm,
        status: HTTPStatus = HTTPStatus.OK,
        difference: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Edit: {sentence(approval)}",
            "opts": self.opts,
            "approval": approval,
            "row": approval.invocation,
            "arguments": arguments,
            "words": words,
            "becomes": "",
            **(difference or {}),
        }
        return TemplateResponse(request, "admin/approvals/edit.html", context, status=status)


def _refused(request: HttpRequest, approval: Approval) -> Reason | None:
    """Why nobody, or not this person, edits the call now."""
    person = the_person(request)
    return reviewers.why_not(approval, person) or deciding.changed_since(approval)
