"""A table of events reads back as what is stored, and no spreadsheet finds a formula in it."""

import csv
import io
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import export
from audit.canonical import canonical_text, value_of
from audit.export import CSV, JSONL, Selection, files, table
from audit.export.reading import Line
from audit.models import new_id
from audit.records import Stored
from tests.audit.ledgers import make_events

JSON_COLUMNS = ("arguments", "result", "metadata", "proof")
NEVER_NULL = (
    "actor", "event", "key_prefix", "reason", "request_id", "source", "tool_name",
)  # fmt: skip
BEGINS_A_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
FORMULAS = [
    "=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠A",
    " =1+1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","click")', "'=1", "''",
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
odd_texts = texts | st.builds("".join, st.tuples(st.sampled_from(FORMULAS), texts))
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | odd_texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(odd_texts, values, max_size=3),
    max_leaves=5,
)


def stored(**columns: Any) -> Stored:
    """An event as it is stored; what is not said is nothing."""
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    nothing: dict[str, Any] = dict.fromkeys(Stored._fields) | dict.fromkeys(NEVER_NULL, "")
    given = {"id": new_id(), "started_at": now, "ended_at": now, "metadata": "{}", "digest": "d"}
    return Stored(**nothing | given | columns)


def written(line: Line) -> str:
    return table.HEADER + table.written(line)


def read(text: str) -> list[dict[str, str]]:
    """What any reader of CSV makes of it."""
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def meant(column: str, cell: str) -> str | None:
    """The stored value, by the rule of docs/how-to/export-the-ledger.md."""
    if cell == "" and column not in NEVER_NULL:
        return None
    return cell[1:] if cell.startswith("'") else cell


@pytest.mark.feature("U5")
@given(
    st.fixed_dictionaries(
        dict.fromkeys(NEVER_NULL, odd_texts) | {name: st.none() | odd_texts for name in
                                                ("status", "error")}
    )
)  # fmt: skip
def test_python_reads_back_every_text_that_can_be_stored(columns: dict[str, str | None]) -> None:
    (row,) = read(written(Line(7, stored(**columns))))
    assert {name: meant(name, row[name]) for name in columns} == columns


@pytest.mark.feature("U5")
@given(json_values)
def test_python_reads_back_every_value_of_json(value: Any) -> None:
    text = None if value is None else canonical_text(value)
    (row,) = read(written(Line(7, stored(result=text))))
    found = meant("result", row["result"])
    assert found == text and (found is None or value_of(found) == value)


@pytest.mark.feature("U5")
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("column", ["actor", "tool_name", "error", "request_id", "reason"])
def test_no_cell_begins_as_a_formula_does(formula: str, column: str) -> None:
    (row,) = read(written(Line(7, stored(**{column: formula}))))
    assert row[column] == f"'{formula}"
    for cell in row.values():
        assert not cell.lstrip(" ").startswith(BEGINS_A_FORMULA)


@pytest.mark.feature("U5")
def test_a_negative_number_as_a_result_is_no_formula() -> None:
    (row,) = read(written(Line(7, stored(result="-5"))))
    assert row["result"] == "'-5"


def test_null_and_the_empty_text_are_told_apart() -> None:
    nothing, empty = (
        read(written(Line(0, stored(status=value, error=value))))[0] for value in (None, "")
    )
    assert (nothing["status"], nothing["error"]) == ("", "")
    assert (empty["status"], empty["error"]) == ("'", "'")


def test_rows_end_as_rfc_4180_says_and_all_have_every_column() -> None:
    lines = written(Line(7, stored(error='one\ntwo, "three"')))
    assert lines.endswith("\r\n") and '"one\ntwo, ""three"""' in lines
    header, row = csv.reader(io.StringIO(lines, newline=""), strict=True)
    assert len(header) == len(row) == 21


def test_a_row_knows_its_place() -> None:
    event = stored(error='a "b"\r\nc')
    ending = {"size": 9, "rest": [], "checkpoint": "note"}
    place = CSV.place(table.written(Line(7, event, ending)))
    assert (place.leaf, place.event_id, place.is_end) == (7, event.id, True)
    assert not CSV.place(table.written(Line(7, event, {"from": 0, "roots": []}))).is_end


@pytest.mark.feature("U5")
@pytest.mark.django_db
def test_the_table_holds_what_the_lines_of_json_hold() -> None:
    make_events(
        40,
        lambda number: {
            "actor": FORMULAS[number % len(FORMULAS)],
            "error": ["", None, 'a\r\n"b"'][number % 3],
            "status": None if number % 2 else "success",
            "session_id": UUID(int=number),
        },
    )
    extent = export.begin(CSV, Selection(after=3), by="ann", source="test")
    text = CSV.header + "".join(export.lines(CSV, Selection(after=3), extent))
    expected = [json.loads(line) for line in export.lines(JSONL, Selection(after=3), extent)]
    assert [_event(row) for row in read(text)] == expected


def _event(row: dict[str, str]) -> dict[str, Any]:
    """A row as the line of JSON has it."""
    event: dict[str, Any] = {name: meant(name, cell) for name, cell in row.items()}
    event["leaf_index"] = int(event["leaf_index"])
    for name in JSON_COLUMNS:
        event[name] = None if event[name] is None else json.loads(event[name])
    if event["proof"] is None:
        del event["proof"]
    return event


@pytest.mark.django_db
@pytest.mark.feature("U5")
def test_the_end_of_a_table_is_found_in_one_pass_however_many_lines_a_cell_has(
    tmp_path: Path,
) -> None:
    make_events(2, lambda number: {"error": 'a "line"\r\n' * 2000})
    extent = export.begin(CSV, Selection(), by="ann", source="test")
    file, looked_at = tmp_path / "ledger.csv", 0
    whole = CSV.header + "".join(export.lines(CSV, Selection(), extent))
    file.write_bytes(whole.encode())

    def is_whole(line: bytes, quotes: int) -> bool:
        nonlocal looked_at
        looked_at += len(line)
        return table.is_whole(line, quotes)

    with files.continued(file, replace(CSV, is_whole=is_whole)) as (_, place):
        assert place is not None and place.leaf == extent.size - 2
    assert looked_at == len(whole.encode()) - len(CSV.header)
