"""Where an event stands: whether it is what was written, sealed, and covered by a signature."""

from dataclasses import dataclass
from enum import Enum

from audit.merkle import leaf_hash
from audit.models import Checkpoint, Event, Leaf, Unsealed


class State(Enum):
    """How well an event is secured, with the look and the words of it."""

    ALTERED = ("bad", "✗", "It is not what was written: its columns do not match its digest.")
    FORGED = ("bad", "✗", "Its digest is not the one that was sealed.")
    UNKNOWN = ("bad", "✗", "It has no place in the tree and none waits for it: it did not come by"
               " the ledger's slot.")  # fmt: skip
    UNSEALED = ("waiting", "…", "It waits for its place in the tree, which takes a second or two"
                " while beat runs.")  # fmt: skip
    SEALED = ("waiting", "✓", "It is sealed. No checkpoint covers it yet.")
    SIGNED = ("good", "✓", "It is what was written, sealed, and covered by a signed checkpoint.")

    @property
    def look(self) -> str:
        return self.value[0]

    @property
    def sign(self) -> str:
        return self.value[1]

    @property
    def words(self) -> str:
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Standing:
    """An event's place in the tree, and the first checkpoint kept that covers it."""

    state: State
    leaf: int | None = None
    checkpoint: Checkpoint | None = None


def standing_of(event: Event) -> Standing:
    """Four short queries; only a verification can say that the whole tree is right."""
    leaf = Leaf.objects.filter(event_id=event.pk).first()
    if leaf is None:
        waits = Unsealed.objects.filter(pk=event.pk).exists()
        return Standing(_if_written(event, State.UNSEALED if waits else State.UNKNOWN))
    covering = Checkpoint.objects.filter(size__gt=leaf.index).order_by("size").first()
    state = State.SIGNED if covering else State.SEALED
    if bytes(leaf.hash) != leaf_hash(_digest(event)):
        state = State.FORGED
    return Standing(_if_written(event, state), leaf.index, covering)


def _if_written(event: Event, state: State) -> State:
    return state if event.computed_digest() == event.digest else State.ALTERED


def _digest(event: Event) -> bytes:
    try:
        return bytes.fromhex(event.digest)
    except ValueError:
        return b""
