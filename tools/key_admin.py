"""The key cabinet's counter: which keys there are and what they need; making, rotating, revoking.

A new key's text is in the answer to the POST that made it and nowhere else: no redirect carries it,
no message, session or history keeps it, and the admin's `no-store` forbids it to every cache.
"""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.models import local_now
from audit.plain_text import marked
from audit.windows import Window, as_sheet, exactly, when
from tools import key_cabinet
from tools.errors import KeyRefused
from tools.forms import EVERYTHING, KeyForm, RevocationForm, RotationForm
from tools.key_states import (
    MOST_URGENT_FIRST,
    KeyState,
    having,
    is_rotatable,
    states_of,
    with_states,
)
from tools.models import ApiKey
from tools.pages import TellsMore, badge, in_code, name_of, tally, the_person, verb_paths

LOOKS = {
    KeyState.USABLE: ("good", "✓"),
    KeyState.RUNS_OUT_SOON: ("waiting", "◷"),
    KeyState.IDLE: ("waiting", "○"),
    KeyState.OVERLAPPING: ("good", "⇄"),
    KeyState.MUST_ROTATE: ("bad", "↻"),
    KeyState.REVOKED: ("over", "✗"),
    KeyState.EXPIRED: ("over", "⊘"),
    KeyState.OWNER_DISABLED: ("bad", "✗"),
}
"""Each state's look and sign; the word beside it is the state's own."""
MEAN_USABLE = {KeyState.OVERLAPPING, KeyState.RUNS_OUT_SOON}
LOOKING = ["GET", "HEAD"]
MOST_REVOKED_AT_ONCE = 500
"""Django reads a thousand fields of a form at most."""
MOST_OF_ONE_CALLER = 50
MOST_SCOPES_LISTED = 3
NO_SUCCESSOR = "none"

Made = tuple[ApiKey, str]
"""A new key's row and its text."""


def badges(key: ApiKey) -> SafeString:
    """All that can be said of a key, as signs and words."""
    said = states_of(key)
    if MEAN_USABLE & set(said):
        said.remove(KeyState.USABLE)
    signs = [badge(*LOOKS[state], _words_for(state, key)) for state in said]
    if key.issuer:
        signs.append(badge("over", "◇", "tokens"))
    return format_html_join(" ", "{}", ((sign,) for sign in signs))


def _words_for(state: KeyState, key: ApiKey) -> str:
    if state is KeyState.OVERLAPPING and key.expires_at is not None:
        return f"overlaps until {key.expires_at:%d %b %H:%M}"
    if state is KeyState.IDLE and key.last_used_at is None:
        return "never used"
    return str(state.label)


class StateFilter(admin.SimpleListFilter):
    """By what can be said of a key."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in KeyState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        asked = str(self.value())
        return having(queryset, KeyState(asked)) if asked in KeyState.values else queryset


class KindFilter(admin.SimpleListFilter):
    """By what a caller comes with."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("key", "key"), ("token", "token caller")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        if self.value() == "key":
            return queryset.filter(issuer="")
        return queryset.exclude(issuer="") if self.value() == "token" else queryset


