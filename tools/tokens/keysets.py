"""Public keys as an issuer publishes them (RFC 7517), and which algorithms each is for."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError, PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys, HMACAlgorithm

SHORTEST_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms with a shared secret, and how many bytes it needs (RFC 7518, 3.2)."""
RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVES = {
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
    ("OKP", "Ed448"): "EdDSA",
}
PUBLISHED = RSA | frozenset(CURVES.values())
"""Algorithms with a public key."""
USUAL = ("RS256", "ES256", "EdDSA")
SIZES_OF_RSA = range(2048, 16_384 + 1)
"""Bits: less can be broken, more OpenSSL refuses."""
PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, its name if it has one, and the algorithms that it may be used with."""

    kid: str | None
    algorithms: frozenset[str]
    key: AllowedPublicKeys


def parse_keys(document: object) -> tuple[PublicKey, ...]:
    """The keys of a JSON Web Key Set that can check a signature; ValueError if it is none.

    Left out are shared secrets, keys for something else, too small, unknown or broken, and those
    whose private half is published as well.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a JSON Web Key Set")
    return tuple(parsed for key in keys if (parsed := _parse(key)))


def fitting(keys: Sequence[PublicKey], algorithm: str, kid: str | None) -> PublicKey | None:
    """The key that is meant: without a name, and also with one, only if no other fits."""
    fit = [key for key in keys if algorithm in key.algorithms and kid in (None, key.kid)]
    return fit[0] if len(fit) == 1 else None


def secret_fault(secret: str) -> str | None:
    """Why this can be no shared secret, or None."""
    if len(secret.encode()) < SHORTEST_SECRETS["HS256"]:
        return f"at least {SHORTEST_SECRETS['HS256']} bytes are needed"
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        return "it is a key or a certificate, not a secret"
    return None


def chosen_algorithms(text: str, secret: str, has_keys: bool) -> list[str]:
    """The algorithms of a comma list, or the usual ones; ValueError if one has no key."""
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if name in PUBLISHED and not has_keys:
            raise ValueError(f"{name} needs a key set, and none is configured")
        if name in SHORTEST_SECRETS and len(secret.encode()) < SHORTEST_SECRETS[name]:
            raise ValueError(f"{name} needs a secret of at least {SHORTEST_SECRETS[name]} bytes")
        if name not in PUBLISHED and name not in SHORTEST_SECRETS:
            known = ", ".join(sorted([*SHORTEST_SECRETS, *PUBLISHED]))
            raise ValueError(f"{name!r} is not one of {known}")
    return list(dict.fromkeys(names)) or [
        *(["HS256"] if secret else []),
        *(USUAL if has_keys else []),
    ]


def _parse(jwk: object) -> PublicKey | None:
    if not isinstance(jwk, dict) or "d" in jwk or not _is_for_signatures(jwk):
        return None
    algorithms, kid = _algorithms_of(jwk), jwk.get("kid")
    if not algorithms or not isinstance(kid, str | None):
        return None
    public = {member: jwk[member] for member in PUBLIC_MEMBERS if member in jwk}
    try:
        key = PyJWK(public, algorithm=min(algorithms)).key
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size not in SIZES_OF_RSA:
        return None
    return PublicKey(kid, algorithms, key)


def _is_for_signatures(jwk: dict[str, object]) -> bool:
    uses = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses


def _algorithms_of(jwk: dict[str, object]) -> frozenset[str]:
    """What the kind of key is good for, and no more than the key itself says."""
    match jwk:
        case {"kty": "RSA"}:
            fit = RSA
        case {"kty": str(kind), "crv": str(curve)} if (kind, curve) in CURVES:
            fit = frozenset({CURVES[kind, curve]})
        case _:
            return frozenset()
    return frozenset(name for name in fit if jwk.get("alg", name) == name)
