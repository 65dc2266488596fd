"""Which leaves retention has taken the events of, by its own signed lines."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

from django.db.models import TextField
from django.db.models.functions import Cast

from audit import notes
from audit.canonical import JSON, value_of
from audit.events import EventName
from audit.models import Event
from audit.notes import Verifier
from audit.prunings import Leaves, pruned_leaves
from audit.verification.judging import Fault, id_of
from audit.verification.trust import Trust


class Pruned:
    """What the lines `ledger:pruned` say, read when it is first asked for.

    A line can be signed by a key that is announced further on, so every announced key counts until
    the end; then it must have been vouched for.
    """

    def __init__(self, origin: str, trust: Trust) -> None:
        self.origin, self.trust = origin, trust
        self.runs: Leaves = []
        self.signers: dict[str, tuple[Verifier, ...]] = {}

    def covers(self, leaf: int) -> bool:
        """Whether the leaf's event was pruned; retention may have run since it was last read."""
        if self._covers(leaf):
            return True
        self._read()
        return self._covers(leaf)

    def judge(self) -> None:
        """Each line that was believed must be signed by a key that is known by now."""
        for event_id, signers in self.signers.items():
            if not self.trust.vouches_for(signers):
                raise Fault("it says what was pruned, and no known key has signed it", event_id)

    def _covers(self, leaf: int) -> bool:
        at = bisect_right(self.runs, leaf, key=lambda run: run[0]) - 1
        return at >= 0 and leaf <= self.runs[at][1]

    def _read(self) -> None:
        keys = Trust([*self.trust.given, *self.trust.known])
        for _, metadata in _lines(EventName.CHECKPOINT_KEY_ANNOUNCED):
            keys.announce(metadata, 0)
        found: Leaves = []
        for event_id, metadata in _lines(EventName.LEDGER_PRUNED):
            with suppress(ValueError, TypeError):  # A bad line is no proof, and judged as a line.
                found += pruned_leaves(self.origin, metadata, keys.candidates())
                note = notes.read(metadata["note"], keys.candidates())
                self.signers[event_id] = note.signed_by
        self.runs = apart(found)


def apart(runs: Leaves) -> Leaves:
    """In order, and each beginning after the one before has ended."""
    apart: Leaves = []
    for first, last in sorted(runs):
        if apart and first <= apart[-1][1]:
            apart[-1][1] = max(last, apart[-1][1])
        else:
            apart.append([first, last])
    return apart


def _lines(name: EventName) -> Iterator[tuple[str, JSON]]:
    """The ids and metadata of these events, as far as they can be read."""
    texts = (Cast(column, TextField()) for column in ("pk", "metadata"))
    rows = Event.objects.filter(event=name).order_by("pk").values_list(*texts)
    for event_id, text in rows.iterator():
        with suppress(ValueError, TypeError, RecursionError):
            yield id_of(event_id), value_of(text)
