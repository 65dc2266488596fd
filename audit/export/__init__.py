"""Exports: the sealed events as lines, in the order of their leaves, with what proves them.

`begin` writes down that somebody takes a copy away, seals and signs; `lines` is then that copy. The
rows of one line after the other are all that is ever in memory, and no transaction stays open.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from audit import checkpoints, ledger, sealing
from audit.canonical import rfc3339
from audit.events import EventName
from audit.export.formats import CSV, FORMATS, JSONL, OCSF, Format
from audit.export.reading import Line, Selection, selected
from audit.proofs import covering_hashes, encoded

__all__ = [
    "CSV", "FORMATS", "JSONL", "OCSF", "Extent", "Format", "Selection",
    "begin", "follow", "lines", "tell",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an export goes, and the signed note that says what the tree was there."""

    size: int
    checkpoint: str | None = None
    """None where nothing was ever signed, and for a stream that has no end."""
    unsigned: int = 0
    """The sealed events beyond it, which the export leaves out."""


def begin(
    form: Format, selection: Selection, *, by: str, source: str, request_id: str = ""
) -> Extent:
    """Write the export down, then seal and sign all that is in the ledger, this line included.

    A process without a key can't sign: its export ends where the newest checkpoint does. Database
    errors pass through: an export that can't be recorded does not happen.
    """
    tell(form, selection, by=by, source=source, request_id=request_id)
    size = sealing.seal().size
    newest = checkpoints.latest()
    return Extent(newest.size, newest.note, size - newest.size) if newest else Extent(size)


def tell(
    form: Format, selection: Selection, *, by: str, source: str, request_id: str = "",
    follows: bool = False,
) -> None:  # fmt: skip
    """The ledger's line about an export: who took what away."""
    ledger.record(
        EventName.LEDGER_EXPORTED,
        actor=by,
        source=source,
        request_id=request_id,
        metadata={
            "format": form.name,
            "since": _moment(selection.since),
            "until": _moment(selection.until),
            "after": selection.after,
            "follows": follows,
        },
    )


def lines(form: Format, selection: Selection, extent: Extent, *, told: int = 0) -> Iterator[str]:
    """The export without its header: a line for each selected event below the extent's size.

    `told` is how many leaves the lines before this have spoken for: 0 unless this goes on with an
    earlier export. The last line leads to the checkpoint; without one, none does.
    """
    last: Line | None = None
    for line in selected(selection, extent.size, told):
        if last is not None:
            yield form.write(last)
        last = line
    if last is not None:
        yield form.write(_finished(last, extent))


def follow(
    form: Format, selection: Selection, *, told: int, pause: Callable[[], bool]
) -> Iterator[str]:
    """Lines as their events are sealed, by whoever seals. `pause` waits between two looks, and
    says whether to look again.
    """
    while True:
        size = sealing.the_tree().size
        for line in selected(selection, size, told):
            yield form.write(line)
            told = line.leaf + 1
        selection = replace(selection, after=max(size, selection.first) - 1)
        if not pause():
            return


def _finished(line: Line, extent: Extent) -> Line:
    if extent.checkpoint is None:
        return line
    rest = [encoded(one) for one in covering_hashes(line.leaf + 1, extent.size)]
    end = {"size": extent.size, "rest": rest, "checkpoint": extent.checkpoint}
    return replace(line, proof=line.proof | end)


def _moment(given: datetime | None) -> str | None:
    return None if given is None else rfc3339(given)
