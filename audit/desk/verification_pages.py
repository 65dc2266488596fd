"""The page that has the ledger verified, shows how far that is, and explains what was found."""

import shlex
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.dateparse import parse_datetime

from audit import checkpoints, notes, verifying
from audit.checkpoints import Statement
from audit.desk.listing import ListPages
from audit.models import Checkpoint, Event, Tree, VerificationRun
from audit.notes import BadNote, Verifier

PAGE = "admin:audit_event_verification"
EARLIER = 10


class VerificationPages(ListPages):
    """Asking for a verification, and looking at what has come of it."""

    def get_urls(self) -> list[URLPattern]:
        own = {
            "verification/": (self.verification_view, "verification"),
            "verification/pulse/": (self.verification_pulse, "verification_pulse"),
            "checkpoint/": (self.checkpoint_view, "checkpoint"),
        }
        pages = [
            path(address, self.admin_site.admin_view(view), name=f"audit_event_{name}")
            for address, (view, name) in own.items()
        ]
        return [*pages, *super().get_urls()]

    def verification_view(self, request: HttpRequest) -> HttpResponse:
        """`GET …/verification/`, with `?run=<id>` an earlier one; POST asks for another."""
        if request.method == "POST" and self.has_view_permission(request):
            verifying.ask(request.user.get_username())
            return HttpResponseRedirect(reverse(PAGE))
        self.must_only_look(request)
        run = _asked_run(request.GET.get("run", ""))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Verify the ledger",
            "here": "Verify",
            "run": run,
            **(_told(run) if run else {}),
            "tree": Tree.objects.first(),
            "newest": checkpoints.latest(),
            "runs": VerificationRun.objects.exclude(finished_at=None)[:EARLIER],
        }
        return TemplateResponse(request, "admin/ledger/verification.html", context)

    def verification_pulse(self, request: HttpRequest) -> HttpResponse:
        """`GET …/verification/pulse/?run=<id>`: how far it is; without a run, the last one."""
        self.must_only_look(request)
        run = _asked_run(request.GET.get("run", ""))
        if run is None:
            return JsonResponse({})
        told = {"seen": run.seen, "total": run.total, "has_begun": run.heard_of_at is not None}
        return JsonResponse({**told, "is_over": run.finished_at is not None})

    def checkpoint_view(self, request: HttpRequest) -> HttpResponse:
        """`GET …/checkpoint/`: the newest note as a file, exactly as it was signed."""
        self.must_only_look(request)
        newest = checkpoints.latest()
        if newest is None:
            return HttpResponseRedirect(reverse(PAGE))  # That page says why there is none.
        return HttpResponse(
            newest.note,
            content_type="text/plain; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="checkpoint-{newest.size}.txt"'},
        )


def _asked_run(text: str) -> VerificationRun | None:
    """The run of this id, or the last one where none is named."""
    if not text:
        return verifying.latest()
    try:
        return VerificationRun.objects.get(pk=UUID(text))
    except (ValueError, VerificationRun.DoesNotExist):
        raise Http404 from None


def _told(run: VerificationRun) -> dict[str, Any]:
    """What the page says of a run that has ended."""
    found = verifying.told_of(run) if run.finished_at else None
    note = run.checkpoint
    signers = _signers(note)
    return {
        "found": found,
        "fault_page": _page_of(run.fault_row),
        "since": found and parse_datetime(found.get("since") or ""),
        "signed_size": _size(note),
        "signers": signers,
        "signed_at": Checkpoint.objects.filter(note=note, size=_size(note) or 0).first(),
        "command": offline_command(note, signers) if note else "",
    }


def offline_command(note: str, signers: Sequence[Verifier]) -> str:
    """One line that checks an export against this very note, on a machine without the database."""
    lines = " ".join(map(shlex.quote, note.rstrip("\n").split("\n")))
    keys = "".join(f" --key {shlex.quote(str(signer))}" for signer in signers)
    verify = f"python manage.py verify_audit --export ledger.jsonl --checkpoint -{keys}"
    return f"printf '%s\\n' {lines} | {verify}"


def _page_of(row: str) -> str:
    """The address of an event's page, if the event is there."""
    try:
        event = Event.objects.only("pk").get(pk=UUID(row))
    except (ValueError, Event.DoesNotExist):
        return ""
    return reverse("admin:audit_event_change", args=[event.pk])


def _signers(note: str) -> tuple[Verifier, ...]:
    """The keys that the ledger names and that have signed this note."""
    try:
        return notes.read(note, checkpoints.announced()).signed_by
    except BadNote:
        return ()


def _size(note: str) -> int | None:
    try:
        return Statement.from_text(notes.unverified_text(note)).size
    except ValueError:
        return None
