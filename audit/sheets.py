"""A JSON value as a sheet: one labelled row a value, nested ones indented, long ones folded.

Every text on it is a stranger's and goes through `plain_text`. A sheet stays readable whatever it
is given: beyond some rows or some depth the rest is written as indented JSON.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from audit.canonical import JSON
from audit.plain_text import findings, marked, visible
from audit.redaction import REDACTED

FOLD_ABOVE = 4096
"""Characters; a longer value is folded, and its size is told."""
LONGEST_LABEL = 120
MOST_ROWS = 200
DEEPEST = 5
MOST_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the sheet. A row without text is the heading of the rows below it."""

    label: str
    depth: int
    kind: str
    text: str | None = None

    @property
    def shown_label(self) -> str:
        """The label, escaped and made plain."""
        cut = self.label[:LONGEST_LABEL]
        return marked(cut if cut == self.label else cut + "…")

    @property
    def is_long(self) -> bool:
        """Whether the value is folded."""
        return self.text is not None and len(self.text) > FOLD_ABOVE

    @property
    def is_redacted(self) -> bool:
        """Whether the value was hidden before it was written down."""
        return self.text == REDACTED

    @property
    def size(self) -> int:
        """The value's length in bytes."""
        return len((self.text or "").encode())

    @property
    def start(self) -> str:
        """The beginning of a folded value."""
        return marked((self.text or "")[:200])

    @property
    def shown(self) -> str:
        """The value: marked up when short, with short tokens when long."""
        text = self.text or ""
        return visible(text, names=False) if self.is_long else marked(text)

    @property
    def warnings(self) -> list[str]:
        """What is hidden or looks alike in it; a reader of a folded value would miss it."""
        return [visible(warning) for warning in islice(findings(self.text or ""), MOST_WARNINGS)]


def sheet(value: JSON) -> list[Row]:
    """The value's rows."""
    if value is None:
        return []
    items = value.items() if isinstance(value, dict) else [("", value)]
    return [row for label, item in items for row in _argument(str(label), item)]


def pretty(value: JSON) -> str:
    """Indented JSON; characters as they are, so that `visible` can name them."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _argument(label: str, value: JSON) -> list[Row]:
    rows = []
    for row in _rows(label, value, 0):
        rows.append(row)
        if len(rows) > MOST_ROWS:
            return [Row(label, 0, "JSON", pretty(value))]
    return rows


def _rows(label: str, value: JSON, depth: int) -> Iterator[Row]:
    if not isinstance(value, dict | list) or not value:
        yield Row(label, depth, *_scalar(value))
    elif depth >= DEEPEST:
        yield Row(label, depth, "JSON", pretty(value))
    else:
        yield Row(label, depth, "list" if isinstance(value, list) else "group")
        for key, item in _items(value):
            yield from _rows(key, item, depth + 1)


def _items(value: JSON) -> Iterator[tuple[str, JSON]]:
    if isinstance(value, list):
        yield from ((f"{number}.", item) for number, item in enumerate(value, 1))
    else:
        yield from value.items()


def _scalar(value: JSON) -> tuple[str, str]:
    """What kind of value it is, in a word, and its text."""
    match value:
        case None:
            return "nothing", "null"
        case bool():
            return "yes or no", "true" if value else "false"
        case int() | float():
            return "number", json.dumps(value)
        case str():
            return "text", value
        case _:
            return "empty", json.dumps(value)
