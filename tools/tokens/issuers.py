"""Whose tokens are believed, and what they must be like."""

from dataclasses import dataclass, field

from jwt.algorithms import AllowedPublicKeys

from tools.identity import BadCredentials
from tools.tokens.jwks import KeySource
from tools.tokens.keysets import SHORTEST_SECRETS


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who gives out tokens, and how it is told that it has."""

    name: str = ""
    """What `iss` must be; empty: anything, if the signature is right."""
    audiences: frozenset[str] = frozenset()
    """One of these must be in `aud`; empty: it is not looked at."""
    algorithms: frozenset[str] = frozenset()
    secret: bytes = field(default=b"", repr=False)
    keys: KeySource | None = None
    required: frozenset[str] = frozenset()
    """Claims that must be there."""
    leeway: float = 30.0
    """Seconds by which its clock and ours may differ."""
    actor_claim: str = "sub"

    def key_for(self, algorithm: str, kid: str | None) -> bytes | AllowedPublicKeys:
        """What checks a signature by this algorithm; the header has no say in what kind it is.

        A secret serves only the algorithms for secrets, and a published key never those.
        """
        if algorithm not in self.algorithms:
            raise BadCredentials("wrong_algorithm")
        if algorithm in SHORTEST_SECRETS:
            return self.secret
        if self.keys is None:
            raise BadCredentials("unknown_signing_key")
        return self.keys.key_for(algorithm, kid).key
