"""What an ID token must be (OpenID Connect Core 3.1.3.7); mozilla-django-oidc asks a part of it.

It checks the signature and the nonce. Here the token is checked as bearer tokens are, so for its
issuer, audience, time, form and the provider's key as well, and for what is an ID token's alone:
the authorised party, and the nonce of this sign-in. `at_hash` is not looked at: the access token
comes in the same answer, and opens nothing but the claims of the same subject.
"""

from collections.abc import Mapping

from django.conf import settings

from rampart.oidc.refusals import Refused
from tools.identity import BadCredentials
from tools.tokens import checking, jwks, reading
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.issuers import Issuer

LONGEST_SUBJECT = 255
NEEDED = frozenset({"iss", "sub", "aud", "exp", "iat"})
REASONS_OF = {
    "token_expired": "token_expired",
    "token_not_yet_valid": "token_not_yet_valid",
    "wrong_issuer": "wrong_issuer",
    "wrong_audience": "wrong_audience",
    "wrong_algorithm": "bad_signature",
    "unknown_signing_key": "bad_signature",
    "invalid_credentials": "bad_signature",
}
"""What is wrong with a bearer token, as a reason for not letting somebody in; else `bad_token`."""


def claims_of(text: str, nonce: str) -> dict[str, object]:
    """The claims of a token that is for us, now, and for this sign-in; Refused otherwise."""
    try:
        claims = checking.claims_of(reading.read(text), _provider())
        claims.name("sub", LONGEST_SUBJECT)
    except BadCredentials as bad:
        raise Refused(REASONS_OF.get(bad.code, "bad_token"), fault=bad.fault or bad.code) from None
    except IssuerUnavailable as error:
        raise Refused("provider_unavailable", fault=str(error)) from None
    _must_be_for_us_alone(claims.values)
    if claims.values.get("nonce") != nonce:
        raise Refused("wrong_nonce")
    return dict(claims.values)


def _provider() -> Issuer:
    return Issuer(
        name=settings.OIDC_OP_ISSUER,
        audiences=frozenset({settings.OIDC_RP_CLIENT_ID}),
        algorithms=frozenset({settings.OIDC_RP_SIGN_ALGO}),
        keys=jwks.at_address(settings.OIDC_OP_JWKS_ENDPOINT),
        required=NEEDED,
        leeway=settings.RAMPART_JWT_LEEWAY.total_seconds(),
    )


def _must_be_for_us_alone(claims: Mapping[str, object]) -> None:
    """Among several audiences, and wherever a party is named, the authorised one must be us."""
    audiences = claims["aud"]
    is_shared = isinstance(audiences, list) and len(audiences) > 1
    party = claims.get("azp", None if is_shared else settings.OIDC_RP_CLIENT_ID)
    if party != settings.OIDC_RP_CLIENT_ID:
        raise Refused("wrong_audience", fault="another party is authorised")
