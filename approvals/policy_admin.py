"""The page on which people write policies; it says what a policy does before anybody meets it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from approvals import reviewers
from approvals.models import Policy, PolicyStage
from approvals.policy_changes import changed
from approvals.policy_facts import facts_of, sentence_of
from approvals.policy_forms import (
    MOST_STAGES,
    PolicyForm,
    SimulationForm,
    StageForm,
    StagesFormSet,
)
from approvals.simulating import Answer, Supposed, simulate
from approvals.states import Effect
from audit.models import local_now
from audit.plain_text import marked
from audit.windows import BoundedPaginator
from tools.forms import written
from tools.pages import badge, name_of, the_person

LOOKS = {
    Effect.ALLOW: ("good", "✓"),
    Effect.REQUIRE: ("waiting", "◷"),
    Effect.DENY: ("bad", "✗"),
}
"""Each effect's look and sign; the word beside it is the effect's own."""
ANSWERS = {
    Answer.ALLOW: ("good", "✓"),
    Answer.HOLD: ("waiting", "◷"),
    Answer.DENY: ("bad", "✗"),
    Answer.UNCOUNTED: ("over", "–"),
}
"""Each answer's look and sign."""


class StageInline(admin.TabularInline):  # type: ignore[type-arg]
    """The stages of a policy: whoever may write the policy writes them."""

    model = PolicyStage
    form = StageForm
    formset = StagesFormSet
    max_num = MOST_STAGES
    verbose_name = "stage"
    verbose_name_plural = "who decides, in this order (nobody named: one person who may decide)"

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        """Two empty rows to begin with, and one more beside stages that there are."""
        return 1 if obj is not None and obj.stages.exists() else 2

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["empty_label"] = "anybody who may decide"
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Without the signs by which Django opens other pages in windows of their own."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return the_person(request).has_perm("approvals.view_policy")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        verb = "add" if obj is None or obj.pk is None else "change"
        return the_person(request).has_perm(f"approvals.{verb}_policy")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)


class PolicyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Policies: each change is a line in the ledger, with what was said before and after."""

    form = PolicyForm
    inlines = [StageInline]
    fieldsets = [
        (None, {"fields": ["name", "description", "is_enabled", "effect", "priority", "seen"]}),
        ("Which calls", {"fields": ["tool", "actor", "scope", "side_effect", "conditions"]}),
        (
            "How people decide",
            {
                "fields": [
                    "expires_after",
                    "reason_required",
                    "no_bulk",
                    "step_up",
                    "typed_confirmation",
                ]
            },
        ),
    ]
    change_form_template = "admin/approvals/policy/change_form.html"
    change_list_template = "admin/approvals/policy/change_list.html"
    list_display = ["shown_name", "effect_badge", "does", "priority"]
    list_filter = ["effect", "is_enabled"]
    search_fields = ["name", "tool", "actor"]
    search_help_text = "Name, tool or actor"
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50

    def get_urls(self) -> list[URLPattern]:
        simulation = self.admin_site.admin_view(self.simulate_view)
        page = path("simulate/", simulation, name="approvals_policy_simulate")
        return [page, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Policy]:
        """Of two who change a policy at once, the second waits, and sees what the first did."""
        rows = super().get_queryset(request).prefetch_related("stages__group")
        is_changing = request.method == "POST" and transaction.get_connection().in_atomic_block
        return rows.select_for_update() if is_changing else rows

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Those who may only look are asked nothing."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        shown = self.fieldsets[0][1]["fields"][:-1]
        return [(None, {"fields": shown}), *self.fieldsets[1:]]

    # The list.

    @admin.display(description="policy")
    def shown_name(self, policy: Policy) -> SafeString:
        return marked(policy.name)

    @admin.display(description="effect")
    def effect_badge(self, policy: Policy) -> str:
        if policy.effect not in LOOKS:
            return badge("bad", "!", "can't be read")
        return badge(*LOOKS[Effect(policy.effect)], policy.get_effect_display())

    @admin.display(description="what it does")
    def does(self, policy: Policy) -> SafeString:
        return marked(sentence_of(policy))

    # Its page.

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The form, and beside it what the stored policy does now."""
        stored = Policy.objects.filter(pk=obj.pk).first() if obj else None
        facts = {"facts": facts_of(stored) if stored else None}
        return super().render_change_form(request, context | facts, add, change, form_url, obj)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        policy = super().get_object(request, object_id, from_field)
        if policy is not None:
            policy.said_before = policy.describe()
        return policy

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.changed_at = local_now()
        super().save_model(request, obj, form, change)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._tell(request, obj)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for policy in queryset:
            _changed(request, policy.describe(), None)
        return super().log_deletions(request, queryset)

    @transaction.atomic
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Policies", **(extra_context or {})})

    def _tell(self, request: HttpRequest, policy: Any) -> None:
        """The ledger's line, and to the person what should be looked at once more."""
        stored = Policy.objects.get(pk=policy.pk)
        _changed(request, getattr(policy, "said_before", None), stored.describe())
        for warning in facts_of(stored).warnings:
            self.message_user(request, warning, messages.WARNING)

    # Supposing a call.

    def has_simulate_permission(self, request: HttpRequest) -> bool:
        """Whoever may see the policies, or decides what they hold."""
        return self.has_view_permission(request) or the_person(request).has_perm(reviewers.DECIDE)

    def simulate_view(self, request: HttpRequest) -> HttpResponse:
        """What would become of a call; nothing is run, written or counted."""
        if not self.has_simulate_permission(request):
            raise PermissionDenied
        form = SimulationForm(request.POST if request.method == "POST" else None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Suppose a call",
            "opts": self.opts,
            "form": form,
            "may_view": self.has_view_permission(request),
        }
        if form.is_valid():
            context |= _supposed(request, form)
        return TemplateResponse(request, "admin/approvals/policy/simulate.html", context)


def _supposed(request: HttpRequest, form: SimulationForm) -> dict[str, Any]:
    """What the page says of the supposed call."""
    supposed = Supposed.of(form.cleaned_data["actor"], form.cleaned_data["scopes"])
    if supposed is None:
        form.add_error("actor", "They have no usable key. Suppose scopes, too.")
        return {}
    found = simulate(form.call(getattr(request, "request_id", "")), supposed)
    return {
        "found": found,
        "answer": badge(*ANSWERS[found.answer], found.answer),
        "expires_after": found.wait and written(found.wait.expires_after),
        "steps": [(step, badge(*ANSWERS[step.answer], step.answer)) for step in found.steps],
    }


def _changed(request: HttpRequest, before: Any, after: Any) -> None:
    changed(
        before, after, by=name_of(request), source="admin",
        request_id=getattr(request, "request_id", ""),
    )  # fmt: skip
