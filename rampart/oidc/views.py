"""To the provider and back, and the page for whoever is not let in."""

from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from audit.events import EventName
from audit.models import local_now
from rampart import oidc
from rampart.oidc.backend import Arrival
from rampart.oidc.refusals import Refused
from rampart.people import NOBODY, tell, tell_anyway, way_back
from tools import guessing, step_up
from tools.authentication import client_address

LONGEST_WAY = timedelta(minutes=10)
"""For so long a sign-in that was begun may be brought to its end."""
STATES = "oidc_states"


@method_decorator(never_cache, name="dispatch")
class StartView(OIDCAuthenticationRequestView):  # type: ignore[misc]
    """To the provider, with PKCE, a nonce, and a state that says what it is for.

    `?prove` asks the person in the session to prove again who they are.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        if not oidc.is_on():
            raise Http404
        self.proves = str(request.user.pk) if _is_to_prove(request) else ""
        response: HttpResponse = super().get(request)
        state = next(reversed(request.session[STATES]))
        request.session[STATES][state] |= {"back": way_back(request), "proves": self.proves}
        if not request.user.is_authenticated:
            request.session.set_expiry(LONGEST_WAY)
        return response

    def get_extra_params(self, request: HttpRequest) -> dict[str, Any]:
        return {"prompt": "login", "max_age": 0} if self.proves else {}


@method_decorator(never_cache, name="dispatch")
class CallbackView(OIDCAuthenticationCallbackView):  # type: ignore[misc]
    """Back from the provider: in, or a page that says why not."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not oidc.is_on():
            raise Http404
        try:
            request.oidc_arrival = self.arrival = _arrival(request)  # type: ignore[attr-defined]
            response: HttpResponse = super().get(request)
            return response
        except Refused as refused:
            return _refusal_page(request, refused)

    def login_failure(self) -> HttpResponse:
        raise Refused("bad_state")

    def login_success(self) -> HttpResponse:
        person: User = self.user
        if self.arrival.proves:
            self._note_proof(person)
        else:
            auth.login(self.request, person)
        return HttpResponseRedirect(self.arrival.back)

    def _note_proof(self, person: User) -> None:
        """A new key as well: whoever has read the old one has not proved anything."""
        tell(EventName.PERSON_PROVED, self.request, person.get_username(), **self.arrival.told)
        step_up.mark(self.request, person, self.arrival.proved_at)
        self.request.session.cycle_key()


def end_session_link(request: HttpRequest) -> str:
    """Where the provider's own session is ended, for whoever came from it; empty for others."""
    came_from_it = request.session.get(auth.BACKEND_SESSION_KEY) == oidc.BACKEND
    if not (settings.OIDC_OP_END_SESSION_ENDPOINT and came_from_it):
        return ""
    asked = {
        "client_id": settings.OIDC_RP_CLIENT_ID,
        "post_logout_redirect_uri": request.build_absolute_uri(reverse("admin:login")),
    }
    return f"{settings.OIDC_OP_END_SESSION_ENDPOINT}?{urlencode(asked)}"


def _is_to_prove(request: HttpRequest) -> bool:
    return "prove" in request.GET and request.user.is_authenticated


def _arrival(request: HttpRequest) -> Arrival:
    """What was begun in this browser under the state that comes back."""
    states = request.session.get(STATES) or {}
    begun = states.get(request.GET.get("state", ""))
    if begun is None:
        raise Refused("bad_state")
    began = datetime.fromtimestamp(begun["added_on"], timezone.utc)
    if fault := _fault(request, began, begun["proves"]):
        kept = {state: value for state, value in states.items() if value is not begun}
        request.session[STATES] = kept
        raise Refused(fault)
    return Arrival(begun_at=began, back=begun["back"], proves=begun["proves"])


def _fault(request: HttpRequest, began: datetime, proves: str) -> str:
    """Why there is no need to ask the provider for a token; empty if there is."""
    if local_now() - began > LONGEST_WAY:
        return "bad_state"
    if request.GET.get("iss", settings.OIDC_OP_ISSUER) != settings.OIDC_OP_ISSUER:
        return "wrong_issuer"
    if "error" in request.GET or not request.GET.get("code"):
        was_denied = request.GET.get("error") == "access_denied"
        return "access_denied" if was_denied else "provider_refused"
    return "" if proves in ("", str(request.user.pk)) else "another_person"


def _refusal_page(request: HttpRequest, refused: Refused) -> HttpResponse:
    context = {"sentence": refused.sentence, "request_id": getattr(request, "request_id", "")}
    page = TemplateResponse(request, "sign_in_refused.html", context, status=refused.status)
    if wait := _told(request, refused):
        page.status_code = HTTPStatus.TOO_MANY_REQUESTS
        page["Retry-After"] = str(wait)
    return page


def _told(request: HttpRequest, refused: Refused) -> int | None:
    """Record the refusal; or, of an address with too many, once that it has; then, for how long."""
    name = (refused.person or request.user).get_username() or NOBODY
    address = client_address(request)
    wait = guessing.seconds_to_wait(refused.reason, address, "")
    if wait is None:
        tell_anyway(EventName.SIGN_IN_REFUSED, request, name, refused.reason, **refused.told)
    elif guessing.is_first_told(address):
        tell_anyway(EventName.LOCKED_OUT, request, name, refused.reason)
    return wait
