"""The page that tells what an export will be, and the download, which is written down first."""

import threading
from collections.abc import Iterator
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from audit import export, finding
from audit.desk.filters import Span
from audit.desk.listing import READING, ListPages
from audit.export import FORMATS, OCSF, Extent, Format, Selection
from audit.models import Event

EXPORT = "audit.export_event"
MOST_COUNTED = 100_000
AT_ONCE = 2
"""Exports that a process sends at the same time: each keeps one of its threads for as long."""
SECONDS_TO_WAIT = 30
PIECE = 65_536
"""Characters that are handed to the server at once."""

_places = threading.BoundedSemaphore(AT_ONCE)


class Wish(Span):
    """What somebody wants to take away, and in which form."""

    format = forms.ChoiceField(choices=[(name, name) for name in FORMATS])


class ExportPages(ListPages):
    """Taking a copy of the ledger away."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name="audit_event_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """`GET …/export/` tells what there is; `POST` writes down who takes it, and sends it."""
        if not request.user.has_perm(EXPORT):
            raise PermissionDenied
        if request.method in READING:
            return self._export_page(request, Span(request.GET))
        wish = Wish(request.POST)
        if request.method != "POST" or not wish.is_valid():
            return self._export_page(request, wish, 400)
        if not _places.acquire(blocking=False):
            busy = self._export_page(request, wish, 503, is_busy=True)
            busy["Retry-After"] = str(SECONDS_TO_WAIT)
            return busy
        return _download(request, FORMATS[wish.cleaned_data["format"]], _selection(wish))

    def _export_page(
        self, request: HttpRequest, span: Span, status: int = 200, *, is_busy: bool = False
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Export the ledger",
            "here": "Export",
            "span": span,
            "count": _counted(_selection(span)) if span.is_valid() else None,
            "most_counted": MOST_COUNTED,
            "formats": FORMATS,
            "is_busy": is_busy,
        }
        return TemplateResponse(request, "admin/ledger/export.html", context, status=status)


class Download(Iterator[str]):
    """An export on its way. However it ends, its place is free for the next one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._has_place = lines, True

    def __next__(self) -> str:
        piece: list[str] = []
        size = 0
        for line in self._lines:
            piece.append(line)
            size += len(line)
            if size >= PIECE:
                break
        if not piece:
            self.close()
            raise StopIteration
        return "".join(piece)

    def close(self) -> None:
        """The server calls this at the end, and when whoever downloads has gone away."""
        if self._has_place:
            self._has_place = False
            _places.release()


def _download(request: HttpRequest, form: Format, selection: Selection) -> StreamingHttpResponse:
    """The event about the export is there before its first line is sent; its place is taken."""
    try:
        extent = export.begin(
            form,
            selection,
            by=request.user.get_username(),
            source="admin",
            request_id=getattr(request, "request_id", ""),
        )
    except BaseException:
        _places.release()
        raise
    suffix = "ocsf.jsonl" if form is OCSF else form.name
    return StreamingHttpResponse(
        Download(_whole(form, selection, extent)),
        content_type=form.media_type,
        headers={"Content-Disposition": f'attachment; filename="ledger.{suffix}"'},
    )


def _whole(form: Format, selection: Selection, extent: Extent) -> Iterator[str]:
    if form.header:
        yield form.header
    yield from export.lines(form, selection, extent)


def _selection(span: Span) -> Selection:
    given: dict[str, Any] = span.cleaned_data
    return Selection(since=given.get("since"), until=given.get("until"))


def _counted(selection: Selection) -> int:
    """How many events there are, counted no further than a person cares."""
    rows = finding.told_between(Event.objects.order_by(), selection.since, selection.until)
    return rows[: MOST_COUNTED + 1].count()
