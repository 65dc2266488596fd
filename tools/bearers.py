"""Whose a credential is: a key of ours, one taken over, an issuer's token, a trusted proxy's word.

Its form says what it is, so that nothing is tried that it can't be; the first that applies decides.
"""

from django.contrib.auth.models import User

from tools import identity, imported_keys, keys
from tools.credentials import Presented
from tools.identity import BadCredentials, Caller
from tools.tokens import holders, subjects
from tools.tokens.claims import Service
from tools.trusted_headers import ISSUER, Vouched


def holder_of(given: Presented, address: str) -> Caller | User:
    """Who holds the credential and may use it from the address; BadCredentials otherwise.

    IssuerUnavailable and TooManyFirstUses where that can't be told now.
    """
    if caller := identity.remembered(given.text, address):
        return caller
    if keys.prefix_of(given.text) is not None:
        return identity.identify(given.text, address)
    if given.is_bearer and _is_signed(given.text):
        return holders.holder_of(given.text, address)
    if caller := _imported(given, address):
        return caller
    if given.is_bearer:
        return holders.holder_of(given.text, address)
    raise BadCredentials("invalid_credentials")


def vouched_caller(said: Vouched, address: str) -> Caller:
    """The caller whom a trusted proxy names; BadCredentials if its row was revoked."""
    if caller := identity.remembered(said.credential, address):
        return caller
    asked = identity.ask()
    caller = subjects.caller_for(Service(ISSUER, said.actor, said.actor, said.scopes, None))
    return identity.admit(caller, said.credential, address, asked)


def _is_signed(text: str) -> bool:
    """Whether it has the form of a JSON Web Token."""
    return text.count(".") == 2


def _imported(given: Presented, address: str) -> Caller | None:
    asked = identity.ask()
    row = imported_keys.find(given.text, given.key_id, address)
    return None if row is None else identity.admit(Caller.of(row), given.text, address, asked)
