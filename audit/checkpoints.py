"""Checkpoints (C2SP tlog-checkpoint, version 1): a signed word on the tree at one size.

The text of the note is the ledger's origin, the size and the root, each on its line. Which keys
sign is `RAMPART_CHECKPOINT_KEY`'s to say; a key's public half is announced in the ledger before it
first signs, and an earlier key signs beside it: so each key is vouched for by the one before.
"""

import base64
from dataclasses import dataclass

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
    return [Signer.from_seed(origin, seed) for seed in settings.RAMPART_CHECKPOINT_KEY]


def announced() -> list[Verifier]:
    """The keys that the ledger names, in the order of their announcement."""
    lines = Event.objects.filter(event=EventName.CHECKPOINT_KEY_ANNOUNCED).order_by("id")
    return [Verifier.from_text(line.metadata["key"]) for line in lines]


def announce_new_keys(origin: str) -> None:
    """Write a line about each key that signs here and is not in the ledger yet."""
    mine = [signer.verifier for signer in signers(origin)]
    if not mine:
        return
    known = set(announced())
    for verifier in reversed(mine):
        if verifier not in known:
            ledger.record(
                EventName.CHECKPOINT_KEY_ANNOUNCED, actor="ledger", metadata={"key": str(verifier)}
            )


def latest() -> Checkpoint | None:
    """The newest checkpoint."""
    return Checkpoint.objects.first()


def sign(statement: Statement) -> Checkpoint | None:
    """Sign and store; None where no key is set."""
    keys = signers(statement.origin)
    if not keys:
        return None
    return Checkpoint.objects.create(size=statement.size, note=notes.sign(str(statement), keys))
