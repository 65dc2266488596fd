"""The lines of an export, read as a stranger's: each is one whole event, or a fault.

A line has the members of an event and those of its proof, each once and no others, and the event's
text is made anew from the values that every reader of the line sees. So nothing can hide in it, and
it does no harm if another tool has written the same values in another way.
"""

import csv
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO

from audit.canonical import JSON, canonical_text
from audit.merkle import HASH_BYTES, subtrees
from audit.records import digest_of
from audit.verification.judging import CouldNotVerify, Fault

LONGEST_LINE = 2**26
"""Bytes; the ledger's are far shorter."""
LARGEST_TREE = 2**53
TEXTS = {"actor", "event", "key_prefix", "reason", "request_id", "source", "tool_name"}
OPTIONAL_TEXTS = {"error", "status"}
OTHERS = {"approval_id", "ended_at", "id", "invocation_id", "session_id", "started_at"}
JSON_COLUMNS = {"arguments", "metadata", "result"}
OF_AN_EVENT = TEXTS | OPTIONAL_TEXTS | OTHERS | JSON_COLUMNS
BESIDE_IT = {"leaf_index", "digest", "proof"}
_GAP, _END, _SIGNED_END = {"from", "roots"}, {"size", "rest"}, {"size", "rest", "checkpoint"}
PROOFS = [set(), _GAP, _END, _SIGNED_END, _GAP | _END, _GAP | _SIGNED_END]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Hidden:
    """The hashes that stand for leaves which the export does not show."""

    first: int
    end: int
    hashes: list[bytes]


@dataclass(frozen=True, slots=True)
class Line:
    """One event of an export, and what is said beside it."""

    event: dict[str, JSON]
    text: str
    """The canonical text of the event."""
    leaf: int
    before: Hidden | None
    """From the line before up to this one."""
    rest: Hidden | None
    """From this line up to the export's end; None where this is not its last."""
    checkpoint: str | None


def read(stream: IO[bytes]) -> Iterator[Line]:
    """The lines of an export in JSON or CSV; CouldNotVerify where it is neither, else Fault."""
    raw = _raw_lines(stream)
    first = next(raw, b"").removeprefix(BYTE_ORDER_MARK)
    if not first:
        raise CouldNotVerify("the export is empty")
    if first.lstrip()[:1] == b"{":
        return _json_lines(chain([first], raw))
    return _rows(_header(first), raw)


def _raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise CouldNotVerify(f"a line is longer than {LONGEST_LINE} bytes")
        yield line


# JSON.


def _json_lines(raw: Iterator[bytes]) -> Iterator[Line]:
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        try:
            members = _strict(line.decode())
        except UNREADABLE as error:
            where = "is cut off" if not line.endswith(b"\n") else "is no JSON that can be read"
            raise Fault(f"line {number} {where}: {_brief(error)}") from None
        yield _line(members, number)


def _strict(text: str) -> JSON:
    return json.loads(text, object_pairs_hook=_once, parse_int=_number, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


def _number(digits: str) -> int | float:
    """The ledger has no integer beyond 2**53: what looks like one can only have been a float."""
    return int(digits) if len(digits) < 16 else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# CSV.


def _header(first: bytes) -> list[str]:
    try:
        (columns,) = csv.reader([first.decode()], strict=True)
    except (ValueError, csv.Error):
        columns = []
    if len(set(columns)) != len(columns) or set(columns) | {"digest"} != OF_AN_EVENT | BESIDE_IT:
        raise CouldNotVerify("this is no export, neither as JSON nor as CSV")
    return columns


def _rows(columns: list[str], raw: Iterator[bytes]) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_LINE)
    record = _Record(raw)
    reader = csv.reader(record, strict=True)
    while True:
        record.length = 0
        number = reader.line_num + 2
        try:
            cells = next(reader)
            row = zip(columns, cells, strict=bool(cells))
            members = {name: _value(name, cell) for name, cell in row}
        except StopIteration:
            return
        except (csv.Error, *UNREADABLE) as error:
            raise Fault(f"line {number} cannot be read: {_brief(error)}") from None
        if cells:
            said = {name: value for name, value in members.items() if _is_said(name, value)}
            yield _line(said, number)


class _Record:
    """The lines that a record is read from: one may have several, and no more than fit in one."""

    def __init__(self, raw: Iterator[bytes]) -> None:
        self.raw, self.length = raw, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.raw:
            self.length += len(line)
            if self.length >= LONGEST_LINE:
                raise CouldNotVerify(f"a record is longer than {LONGEST_LINE} bytes")
            yield line.decode()


def _value(name: str, cell: str) -> JSON:
    """What a cell stands for: empty for null, and an apostrophe before what might be a formula."""
    text = cell.removeprefix("'")
    if name in TEXTS:
        return text
    if not cell:
        return None
    return text if name in OPTIONAL_TEXTS | OTHERS | {"digest"} else _strict(text)


def _is_said(name: str, value: JSON) -> bool:
    return value is not None or name in OF_AN_EVENT


# Both.


def _line(members: JSON, number: int) -> Line:
    try:
        return _read(members)
    except UNREADABLE as error:
        event_id = str(members.get("id", ""))[:36] if isinstance(members, dict) else ""
        raise Fault(f"line {number} is no line of an export: {_brief(error)}", event_id) from None


def _read(members: JSON) -> Line:
    if not isinstance(members, dict) or not members.keys() >= OF_AN_EVENT:
        raise ValueError("members of an event are missing")
    if strange := members.keys() - OF_AN_EVENT - BESIDE_IT:
        raise ValueError(f"it has members that no event has: {', '.join(sorted(strange))}")
    event = {name: members[name] for name in OF_AN_EVENT}
    text, digest = canonical_text(event), members.get("digest")
    if digest is not None and digest != digest_of(text):
        raise ValueError("its members do not match its digest")
    leaf, proof = _index(members["leaf_index"]), members.get("proof", {})
    if proof.keys() not in PROOFS:
        raise ValueError("its proof has other members than a proof has")
    before = _hidden(proof["from"], leaf, proof["roots"]) if "from" in proof else None
    rest = _hidden(leaf + 1, proof["size"], proof["rest"]) if "size" in proof else None
    if not isinstance(proof.get("checkpoint", ""), str):
        raise ValueError("its checkpoint is no text")
    return Line(event, text, leaf, before, rest, proof.get("checkpoint"))


def _index(value: JSON) -> int:
    if type(value) is not int or not 0 <= value < LARGEST_TREE:
        raise ValueError("its leaf_index is none")
    return value


def _hidden(first: JSON, end: JSON, hashes: JSON) -> Hidden:
    """ValueError unless there are just the hashes that cover such a range."""
    first, end = _index(first), _index(end)
    found = [b64decode(one, validate=True) for one in hashes]
    if first > end or any(len(one) != HASH_BYTES for one in found):
        raise ValueError("its proof has no such range, or hashes that are none")
    if len(found) != sum(1 for _ in subtrees(first, end)):
        raise ValueError("its proof has another number of hashes than its range needs")
    return Hidden(first, end, found)


def _brief(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
