"""People who come with a token of the OpenID provider: users that an earlier sign-in has linked.

A person's token may decide on calls, so it must be a person's: not one that a client got for
itself, nor one with which somebody acts in a person's name.
"""

from django.contrib.auth.models import User

from tools.identity import BadCredentials
from tools.models import FederatedIdentity
from tools.tokens.claims import LONGEST_SUBJECT, Claims

CLIENT_CLAIMS = ("client_id", "azp", "cid", "appid")
"""Under which providers name the client: RFC 9068, OpenID Connect, Okta, Microsoft."""
GRANT_CLAIMS = ("gty", "grant_type")
"""How the token was got: Auth0, WSO2."""
OF_CLIENTS = "@clients"
"""How Auth0 ends the subject of a client that came for itself."""
OF_KEYCLOAK = "service-account-"


def person_for(claims: Claims) -> User:
    """The active user that the token's subject is linked to; BadCredentials if there is none."""
    subject = claims.name("sub", LONGEST_SUBJECT)
    if is_a_machines(claims, subject):
        raise BadCredentials("not_a_person")
    links = FederatedIdentity.objects.select_related("user")
    link = links.filter(issuer=claims.issuer, subject=subject).first()
    if link is None:
        raise BadCredentials("unknown_person")
    if not link.user.is_active:
        raise BadCredentials("person_disabled")
    return link.user


def is_linked(issuer: str, subject: str) -> bool:
    """Whether some user, active or not, has signed in under this name."""
    return FederatedIdentity.objects.filter(issuer=issuer, subject=subject).exists()


def is_a_machines(claims: Claims, subject: str) -> bool:
    """Whether a client got the token for itself (client credentials), or acts for somebody.

    Providers say the first in ways of their own; the second is RFC 8693's `act`.
    """
    said = claims.values
    return (
        "act" in said
        or said.get("idtyp") == "app"
        or any(_is_client_credentials(said.get(claim)) for claim in GRANT_CLAIMS)
        or any(subject.removesuffix(OF_CLIENTS) == said.get(claim) for claim in CLIENT_CLAIMS)
        or str(said.get("preferred_username", "")).startswith(OF_KEYCLOAK)
    )


def _is_client_credentials(grant: object) -> bool:
    return isinstance(grant, str) and grant.replace("-", "_") == "client_credentials"
