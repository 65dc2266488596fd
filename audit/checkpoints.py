"""Checkpoints (C2SP tlog-checkpoint, version 1): a signed word on the tree at one size.

The text of the note is the ledger's origin, the size and the root, each on its line. Which keys
sign is `RAMPART_CHECKPOINT_KEY`'s to say; a key's public half is announced in the ledger before it
first signs, in a note that all keys sign that are set beside it: so each vouches for the others.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

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
    """The keys that the ledger names, in the order of their first announcement.

    A line that names none is passed over: else whoever can write one would end all sealing.
    """
    return list(dict.fromkeys(filter(None, map(_key_in, _announcements()))))


def unannounced(origin: str) -> list[Verifier]:
    """The keys that sign here and that not each of them has vouched for yet, the newest first: so a
    reader knows it when it comes to an older one's line, which it has signed.
    """
    mine = [signer.verifier for signer in signers(origin)]
    vouched: dict[Verifier, set[Verifier]] = {verifier: set() for verifier in mine}
    for metadata in _announcements() if mine else ():
        key = _key_in(metadata)
        if key in vouched:
            vouched[key].update(vouched_by(metadata, key, mine))
    return [verifier for verifier in mine if not vouched[verifier].issuperset(mine)]


def announce(verifier: Verifier) -> None:
    """Write into the ledger that this key signs from now on, signed by all that sign here."""
    note = notes.sign(_announcement(verifier), signers(verifier.name))
    ledger.record(
        EventName.CHECKPOINT_KEY_ANNOUNCED,
        actor="ledger",
        metadata={"key": str(verifier), "note": note},
    )


def vouched_by(metadata: Any, key: Verifier, verifiers: Sequence[Verifier]) -> set[Verifier]:
    """Which of the verifiers have signed the line that announces this key; anything may be one."""
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        note = notes.read(metadata["note"], verifiers)
        if note.text == _announcement(key):
            return set(note.signed_by)
    return set()


def _announcement(verifier: Verifier) -> str:
    return f"{verifier.name}/key\n{verifier}\n"


def _announcements() -> QuerySet[Event, Any]:
    """What the lines say that announce keys."""
    lines = Event.objects.filter(event=EventName.CHECKPOINT_KEY_ANNOUNCED).order_by("id")
    return lines.values_list("metadata", flat=True)


def _key_in(metadata: Any) -> Verifier | None:
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        return Verifier.from_text(metadata["key"])
    return None


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
