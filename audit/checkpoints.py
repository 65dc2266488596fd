"""Checkpoints (C2SP tlog-checkpoint, version 1): a signed word on the tree at one size.

The text of the note is the ledger's origin, the size and the root, each on its line. Which keys
sign is `RAMPART_CHECKPOINT_KEY`'s to say; a key's public half is announced in the ledger before it
first signs, and an earlier key signs beside it: so each key is vouched for by the one before.
"""

import base64
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from audit import ledger, notes
from audit.events import EventName
from audit.models import Checkpoint, Event
from audit.notes import Signer, Verifier


@dataclass(frozen=True, slots=True)
class Statement:
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> "Statement":
        """ValueError where the text is no checkpoint; lines after the third are extensions."""
        origin, size, root, *_ = [*text.split("\n"), "", ""]
        hashed = base64.b64decode(root, validate=True)
        if not origin or not size.isascii() or not size.isdigit() or len(hashed) != 32:
            raise ValueError("this is no checkpoint")
        if str(int(size)) != size:
            raise ValueError("a size is written without zeros before it")
        return cls(origin, int(size), hashed)


def signers(origin: str) -> list[Signer]:
    """This deployment's keys under the ledger's name, the newest first; none where none is set."""
    seeds = dict.fromkeys(settings.RAMPART_CHECKPOINT_KEY)
    return [Signer.from_seed(origin, seed) for seed in seeds]


def announced() -> list[Verifier]:
    """The keys that the ledger names, in the order of their announcement.

    A line that names none is passed over: else whoever can write one would end all sealing.
    """
    lines = Event.objects.filter(event=EventName.CHECKPOINT_KEY_ANNOUNCED).order_by("id")
    named = map(_key_in, lines.values_list("metadata", flat=True))
    return [verifier for verifier in named if verifier]


def _key_in(metadata: Any) -> Verifier | None:
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        return Verifier.from_text(metadata["key"])
    return None


def unannounced(origin: str) -> list[Verifier]:
    """The keys that sign here and are not in the ledger yet, the oldest first."""
    mine = [signer.verifier for signer in reversed(signers(origin))]
    known = set(announced()) if mine else set()
    return [verifier for verifier in mine if verifier not in known]


def announce(verifier: Verifier) -> None:
    """Write into the ledger that this key signs from now on."""
    ledger.record(
        EventName.CHECKPOINT_KEY_ANNOUNCED, actor="ledger", metadata={"key": str(verifier)}
    )


def latest() -> Checkpoint | None:
    """The newest checkpoint."""
    return Checkpoint.objects.first()


def stated(checkpoint: Checkpoint) -> Statement:
    """What a stored checkpoint says."""
    return Statement.from_text(notes.unverified_text(checkpoint.note))


def sign(statement: Statement) -> Checkpoint | None:
    """Sign and store; None where no key is set."""
    keys = signers(statement.origin)
    if not keys:
        return None
    return Checkpoint.objects.create(size=statement.size, note=notes.sign(str(statement), keys))