class ApiKeyAdmin(TellsMore, Window):
    """Keys are made, rotated and revoked, never changed or deleted."""

    list_display = ["prefix", "holder", "state", "scopes_in_short", "expires", "used"]
    list_filter = [StateFilter, KindFilter]
    search_fields = ["prefix", "actor", "owner__username", "imported_id", "subject"]
    search_help_text = "Visible start, actor, owner, or the name in another system"
    sortable_by = ()
    actions = ["revoke"]
    change_form_template = "admin/tools/apikey/key.html"
    readonly_fields = [
        "prefix", "state", "used_exactly", "expires_exactly", "revoked", "caller", "who",
        "owned_by", "maker", "created", "kind", "scope_words", "shown_tools", "shown_cidrs", "rate",
        "budgets",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return with_states(ApiKey.objects.select_related("owner"), local_now())

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return MOST_URGENT_FIRST

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*self.list_display, *(["rotation"] if self.has_rotate_permission(request) else [])]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tools.add_apikey")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_rotate_permission(request) or super().has_view_permission(request, obj)

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tools.rotate_apikey")

    # What is shown.

    @admin.display(description="actor, owner")
    def holder(self, key: ApiKey) -> str:
        if key.owner.get_username().removeprefix("service:") == key.actor:
            return self.who(key)
        html = '{} <span class="kind">owned by {}</span>'
        return format_html(html, self.who(key), self.owned_by(key))

    @admin.display(description="owner")
    def owned_by(self, key: ApiKey) -> str:
        return marked(key.owner.get_username())

    @admin.display(description="actor")
    def who(self, key: ApiKey) -> str:
        return marked(key.actor)

    @admin.display(description="comes with")
    def kind(self, key: ApiKey) -> str:
        if key.issuer:
            return format_html("tokens of {}, as {}", marked(key.issuer), marked(key.subject))
        if key.imported_id is not None:
            return format_html("a key made elsewhere, {}", marked(key.imported_id))
        return "a key"

    @admin.display(description="maker")
    def maker(self, key: ApiKey) -> str:
        return marked(key.created_by.get_username()) if key.created_by else "–"

    @admin.display(description="scopes")
    def scope_words(self, key: ApiKey) -> str:
        return in_code(key.scopes) or _unless_tokens(key, "none")

    @admin.display(description="scopes")
    def scopes_in_short(self, key: ApiKey) -> str:
        more = len(key.scopes) - MOST_SCOPES_LISTED
        if more <= 0:
            return self.scope_words(key)
        return format_html("{} and {} more", in_code(key.scopes[:MOST_SCOPES_LISTED]), more)

    @admin.display(description="tools")
    def shown_tools(self, key: ApiKey) -> str:
        return in_code(key.tools) or _unless_tokens(key, "all in scope")

    @admin.display(description="networks")
    def shown_cidrs(self, key: ApiKey) -> str:
        return in_code(key.cidrs) or _unless_tokens(key, "any")

    @admin.display(description="rate")
    def rate(self, key: ApiKey) -> str:
        return key.rate_tier or "as each tool allows"

    @admin.display(description="budgets of a session, at most")
    def budgets(self, key: ApiKey) -> str:
        return as_sheet(key.highest.describe())

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        return badges(key)

    @admin.display(description="created")
    def created(self, key: ApiKey) -> str:
        return exactly(key.created_at)

    @admin.display(description="expires")
    def expires(self, key: ApiKey) -> str:
        return when(key.expires_at)

    @admin.display(description="expires")
    def expires_exactly(self, key: ApiKey) -> str:
        return exactly(key.expires_at)

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> str:
        return when(key.last_used_at) if key.last_used_at else "never"

    @admin.display(description="last used")
    def used_exactly(self, key: ApiKey) -> str:
        return exactly(key.last_used_at) if key.last_used_at else "never"

    @admin.display(description="revoked")
    def revoked(self, key: ApiKey) -> str:
        return exactly(key.revoked_at)

    @admin.display(description="keys of this caller")
    def caller(self, key: ApiKey) -> str:
        """The key with those it replaces and that replace it, newest first."""
        every = with_states(ApiKey.objects.filter(lineage=key.lineage), local_now())
        lines = (
            (one.prefix if one == key else link_to(one), badges(one), when(one.created_at))
            for one in every.order_by("-created_at")[:MOST_OF_ONE_CALLER]
        )
        line = '<li>{} {} <span class="kind">made {}</span></li>'
        return format_html('<ul class="lineage">{}</ul>', format_html_join("", line, lines))

    @admin.display(description="rotate")
    def rotation(self, key: ApiKey) -> str:
        if not is_rotatable(key):
            return "–"
        html = '<a href="{}" aria-label="Rotate {}">Rotate</a>'
        return format_html(html, reverse("admin:tools_apikey_rotate", args=[key.pk]), key.prefix)

    # Pages and verbs.

    def get_urls(self) -> list[URLPattern]:
        views = {"rotate": self.rotate_view, "revoke": self.revoke_view, "used": self.used_view}
        return [*verb_paths(self, **views), *super().get_urls()]

    def more_about(self, request: HttpRequest, row: ApiKey | None) -> dict[str, Any]:
        return {"may_rotate": self.has_rotate_permission(request), "revocation": RevocationForm()}

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; its POST answers with the key's text itself, which is kept nowhere."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = KeyForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and (made := self._made(form, the_person(request))):
            return self._shown_once(request, *made)
        newest = ApiKey.objects.order_by("-pk").values_list("pk", flat=True).first()
        return self._page(request, "add", "Make a key", form=form, seen=newest or 0)

    @transaction.atomic
    def _made(self, form: KeyForm, by: User) -> Made | None:
        """The new key, or None and an error in the form. Two clicks come one after the other."""
        User.objects.select_for_update(no_key=True).get(pk=by.pk)
        given = dict(form.cleaned_data)
        seen = given.pop("seen")
        same = ApiKey.objects.filter(created_by=by, actor=given["actor"], rotated_from=None)
        if seen is not None and (twin := same.filter(pk__gt=seen).first()):
            form.add_error(None, f"You have made {twin.prefix} with this form: another one?")
            return None
        try:
            return key_cabinet.create_key(**given, by=by)
        except KeyRefused as error:
            form.add_error(None, str(error))
            return None

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`GET …/rotate/` asks how; its POST answers with the new key's text itself."""
        if request.method not in (allowed := [*LOOKING, "POST"]):
            return HttpResponseNotAllowed(allowed)
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        key = self._found(request, object_id)
        form = RotationForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and (made := self._rotated(key, form, the_person(request))):
            return self._shown_once(request, *made)
        successor = _successor_of(key)
        return self._page(
            request, "rotate", f"Rotate {key.prefix}", form=form, key=key, state=badges(key),
            successor=successor, seen=_seen(successor),
        )  # fmt: skip

    @transaction.atomic
    def _rotated(self, key: ApiKey, form: RotationForm, by: User) -> Made | None:
        """The new key, or None and an error in the form. Two clicks come one after the other."""
        key_cabinet.hold([key.prefix])
        given = dict(form.cleaned_data)
        if given.pop("seen") not in ("", _seen(_successor_of(key))):
            form.add_error(None, "It has been rotated since this page was opened.")
            return None
        try:
            return key_cabinet.rotate_key(key.prefix, **given, by=by)
        except KeyRefused as error:
            form.add_error(None, str(error))
            return None

    def _shown_once(self, request: HttpRequest, row: ApiKey, text: str) -> HttpResponse:
        key, old = self.get_queryset(request).get(pk=row.pk), row.rotated_from
        base = settings.RAMPART_PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")
        return self._page(
            request, "shown_once", f"Key {key.prefix}", key=key, text=text, state=badges(key),
            command=f'curl -s {base}{reverse("own-key")} -H "Authorization: Bearer $RAMPART_KEY"',
            may_see=self.has_view_permission(request), allows_everything=EVERYTHING in key.scopes,
            old=old and ApiKey.objects.get(pk=old.pk), now=local_now(),
            # Revoked in the moment in which this one was made.
            unused=old and old.successors.filter(revoked_at=key.created_at).first(),
        )  # fmt: skip

    def used_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`GET …/used/`: whether the first call has come, for the page that waits for it."""
        if request.method not in LOOKING:
            return HttpResponseNotAllowed(LOOKING)
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = self._found(request, object_id)
        return JsonResponse({"used": key.last_used_at is not None})

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """`POST …/revoke/`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        key, form = self._found(request, object_id), RevocationForm(request.POST)
        if not form.is_valid():
            return self._confirmation(request, self.get_queryset(request).filter(pk=key.pk), form)
        self._revoke(request, [key], form)
        return HttpResponseRedirect(reverse("admin:tools_apikey_change", args=[key.pk]))

    @admin.action(description="Revoke for ever", permissions=["rotate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask which and why; `post=yes` is the answer, and revokes each by itself."""
        form = RevocationForm(request.POST if "post" in request.POST else None)
        if not form.is_valid():
            return self._confirmation(request, queryset, form)
        keys, chosen = list(queryset), request.POST.getlist(ACTION_CHECKBOX_NAME)
        self._revoke(request, keys, form, gone=max(0, len(set(chosen)) - len(keys)))
        return None

    def _confirmation(
        self, request: HttpRequest, chosen: QuerySet[ApiKey], form: RevocationForm
    ) -> HttpResponse:
        live = chosen.filter(revoked_at=None)
        keys = [(key, badges(key)) for key in live[:MOST_REVOKED_AT_ONCE]]
        return self._page(
            request, "revoke", "Revoke for ever?", form=form, keys=keys, box=ACTION_CHECKBOX_NAME,
            left=live.count() - len(keys),
        )  # fmt: skip

    def _revoke(
        self, request: HttpRequest, keys: list[ApiKey], form: RevocationForm, gone: int = 0
    ) -> None:
        by, reason = name_of(request), form.cleaned_data["reason"]
        done = [key_cabinet.revoke_key(key.prefix, by=by, reason=reason) for key in keys]
        told = tally(
            (sum(done), "revoked"),
            (len(done) - sum(done), "revoked already"),
            (gone, "gone"),
        )
        self.message_user(request, told)

    def _found(self, request: HttpRequest, object_id: str) -> ApiKey:
        key: ApiKey | None = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        return key

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
        every = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, f"admin/tools/apikey/{name}.html", every | context)


def link_to(key: ApiKey) -> SafeString:
    """A link to the key's page."""
    address = reverse("admin:tools_apikey_change", args=[key.pk])
    return format_html('<a href="{}">{}</a>', address, key.prefix)


def _unless_tokens(key: ApiKey, words: str) -> str:
    """What a key without such words may do; of a token caller it is in each token."""
    return "as each token says" if key.issuer else words


def _successor_of(key: ApiKey) -> ApiKey | None:
    return key.successors.filter(revoked_at__isnull=True).first()


def _seen(successor: ApiKey | None) -> str:
    """Which key replaces another, as the form for its rotation says it."""
    return successor.prefix if successor else NO_SUCCESSOR
