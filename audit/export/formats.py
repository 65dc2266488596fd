"""The formats of an export. A line of each holds the whole event, and can be read back from it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from audit.canonical import canonical_text
from audit.export import ocsf, table
from audit.export.reading import Line


@dataclass(frozen=True, slots=True)
class Place:
    """What a line that was written earlier says of itself."""

    leaf: int
    event_id: UUID
    is_end: bool
    """It is the last line of a finished export, and leads to a checkpoint."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a line is written, and where a written one says that it belongs."""

    name: str
    media_type: str
    write: Callable[[Line], str]
    place: Callable[[str], Place]
    """ValueError or the like for what is no line of this format."""
    opening: str
    """What each line begins with."""
    header: str = ""
    is_whole: Callable[[bytes, int], bool] = lambda line, quotes: line.endswith(b"\n")
    """Whether a record ends with this line, where it has so many quotes: one may have several
    lines."""

    @property
    def beginning(self) -> str:
        """What each file begins with."""
        return self.header or self.opening


def _jsonl(line: Line) -> str:
    """The event's canonical text, then its leaf, its digest, and what there is to prove.

    By the digest the line that was changed can be named; without, only where it is among others.
    """
    proof = f',"proof":{canonical_text(line.proof)}' if line.proof else ""
    beside = f'"leaf_index":{line.leaf},"digest":"{line.event.digest}"{proof}'
    return f"{line.event.text()[:-1]},{beside}}}\n"


def _jsonl_place(text: str) -> Place:
    event = json.loads(text)
    return _place(event["leaf_index"], event["id"], event.get("proof", {}))


def _ocsf(line: Line) -> str:
    """What others know as an OCSF event; under `unmapped` the line of JSON as it is."""
    known = canonical_text(ocsf.mapped(line.leaf, line.event))
    return f'{known[:-1]},"unmapped":{_jsonl(line)[:-1]}}}\n'


def _ocsf_place(text: str) -> Place:
    event = json.loads(text)["unmapped"]
    return _place(event["leaf_index"], event["id"], event.get("proof", {}))


def _csv_place(text: str) -> Place:
    row = table.row_of(text)
    return _place(int(row["leaf_index"]), row["id"], json.loads(row["proof"] or "{}"))


def _place(leaf: int, event_id: str, proof: dict[str, object]) -> Place:
    return Place(leaf, UUID(event_id), "size" in proof)


JSONL = Format("jsonl", "application/jsonl", _jsonl, _jsonl_place, '{"actor":')
CSV = Format(
    "csv", "text/csv; charset=utf-8", table.written, _csv_place, "", table.HEADER, table.is_whole
)
OCSF = Format("ocsf", "application/jsonl", _ocsf, _ocsf_place, '{"activity_id":')
FORMATS = {form.name: form for form in (JSONL, CSV, OCSF)}
