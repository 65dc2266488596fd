"""People, groups and links to the provider: Django's own pages, each edit a line in the ledger."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from audit.plain_text import marked
from audit.told import Told
from audit.windows import when
from tools.models import FederatedIdentity

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(Told, UserAdmin):  # type: ignore[type-arg]
    """People; a new password by somebody else's hand is told as well."""

    @transaction.atomic
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        return super().user_change_password(request, id, form_url)


class LinkForm(forms.ModelForm):  # type: ignore[type-arg]
    """Whose account it is that a provider's subject opens."""

    def clean_issuer(self) -> str:
        issuer: str = self.cleaned_data["issuer"].strip()
        if settings.OIDC_OP_ISSUER and issuer != settings.OIDC_OP_ISSUER:
            raise forms.ValidationError(f"The provider's name is {settings.OIDC_OP_ISSUER}")
        return issuer


@admin.register(FederatedIdentity)
class LinkAdmin(Told, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who may come in from the provider as whom. A link is made or cut, never changed.

    Whoever may make one can become any user but a superuser; those are linked by superusers.
    """

    form = LinkForm
    fields = ["user", "issuer", "subject"]
    list_display = ["who", "shown_subject", "issuer", "linked", "last_sign_in"]
    list_select_related = ["user"]
    search_fields = ["user__username", "subject"]
    search_help_text = "User name or subject"
    sortable_by = ()

    @admin.display(description="user")
    def who(self, link: FederatedIdentity) -> str:
        return marked(link.user.get_username())

    @admin.display(description="subject")
    def shown_subject(self, link: FederatedIdentity) -> str:
        return marked(link.subject)

    @admin.display(description="linked")
    def linked(self, link: FederatedIdentity) -> str:
        return when(link.linked_at)

    @admin.display(description="last sign-in")
    def last_sign_in(self, link: FederatedIdentity) -> str:
        return when(link.last_sign_in_at)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"issuer": settings.OIDC_OP_ISSUER, **super().get_changeform_initial_data(request)}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        people = User.objects.order_by("username")
        if not request.user.is_superuser:
            people = people.exclude(is_superuser=True)
        return super().formfield_for_foreignkey(db_field, request, queryset=people, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_above = obj is not None and obj.user.is_superuser and not request.user.is_superuser
        return super().has_delete_permission(request, obj) and not is_above


@admin.register(Group)
class TeamAdmin(Told, GroupAdmin):
    """Groups, by which permissions are handed out."""
