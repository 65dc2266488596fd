"""Signed notes (C2SP signed-note, version 1): a text, and who signed it with Ed25519.

The format is Go's `golang.org/x/mod/sumdb/note`, which tools for transparency logs read:
the text, an empty line, and for each signature a line `— name base64(key id + signature)`.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.canonical import SURROGATE

ED25519 = b"\x01"
DASH = "\u2014 "
MOST_SIGNATURES = 100


class BadNote(ValueError):
    """This is no signed note, or none of the known keys has signed it."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the name that it signs under."""

    name: str
    public: bytes

    @classmethod
    def from_text(cls, text: str) -> "Verifier":
        """A key as it is handed out: `name+key id in hex+base64`; ValueError otherwise."""
        name, _, rest = text.strip().partition("+")
        key_id, _, key = rest.partition("+")
        raw = _decoded(key)
        if not _is_name(name) or raw[:1] != ED25519 or len(raw) != 33:
            raise ValueError("this is no Ed25519 verifier key")
        verifier = cls(name, raw[1:])
        if verifier.key_id.hex() != key_id:
            raise ValueError("the key's id is not that of the key")
        return verifier

    @property
    def key_id(self) -> bytes:
        named = self.name.encode() + b"\n" + ED25519 + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_encoded(ED25519 + self.public)}"

    def has_signed(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and the name that it signs under."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> "Signer":
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.private.public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        signed = self.verifier.key_id + self.private.sign(text.encode())
        return f"{DASH}{self.name} {_encoded(signed)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and the known keys that have signed it."""

    text: str
    signed_by: tuple[Verifier, ...]


def sign(text: str, signers: Iterable[Signer]) -> str:
    """The signed note; the text ends with a newline."""
    return f"{text}\n{''.join(signer.line(text) for signer in signers)}"


def read(note: str, verifiers: Sequence[Verifier]) -> Note:
    """The text, once one of the verifiers has signed it.

    Signatures by others are passed over; a wrong one by a verifier, and a note that none of them
    has signed, raise BadNote.
    """
    text, lines = _split(note)
    signed_by = []
    for line in lines:
        name, key_id, signature = _signature(line)
        for verifier in verifiers:
            if (verifier.name, verifier.key_id) == (name, key_id):
                if not verifier.has_signed(text, signature):
                    raise BadNote(f"the signature by {name}+{key_id.hex()} is wrong")
                signed_by.append(verifier)
    if not signed_by:
        raise BadNote(f"no known key has signed it; it names {', '.join(named(note))}")
    return Note(text, tuple(dict.fromkeys(signed_by)))


def unverified_text(note: str) -> str:
    """What it says, whoever may have signed it; BadNote where it is none."""
    return _split(note)[0]


def named(note: str) -> list[str]:
    """The keys that it says have signed it, as `name+id in hex`."""
    signatures = (_signature(line) for line in _split(note)[1])
    return [f"{name}+{key_id.hex()}" for name, key_id, _ in signatures]


def _split(note: str) -> tuple[str, list[str]]:
    text, gap, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not gap or lines.pop() != "" or not 1 <= len(lines) <= MOST_SIGNATURES:
        raise BadNote("this is no signed note")
    if any(ord(character) < 32 and character != "\n" for character in note):
        raise BadNote("a signed note has no control characters")
    if SURROGATE.search(note):
        raise BadNote("a signed note is UTF-8")
    return f"{text}\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, signed = rest.partition(" ")
    raw = _decoded(signed)
    if f"{dash} " != DASH or not _is_name(name) or len(raw) < 5:
        raise BadNote("a line below the text is no signature")
    return name, raw[:4], raw[4:]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(map(str.isspace, name))


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    """The bytes, or none where the text is not the one way to write them."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return raw if _encoded(raw) == text else b""
