"""A token as text, taken apart and not yet believed."""

from dataclasses import dataclass

from jwt import PyJWS, PyJWTError

from tools.identity import BadCredentials
from tools.strict_json import json_object

FOR_ACCESS = {"jwt", "at+jwt", "application/at+jwt"}
"""What a token may call itself in `typ`, if anything: those for other ends say so there."""

_jws = PyJWS()


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A JSON Web Token whose parts can be read. Its signature is unchecked: they prove nothing."""

    text: str
    algorithm: str
    kid: str | None
    payload: dict[str, object]

    @property
    def issuer(self) -> str:
        """Who is said to have given it out; empty if nobody."""
        return self._said("iss")

    @property
    def subject(self) -> str:
        """Whom it is said to be about; empty if nobody."""
        return self._said("sub")

    def _said(self, claim: str) -> str:
        value = self.payload.get(claim)
        return value if isinstance(value, str) and value.isprintable() else ""


def read(text: str) -> Token:
    """The token that this text is; BadCredentials if it can't be read.

    Any `crit` is refused: no extension is known here, and `b64` would make another text of it.
    """
    try:
        parts = _jws.decode_complete(text, options={"verify_signature": False})
        payload = json_object(parts["payload"])
    except (PyJWTError, ValueError):
        raise _malformed("its parts are not base64url or not JSON") from None
    header: dict[str, object] = parts["header"]
    if "crit" in header or "b64" in header:
        raise _malformed("its header names extensions that are not known here")
    if not _is_for_access(header.get("typ", "JWT")):
        raise _malformed("its header says that it is not a token for access")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise BadCredentials("wrong_algorithm")
    return Token(text, algorithm, kid if isinstance(kid, str) else None, payload)


def _is_for_access(kind: object) -> bool:
    return isinstance(kind, str) and kind.casefold() in FOR_ACCESS


def _malformed(fault: str) -> BadCredentials:
    return BadCredentials("malformed_credentials", fault=f"the token can't be read: {fault}")
