"""Whether the person in a session has lately proved who they are, and how they are asked to.

A sign-in proves it, and so does the page `admin:prove`. The proof stands in the session with the
person whose it is, so that it is nobody else's. What a bearer token proves is not asked here.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from audit.models import local_now

View = Callable[..., HttpResponseBase]

PROOF = "proof"
READING = ("GET", "HEAD")


class StepUpRequired(PermissionDenied):
    """The API's answer to a person whose proof is too old."""

    default_code = "step_up_required"
    default_detail = "Prove again who you are, then repeat the request."


def mark(request: HttpRequest, user: AbstractBaseUser, at: datetime | None) -> None:
    """Write down that the session's person has proved who they are; None: not known when."""
    if at is None:
        request.session.pop(PROOF, None)
    else:
        request.session[PROOF] = {"of": str(user.pk), "at": min(at, local_now()).timestamp()}


def proved_at(request: HttpRequest | Request) -> datetime | None:
    """When the requester last proved who they are, in this session; None if it is not known."""
    proof = getattr(request, "session", {}).get(PROOF)
    if not proof or proof["of"] != str(getattr(request.user, "pk", None)):
        return None
    return datetime.fromtimestamp(proof["at"], local_now().tzinfo)


def is_recent(request: HttpRequest | Request, within: timedelta) -> bool:
    """Whether that was no longer ago than `within`."""
    at = proved_at(request)
    return at is not None and local_now() - at <= within


def prove_url(back: str) -> str:
    """The page that asks for the proof, and leads back."""
    return f"{reverse('admin:prove')}?{urlencode({'next': back})}"


def require(request: Request, within: timedelta) -> None:
    """For views of the API: StepUpRequired, which names the page, unless the proof is recent."""
    if not is_recent(request, within):
        raise StepUpRequired(f"{StepUpRequired.default_detail} {reverse('admin:prove')}")


def step_up_required(within: timedelta) -> Callable[[View], View]:
    """For the admin's views: who wants to look is led to the page, what was posted is refused.

    A method takes it by Django's `method_decorator`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def ask_first(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if is_recent(request, within):
                return view(request, *args, **kwargs)
            if request.method in READING:
                return HttpResponseRedirect(prove_url(request.get_full_path()))
            return refusal(request)

        return ask_first

    return decorate


def refusal(request: HttpRequest) -> HttpResponse:
    """403, with a link to the page that leads back to the form."""
    context = {"prove_url": prove_url(_form_of(request))}
    return TemplateResponse(request, "admin/step_up.html", context, status=403)


def _form_of(request: HttpRequest) -> str:
    """The page of ours from which the request was posted, else the admin's first."""
    try:
        page = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return reverse("admin:index")
    if page.netloc != request.get_host() or not page.path.startswith("/"):
        return reverse("admin:index")
    return f"{page.path}?{page.query}" if page.query else page.path
