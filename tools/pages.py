"""What the admin's pages share: who is there, addresses of verbs, states as signs, tallies."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.plain_text import marked


def the_person(request: HttpRequest) -> User:
    """Who is signed in: the admin lets nobody else this far."""
    return cast("User", request.user)


def name_of(request: HttpRequest) -> str:
    """Who is signed in, as the ledger shows them."""
    return the_person(request).get_username()


class TellsMore(ModelAdmin):  # type: ignore[type-arg]
    """The template of a row's page is told more than Django tells it."""

    def more_about(self, request: HttpRequest, row: Any | None) -> dict[str, Any]:
        """What it is told besides; there may be no such row."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        more = self.more_about(request, self.get_object(request, unquote(object_id)))
        return super().change_view(request, object_id, form_url, more | (extra_context or {}))


def verb_paths(pages: "ModelAdmin[Any]", **views: Callable[..., HttpResponse]) -> list[URLPattern]:
    """`<id>/<verb>/` for each, named like Django's own: `tools_apikey_rotate`."""
    kind = f"{pages.opts.app_label}_{pages.opts.model_name}"
    return [
        path(f"<path:object_id>/{verb}/", pages.admin_site.admin_view(view), name=f"{kind}_{verb}")
        for verb, view in views.items()
    ]


def badge(look: str, sign: str, words: str) -> SafeString:
    """A state as sign and words."""
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', look, sign, words
    )


def in_code(words: Iterable[str]) -> SafeString:
    """Words of a program, or of strangers."""
    return format_html_join(" ", "<code>{}</code>", ((marked(word),) for word in words))


def tally(*counts: tuple[int, str]) -> str:
    """`2 revoked, 1 revoked already`."""
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing chosen"
