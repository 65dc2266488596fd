"""API keys as text: made, taken apart, compared. Nothing here touches the database.

A key is `rmp_` and ten characters, which may be shown, then `_` and a 256-bit random secret.
A secret of that size can't be guessed offline, so one SHA-256 serves; a slow hash would only let
strangers burn the server's time.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PREFIX = re.compile(r"rmp_[a-z2-7]{10}", re.ASCII)
KEY = re.compile(rf"({PREFIX.pattern})_[A-Za-z0-9_-]{{43}}", re.ASCII)
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
LONGEST_CREDENTIAL = 8192
"""Bytes; nobody needs to hash more to know that it is no key."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `text` is shown once and kept nowhere."""

    text: str
    prefix: str
    digest: str

    def __repr__(self) -> str:
        return f"<NewKey {self.prefix}>"


def new_key() -> NewKey:
    """A fresh key."""
    prefix = "rmp_" + "".join(secrets.choice(ALPHABET) for _ in range(10))
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(text, prefix, digest_of(text))


def prefix_of(text: str) -> str | None:
    """The visible start of a well-formed key, or None."""
    match = KEY.fullmatch(text)
    return match[1] if match else None


def without_keys(text: str) -> str:
    """The text without the secrets of keys that somebody has put into it."""
    return KEY.sub(r"\1_…", text)


def digest_of(text: str) -> str:
    """SHA-256 of the whole key, as hex."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def matches(text: str, digest: str) -> bool:
    """Whether the key has this digest, in constant time."""
    return hmac.compare_digest(digest_of(text), digest)
