"""Events as rows of a table (CSV, RFC 4180) that no spreadsheet takes for formulas.

A cell in which one could begin has an apostrophe before it, and so has one that begins with an
apostrophe: whoever takes off one leading apostrophe has the very text. NULL is an empty cell; where
a column of text may be NULL, the empty text is a lone apostrophe.
"""

import csv
import re
from collections.abc import Iterable

from audit.canonical import canonical_text, rfc3339
from audit.export.reading import Line

COLUMNS = (
    "id", "tool_name", "actor", "status", "arguments", "result", "error", "started_at", "ended_at",
    "metadata", "event", "reason", "invocation_id", "approval_id", "session_id", "request_id",
    "source", "key_prefix", "leaf_index", "digest", "proof",
)  # fmt: skip
"""As the API has them, then what verifies the row."""
NULLABLE_TEXTS = ("status", "error")
LONGEST_CELL = 2**31 - 1
MAY_BE_A_FORMULA = re.compile("['\t\r\n]|\\s*[=+\\-@＝＋－＠]")
"""What OWASP names, also after space, which some programs pass over."""


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


_writer = csv.writer(_Echo())


def _row(cells: Iterable[str]) -> str:
    return str(_writer.writerow(cells))


HEADER = _row(COLUMNS)


def written(line: Line) -> str:
    """The line as a row."""
    event = line.event
    cells = event._asdict() | {
        "started_at": rfc3339(event.started_at),
        "ended_at": rfc3339(event.ended_at),
        "leaf_index": line.leaf,
        "proof": canonical_text(line.proof) if line.proof else None,
    }
    return _row(_cell(name, cells[name]) for name in COLUMNS)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if MAY_BE_A_FORMULA.match(text) or (name in NULLABLE_TEXTS and not text):
        return f"'{text}"
    return text


def row_of(text: str) -> dict[str, str]:
    """The cells of one row by their columns, as texts, without what stands before formulas."""
    csv.field_size_limit(LONGEST_CELL)
    (cells,) = csv.reader([text], strict=True)
    return {name: cell.removeprefix("'") for name, cell in zip(COLUMNS, cells, strict=True)}


def is_whole(line: bytes, quotes: int) -> bool:
    """Whether the record ends with this line: a line break between quotes ends none."""
    return line.endswith(b"\r\n") and quotes % 2 == 0
