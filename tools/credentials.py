"""What a request presents as its credentials, read strictly; whether they are good is asked later.

`Authorization: Bearer` is RFC 6750's, whose tokens hold neither blanks nor commas: two such
headers, which a server joins by a comma, can be told from one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tools.identity import BadCredentials
from tools.keys import LONGEST_CREDENTIAL

KEY_HEADERS = ("X-Rampart-Key", "X-ToolRampart-Key")
AUTHORIZATION, KEY_ID = "HTTP_AUTHORIZATION", "HTTP_X_TOOLRAMPART_KEY_ID"
KEYS = ("HTTP_X_RAMPART_KEY", "HTTP_X_TOOLRAMPART_KEY")
"""The headers' names in WSGI: to look there takes a third of the time of Django's mapping."""
BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
TWO_CREDENTIALS = re.compile(r",\s*(Bearer|Basic|Digest|Negotiate) ", re.ASCII | re.IGNORECASE)
"""A comma, and then another credential."""


@dataclass(frozen=True, slots=True)
class Presented:
    """The one credential of a request. Only as a bearer may it be something other than a key."""

    text: str
    is_bearer: bool
    key_id: str = ""
    """How another system called the key, for keys that were imported from there."""

    def __repr__(self) -> str:
        return "<Presented>"


def presented(environment: Mapping[str, str]) -> Presented | None:
    """The credential, None if there is none; BadCredentials if unreadable or not one."""
    given = {environment[name] for name in KEYS if name in environment}
    bearer = _bearer(environment[AUTHORIZATION]) if AUTHORIZATION in environment else None
    if bearer is not None:
        given.add(bearer)
    if not given:
        return None
    for text in given:
        _must_be_readable(text)
    if len(given) > 1:
        raise _malformed("the headers disagree")
    (text,) = given
    return Presented(text, bearer is not None, environment.get(KEY_ID, "")[:200])


def _bearer(header: str) -> str:
    scheme, _, text = header.partition(" ")
    text = text.strip(" ")
    if TWO_CREDENTIALS.search(header):
        raise BadCredentials(
            "malformed_credentials", fault="there is more than one Authorization header", status=400
        )
    if scheme.casefold() != "bearer":
        raise _malformed("the scheme is not Bearer")
    _must_be_readable(text)
    if not BEARER_TOKEN.fullmatch(text):
        raise _malformed("there is no bearer token")
    return text


def _must_be_readable(text: str) -> None:
    if len(text) > LONGEST_CREDENTIAL:
        raise _malformed("the credentials are longer than 8 KiB")
    if not text.isascii() or not text.isprintable():
        raise _malformed("the credentials hold more than printable ASCII")


def _malformed(fault: str) -> BadCredentials:
    return BadCredentials("malformed_credentials", fault=fault)
