"""What a verification has to say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from audit.notes import Verifier

Progress: TypeAlias = Callable[[int, int], None]
"""Told how far it is, and how far it has to go."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is not as it was written, sealed and signed."""

    event_id: str
    """Empty where no event can be named: a checkpoint, a node, a line that is gone."""
    fault: str
    leaf: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification saw until the end, or until its finding."""

    events: int
    """Events that were read."""
    size: int
    """Leaves that were judged."""
    unsealed: int
    """Events that wait for their leaf."""
    pruned: int
    """Leaves whose event is gone, as a signed line says."""
    checkpoint: str | None
    """The newest signed note that the leaves were compared with."""
    finding: Finding | None
    hidden: int = 0
    """Leaves whose event an export does not show."""
    signed_by: tuple[Verifier, ...] = ()
    """The known keys that signed the checkpoint."""
    is_own: bool = False
    """Both the checkpoint and its key come from what was verified, and from nowhere else."""


class Fault(Exception):
    """Something is not as it should be: the verification ends here."""

    def __init__(self, fault: str, event_id: object = "", leaf: int | None = None) -> None:
        super().__init__(fault)
        self.finding = Finding(str(event_id), fault, leaf)


class CouldNotVerify(Exception):
    """What was given is not enough to judge."""


def id_of(text: str) -> str:
    """An id that the database has given as text, as it is written elsewhere; it may be nonsense."""
    try:
        return str(UUID(text))
    except ValueError:
        return text


def span(first: int, end: int) -> str:
    """How a range of leaves is named."""
    return f"leaf {first}" if end - first == 1 else f"leaves {first} to {end - 1}"
