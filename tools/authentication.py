"""The gate of the REST API: a key or a person's session, decided once per request."""

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tools.identity import BadCredentials, Caller, identify, is_within

KEY_HEADERS = ("X-Rampart-Key", "X-ToolRampart-Key")
REALM = 'Bearer realm="rampart"'


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or a key header. Bad credentials end here with 401."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        text = _credential(request)
        if text is None:
            return None
        try:
            caller = identify(text, client_address(request._request))
        except BadCredentials as bad:
            request._request.refused_key_prefix = bad.prefix  # type: ignore[attr-defined]
            raise AuthenticationFailed(SENTENCES[bad.code], code=bad.code) from None
        return caller, caller.prefix

    def authenticate_header(self, request: Request) -> str:
        return REALM


SENTENCES = {
    "invalid_credentials": "these credentials are not valid",
    "malformed_credentials": "the credentials cannot be read",
    "key_revoked": "this key has been revoked",
    "key_expired": "this key has expired",
    "key_owner_disabled": "the owner of this key is disabled",
    "key_not_allowed_here": "this key may not be used from this address",
}


class PersonAuthentication(SessionAuthentication):
    """A person's admin session; writing needs the CSRF token."""


def client_address(request: HttpRequest) -> str:
    """The caller's address: the peer's, or what a trusted proxy says of it."""
    address: str = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not is_within(address, settings.RAMPART_TRUSTED_PROXIES):
            break
        address = hop
    return address


def _credential(request: Request) -> str | None:
    """What the caller presents as key; None where it presents nothing."""
    given: list[str] = [request.headers[name] for name in KEY_HEADERS if name in request.headers]
    if "Authorization" in request.headers:
        scheme, _, text = request.headers["Authorization"].partition(" ")
        if scheme.casefold() != "bearer" or not text.strip():
            raise AuthenticationFailed(
                SENTENCES["malformed_credentials"], code="malformed_credentials"
            )
        given.append(text.strip())
    if len(set(given)) > 1:
        raise AuthenticationFailed("the headers disagree", code="malformed_credentials")
    return given[0] if given else None
