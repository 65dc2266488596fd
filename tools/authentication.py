"""The gate of the REST API: a key, a token, a trusted proxy or a session, decided once per request.

The first that applies decides: credentials that were given and are not good end here, and never
make anybody anonymous or somebody else.
"""

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from tools import bearers, trusted_headers
from tools.addresses import is_within
from tools.credentials import presented
from tools.identity import BadCredentials, Caller
from tools.imported_keys import TooManyFirstUses
from tools.tokens.errors import IssuerUnavailable

REALM = 'Bearer realm="rampart"'

SENTENCES = {
    "invalid_credentials": "these credentials are not valid",
    "malformed_credentials": "the credentials cannot be read",
    "key_revoked": "this key has been revoked",
    "key_expired": "this key has expired",
    "key_owner_disabled": "the owner of this key is disabled",
    "key_not_allowed_here": "this key may not be used from this address",
    "token_expired": "this token's time is over",
    "token_not_yet_valid": "this token's time has not come",
    "token_incomplete": "this token lacks a claim that it needs",
    "token_inactive": "this token's provider says that it is not active",
    "wrong_audience": "this token is for somebody else",
    "wrong_issuer": "this token is from an issuer that is not trusted here",
    "wrong_algorithm": "this token is signed in a way that its issuer does not sign",
    "unknown_signing_key": "this token is signed with a key that its issuer does not publish",
    "unknown_person": "this token's person has never signed in here",
    "person_disabled": "this token's person is disabled here",
    "not_a_person": "this token was got by a program, and is nobody's",
}


class CredentialsRefused(APIException):
    """Credentials were given and are not good: 401, or 400 where one can't be made out."""

    def __init__(self, bad: BadCredentials) -> None:
        super().__init__(bad.fault or SENTENCES[bad.code], bad.code)
        self.status_code, self.prefix, self.fault = bad.status, bad.prefix, bad.fault
        self.auth_header = REALM if bad.status == 401 else None


class CannotTell(APIException):
    """Whoever gave out the token can't be asked whether it is good: nobody is let in by it."""

    status_code = 503
    default_code = "issuer_unavailable"
    default_detail = "whether this token is good can't be told now"


class Busy(APIException):
    """Keys that were taken over are slow to check at their first use, so few are at a time."""

    status_code = 503
    default_code = "busy"
    default_detail = "other keys are being checked for the first time: try again"
    wait = 1


class CredentialAuthentication(BaseAuthentication):
    """`Authorization: Bearer` with a key or a token, or a key header."""

    def authenticate(self, request: Request) -> tuple[Caller | User, str] | None:
        try:
            given = presented(request._request.META)
            if given is None:
                return None
            holder = bearers.holder_of(given, client_address(request._request))
        except BadCredentials as bad:
            raise CredentialsRefused(bad) from None
        except IssuerUnavailable:
            raise CannotTell from None
        except TooManyFirstUses:
            raise Busy from None
        return holder, "credential"

    def authenticate_header(self, request: Request) -> str:
        return REALM


class ProxyAuthentication(BaseAuthentication):
    """A caller for whom a trusted proxy vouches."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        try:
            said = trusted_headers.vouched(request._request.META)
            if said is None:
                return None
            caller = bearers.vouched_caller(said, client_address(request._request))
        except BadCredentials as bad:
            raise CredentialsRefused(bad) from None
        return caller, "proxy"

    def authenticate_header(self, request: Request) -> str:
        return REALM


class PersonAuthentication(SessionAuthentication):
    """A person's admin session; writing needs the CSRF token."""


def client_address(request: HttpRequest) -> str:
    """The caller's address: the peer's, or what a trusted proxy says of it."""
    address: str = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    if forwarded is None:
        return address
    # A header with an odd byte arrives empty: then it comes from nowhere, not from the proxy.
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()] or [""]):
        if not is_within(address, settings.RAMPART_TRUSTED_PROXIES):
            break
        address = hop
    return address
