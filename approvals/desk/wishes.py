"""How each person wants the desk to be: a page where they say so for themselves alone."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse

from approvals.models import Wishes
from tools.pages import the_person


class WishesForm(forms.ModelForm):  # type: ignore[type-arg]
    """All that can be wished for; whose wishes they are is never asked."""

    class Meta:
        model = Wishes
        fields = ["mail", "mail_least_risk", "clock", "has_keys"]
        labels = {"mail": "Mail about calls"}
        help_texts = {
            "mail_least_risk": "Of calls of less risk no mail comes.",
            "clock": "Exact times; without JavaScript they are in UTC, and say so.",
            "has_keys": "Single keys on the pages of the desk, such as j and k.",
        }


def wishes_of(person: User) -> Wishes:
    """The person's wishes; those of the defaults, unsaved, if they have said nothing."""
    try:
        found: Wishes = person.wishes
    except ObjectDoesNotExist:
        return Wishes(person_id=person.pk)
    return found


def wishes_page(request: HttpRequest, around: Mapping[str, Any]) -> HttpResponse:
    """`/admin/wishes/`: GET shows the person's own, POST keeps them."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    person = the_person(request)
    form = WishesForm(request.POST or None, instance=wishes_of(person))
    if request.method == "POST" and form.is_valid():
        Wishes.objects.update_or_create(person=person, defaults=form.cleaned_data)
        messages.success(request, "It is as you wish.")
        return HttpResponseRedirect(request.path)
    status = 422 if form.is_bound else 200
    context = {**around, "title": "Wishes", "form": form, "address": person.email}
    return TemplateResponse(request, "admin/approvals/wishes.html", context, status=status)
