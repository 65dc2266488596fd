"""mozilla-django-oidc's backend, made to ask all that the standard wants asked of a token.

It serves our own callback alone. The package's would also take `code` and `state` from the address
of any sign-in form, where nobody has looked at the state.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlsplit

import requests
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AbstractBaseUser, User
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from requests.auth import AuthBase, HTTPBasicAuth

from rampart.oidc import accounts, tokens
from rampart.oidc.refusals import Refused
from tools.tokens.fetching import NoCredentials


@dataclass(slots=True)
class Arrival:
    """Somebody comes back from the provider: what they went for, and what the provider said."""

    begun_at: datetime
    back: str
    proves: str = ""
    """The user who is to prove who they are; empty for a sign-in."""
    proved_at: datetime | None = None
    """When the provider says that the person last did so."""

    @property
    def told(self) -> dict[str, str]:
        """What the ledger is told of the sign-in."""
        return {"issuer": settings.OIDC_OP_ISSUER}


class Provider(OIDCAuthenticationBackend):  # type: ignore[misc]
    """Who the provider says it is, if all it says fits together; Refused otherwise, never None."""

    def authenticate(self, request: HttpRequest | None, **kwargs: Any) -> AbstractBaseUser | None:
        if not isinstance(getattr(request, "oidc_arrival", None), Arrival):
            return None
        person: AbstractBaseUser | None = super().authenticate(request, **kwargs)
        return person

    def get_user(self, user_id: Any) -> AbstractBaseUser | None:
        """The package's lets the disabled go on."""
        return ModelBackend.get_user(self, user_id)

    def get_token(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The package's would follow a redirect, and our secret with it."""
        ours: AuthBase = NoCredentials()
        if settings.OIDC_TOKEN_USE_BASIC_AUTH:
            secret = payload.pop("client_secret")
            ours = HTTPBasicAuth(quote_plus(settings.OIDC_RP_CLIENT_ID), quote_plus(secret))
        found = _answer("POST", self.OIDC_OP_TOKEN_ENDPOINT, ours, payload)
        if not all(isinstance(found.get(name), str) for name in ("id_token", "access_token")):
            raise Refused("provider_unavailable", fault="the token endpoint gave no tokens")
        return found

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        return tokens.claims_of(token, kwargs["nonce"])

    def get_userinfo(
        self, access_token: str, id_token: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims at the user endpoint, as plain JSON, about the token's subject."""
        found = _answer("GET", self.OIDC_OP_USER_ENDPOINT, Bearer(access_token))
        if found.get("sub") != payload["sub"]:
            raise Refused("wrong_subject")
        return found

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User:
        arrival: Arrival = self.request.oidc_arrival
        arrival.proved_at = _moment(payload.get("auth_time"))
        claims = payload | self.get_userinfo(access_token, id_token, payload)
        if arrival.proves:
            return _proved_person(arrival, payload["sub"])
        return accounts.admit(self.request, payload["sub"], claims)


def _proved_person(arrival: Arrival, subject: str) -> User:
    """The person of the session, if they are who came back, and proved it after they were asked."""
    person = accounts.linked_person(subject)
    if person is None or str(person.pk) != arrival.proves:
        raise Refused("another_person", subject=subject)
    if (
        arrival.proved_at is None
        or arrival.proved_at < arrival.begun_at - settings.RAMPART_JWT_LEEWAY
    ):
        raise Refused("not_proved_now", person=person, subject=subject)
    return person


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


class Bearer(AuthBase):
    """The access token. As a header alone it would give way to a `.netrc` with the same host."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def _answer(
    method: str, address: str, auth: AuthBase, form: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The JSON object that the provider answers with, 200 and without a detour."""
    status = "nothing"
    try:
        answer = requests.request(
            method, address, data=form, auth=auth, timeout=settings.OIDC_TIMEOUT,
            allow_redirects=False,
        )  # fmt: skip
        status = str(answer.status_code)
        found = answer.json() if answer.status_code == HTTPStatus.OK else None
    except requests.RequestException:
        found = None
    if isinstance(found, dict):
        return found
    is_spent = method == "POST" and status == str(int(HTTPStatus.BAD_REQUEST))
    reason = "code_refused" if is_spent else "provider_unavailable"
    raise Refused(reason, fault=f"{urlsplit(address).path} answered {status}")
