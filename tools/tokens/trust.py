"""Whom the settings trust, made of them once and again only when they change."""

from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from tools.tokens import jwks
from tools.tokens.introspection import Introspection
from tools.tokens.issuers import Issuer
from tools.tokens.keysets import PUBLISHED


@dataclass(frozen=True, slots=True)
class Trusted:
    """Those whose tokens are believed; None where none is configured."""

    services: Issuer | None
    """Its JSON Web Tokens stand for services."""
    people: Issuer | None
    """The OpenID provider: its tokens stand for people who have signed in with it."""
    introspection: Introspection | None
    """It is asked about every other token."""


@dataclass(frozen=True, repr=False)
class _Given:
    """The settings that matter, as something that can be compared."""

    secret: str
    jwks_url: str
    jwks_file: str
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    actor_claim: str
    leeway: float
    introspection: tuple[str, str, str]
    provider: tuple[str, str, str, str]


def trusted() -> Trusted:
    """Whom the settings trust now."""
    return _trusted(
        _Given(
            secret=settings.RAMPART_JWT_SECRET,
            jwks_url=settings.RAMPART_JWT_JWKS_URL,
            jwks_file=settings.RAMPART_JWT_JWKS_FILE,
            issuer=settings.RAMPART_JWT_ISSUER,
            audiences=tuple(settings.RAMPART_JWT_AUDIENCE),
            algorithms=tuple(settings.RAMPART_JWT_ALGORITHMS),
            actor_claim=settings.RAMPART_JWT_ACTOR_CLAIM,
            leeway=settings.RAMPART_JWT_LEEWAY.total_seconds(),
            introspection=(
                settings.RAMPART_INTROSPECTION_URL,
                settings.RAMPART_INTROSPECTION_CLIENT_ID,
                settings.RAMPART_INTROSPECTION_CLIENT_SECRET,
            ),
            provider=(
                settings.OIDC_OP_ISSUER,
                settings.OIDC_OP_JWKS_ENDPOINT,
                settings.OIDC_RP_CLIENT_ID,
                settings.OIDC_RP_SIGN_ALGO,
            ),
        )
    )


def forget() -> None:
    """Drop what this process holds of keys, and of answers about tokens."""
    _trusted.cache_clear()
    jwks.forget()


@lru_cache(maxsize=8)
def _trusted(given: _Given) -> Trusted:
    return Trusted(_services(given), _people(given), _introspection(given))


def _services(given: _Given) -> Issuer | None:
    keys = _keys(given)
    if not given.secret and keys is None:
        return None
    return Issuer(
        name=given.issuer,
        audiences=frozenset(given.audiences),
        algorithms=frozenset(given.algorithms),
        secret=given.secret.encode(),
        keys=keys,
        required=frozenset({"exp"} | _named(given) | _addressed(given)),
        leeway=given.leeway,
        actor_claim=given.actor_claim,
    )


def _keys(given: _Given) -> jwks.KeySource | None:
    if given.jwks_url:
        return jwks.at_address(given.jwks_url)
    return jwks.in_file(given.jwks_file) if given.jwks_file else None


def _people(given: _Given) -> Issuer | None:
    """None if the provider signs with a secret that we share: who holds that could be anyone."""
    name, url, client_id, algorithm = given.provider
    if not (name and url and client_id) or algorithm not in PUBLISHED:
        return None
    return Issuer(
        name=name,
        audiences=frozenset({client_id, *given.audiences}),
        algorithms=frozenset({algorithm}),
        keys=jwks.at_address(url),
        required=frozenset({"exp", "iss", "aud", "sub"}),
        leeway=given.leeway,
    )


def _introspection(given: _Given) -> Introspection | None:
    """Who answers is known by the address, so it need not name itself."""
    url, client_id, client_secret = given.introspection
    if not url:
        return None
    issuer = Issuer(
        name=given.issuer,
        audiences=frozenset(given.audiences),
        required=frozenset(_addressed(given)),
        leeway=given.leeway,
        actor_claim=given.actor_claim,
    )
    return Introspection(url, client_id, client_secret, issuer)


def _named(given: _Given) -> set[str]:
    return {"iss"} if given.issuer else set()


def _addressed(given: _Given) -> set[str]:
    return {"aud"} if given.audiences else set()
