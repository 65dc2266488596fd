"""Is the token good? Its signature first, then what it says; each fault by its own name."""

import time
from collections.abc import Mapping

from jwt import PyJWS, PyJWTError

from tools.identity import BadCredentials
from tools.models import UNNAMED_ISSUER
from tools.tokens.claims import Claims, incomplete, is_name, moment
from tools.tokens.issuers import Issuer
from tools.tokens.reading import Token

LONGEST_ISSUER = 400
OUR_OWN = "urn:rampart:"
"""How names begin under which Rampart itself vouches for callers: nobody's token may bear one."""

_jws = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


def claims_of(token: Token, issuer: Issuer) -> Claims:
    """What the issuer says in the token; BadCredentials unless it gave it out, for us, for now.

    IssuerUnavailable if that can't be told, because its keys can't be had.
    """
    _must_be_signed(token, issuer)
    return checked(token.payload, issuer)


def checked(values: Mapping[str, object], issuer: Issuer) -> Claims:
    """The claims of whoever vouches for them already; BadCredentials if they are not for us now."""
    for claim in sorted(issuer.required):
        if values.get(claim) is None:
            raise incomplete(claim)
    _must_be_enough(values)
    expires_at = _must_be_now(values, issuer.leeway)
    named = _must_be_from(values, issuer)
    _must_be_for(values, issuer.audiences)
    return Claims(named, values, expires_at, issuer.leeway)


def _must_be_signed(token: Token, issuer: Issuer) -> None:
    key = issuer.key_for(token.algorithm, token.kid)
    try:
        _jws.decode_complete(token.text, key=key, algorithms=[token.algorithm])
    except (PyJWTError, ValueError, TypeError):
        raise BadCredentials("invalid_credentials") from None


def _must_be_enough(values: Mapping[str, object]) -> None:
    """A token bound to a key of its holder's (RFC 7800) is no use without a proof of that key."""
    if "cnf" in values:
        fault = "the token is bound to a key, and proofs of possession are not checked here"
        raise BadCredentials("token_incomplete", fault=fault)


def _must_be_now(values: Mapping[str, object], leeway: float) -> float | None:
    now = time.time()
    expires_at = moment(values, "exp")
    if expires_at is not None and now >= expires_at + leeway:
        raise BadCredentials("token_expired")
    for claim in ("nbf", "iat"):
        begins_at = moment(values, claim)
        if begins_at is not None and begins_at > now + leeway:
            raise BadCredentials("token_not_yet_valid")
    return expires_at


def _must_be_from(values: Mapping[str, object], issuer: Issuer) -> str:
    named = values.get("iss")
    if named is None:
        return issuer.name or UNNAMED_ISSUER
    if not isinstance(named, str) or not is_name(named, LONGEST_ISSUER):
        raise incomplete("iss")
    if named.startswith(OUR_OWN) or (issuer.name and named != issuer.name):
        raise BadCredentials("wrong_issuer")
    return named


def _must_be_for(values: Mapping[str, object], audiences: frozenset[str]) -> None:
    if not audiences:
        return
    named = values.get("aud")
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise incomplete("aud")
    if not audiences.intersection(named):
        raise BadCredentials("wrong_audience")
