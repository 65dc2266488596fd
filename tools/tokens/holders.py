"""Who holds a token: a service, or a person.

Which issuer has to prove a token is chosen by its form and by what it says of itself. A choice is
all that this is worth: the issuer chosen must have signed exactly this text.
"""

from django.contrib.auth.models import User

from tools import identity
from tools.identity import BadCredentials, Caller
from tools.keys import LONGEST_CREDENTIAL
from tools.tokens import people, subjects
from tools.tokens.checking import claims_of
from tools.tokens.claims import Service, is_for_access
from tools.tokens.reading import Token, read
from tools.tokens.trust import Trusted, trusted

KEYS_BEGIN_WITH = ("rmp_", "trp_")
"""A mistyped key is not to be shown to a provider."""


def holder_of(text: str, address: str) -> Caller | User:
    """Who holds the token, calling from the address; BadCredentials if it is no good.

    IssuerUnavailable if that can't be told now.
    """
    if len(text) > LONGEST_CREDENTIAL or not text.isascii():
        raise BadCredentials("malformed_credentials")
    proved = _proved(text, trusted())
    if isinstance(proved, User):
        return proved
    asked = identity.ask()
    return identity.admit(subjects.caller_for(proved), text, address, asked)


def _proved(text: str, those: Trusted) -> Service | User:
    if text.startswith(KEYS_BEGIN_WITH):
        raise BadCredentials("invalid_credentials")
    if text.count(".") == 2 and (those.services or those.people):
        return _proved_by_signature(read(text), those)
    if those.introspection:
        return those.introspection.service_of(text)
    raise BadCredentials("invalid_credentials")


def _proved_by_signature(token: Token, those: Trusted) -> Service | User:
    if not is_for_access(token.payload):
        fault = "the token says that it is not one for access"
        raise BadCredentials("malformed_credentials", fault=fault)
    if those.people and _is_a_persons(token, those):
        return people.person_for(claims_of(token, those.people))
    if those.services:
        claims = claims_of(token, those.services)
        return claims.service(those.services.actor_claim)
    if those.introspection:
        return those.introspection.service_of(token.text)
    raise BadCredentials("wrong_issuer")


def _is_a_persons(token: Token, those: Trusted) -> bool:
    """Whether it says that it is from the people's provider.

    If that gives out services' tokens too, those of a linked person are still a person's, so that
    nobody acts once as a service and decides once as a person.
    """
    if those.people is None or token.issuer != those.people.name:
        return False
    serves_both = those.services is not None and those.services.name in ("", token.issuer)
    return not serves_both or people.is_linked(token.issuer, token.subject)
