"""The page on which who is signed in proves again who they are, by password or by the provider."""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from audit.events import EventName
from audit.models import local_now
from rampart import oidc, passwords
from rampart.oidc.accounts import is_linked
from rampart.people import tell, way_back
from tools import step_up


class ProofForm(forms.Form):
    """The password of whoever is signed in."""

    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


@sensitive_post_parameters()
@never_cache
def prove(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """GET shows the ways that the person has, POST takes a password."""
    person = cast("User", request.user)
    form = ProofForm(request.POST or None) if _has_password(person) else None
    if request.method == "POST" and form and form.is_valid():
        if _is_of(person, request, form.cleaned_data["password"]):
            _note(request, person)
            return HttpResponseRedirect(way_back(request))
        form.add_error("password", "That is not your password.")
    status = 422 if request.method == "POST" else 200
    ways = {
        "title": "Prove again who you are",
        "form": form,
        "next": way_back(request),
        "provider": settings.RAMPART_OIDC_NAME,
        "provider_url": _provider_url(request) if oidc.is_on() and is_linked(person) else "",
    }
    return TemplateResponse(request, "admin/prove.html", {**context, **ways}, status=status)


def _has_password(person: User) -> bool:
    return bool(settings.RAMPART_PASSWORD_SIGN_IN) and person.has_usable_password()


def _is_of(person: User, request: HttpRequest, password: str) -> bool:
    """Whether the password is that person's; a wrong one counts towards the lockout."""
    proved = authenticate(request, username=person.get_username(), password=password)
    return proved is not None and proved.pk == person.pk


def _note(request: HttpRequest, person: User) -> None:
    """A new key as well: whoever has read the old one has not proved anything."""
    tell(EventName.PERSON_PROVED, request, person.get_username())
    step_up.mark(request, person, local_now())
    request.session.cycle_key()
    passwords.forgive(request, person)


def _provider_url(request: HttpRequest) -> str:
    asked = {"prove": "1", "next": way_back(request)}
    return f"{reverse('oidc_authentication_init')}?{urlencode(asked)}"
