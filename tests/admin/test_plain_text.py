"""What strangers write is shown as it is: nothing hidden, nothing alike, nothing that runs."""

import sys
import time
import unicodedata
from datetime import timedelta

import pytest

from audit.models import local_now
from audit.plain_text import findings, is_hidden, marked, oddity, visible
from audit.redaction import REDACTED
from audit.sheets import DEEPEST, FOLD_ABOVE, MOST_ROWS, sheet
from audit.windows import as_sheet, relative

pytestmark = pytest.mark.feature("V6", "E43")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a[U+202E RIGHT-TO-LEFT OVERRIDE]b"),
        ("a\u200bb", "a[U+200B ZERO WIDTH SPACE]b"),
        ("a\U000e0041b", "a[U+E0041 TAG LATIN CAPITAL LETTER A]b"),
        ("a\x1b[2Jb", "a[U+001B ESCAPE][2Jb"),
        ("a\ufeffb", "a[U+FEFF ZERO WIDTH NO-BREAK SPACE]b"),
        ("a\u3164b", "a[U+3164 HANGUL FILLER]b"),
        ("a\xa0b", "a[U+00A0 NO-BREAK SPACE]b"),
        ("a\ufe0fb", "a[U+FE0F VARIATION SELECTOR-16]b"),
        ("line\n\tnext", "line\n\tnext"),
        ("Zürich 東京 é", "Zürich 東京 é"),
    ],
)
def test_hidden_characters_are_named(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_every_control_format_and_blank_is_hidden() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Zs") and char not in " \n\t":
            assert is_hidden(char), hex(code)


@pytest.mark.parametrize(
    ("word", "note"),
    [
        ("\u0440\u0430ypal", "CYRILLIC + LATIN"),
        ("\u0391lpha", "GREEK + LATIN"),
        ("\uff50\uff41\uff59", "LOOKS LIKE pay"),
        ("\U0001d429\U0001d41a\U0001d432", "LOOKS LIKE pay"),
        ("paypal", ""),
        ("Müller", ""),
        ("Москва", ""),
        ("Αθήνα", ""),
        ("東京タワー", ""),
        ("x2", ""),
    ],
)
def test_words_that_look_like_others_are_told(word: str, note: str) -> None:
    assert oddity(word) == note


def test_markup_is_text() -> None:
    html = marked("<script>alert(1)</script>\u202e & \u0440\u0430ypal")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert '<span class="hidden-char">[U+202E RIGHT-TO-LEFT OVERRIDE]</span>' in html
    assert "CYRILLIC SMALL LETTER ER" in html


@pytest.mark.parametrize("fill", ["a", "\u202e", "\u0440a ", "<&>", "\u200b\u202e", "a\u0301"])
def test_a_mebibyte_of_anything_stays_usable(fill: str) -> None:
    text = fill * (2**20 // len(fill.encode()) + 1)
    began = time.monotonic()
    html = as_sheet({"text": text})
    assert time.monotonic() - began < 10
    assert len(html) < 8 * 2**20
    assert "<details>" in html
    assert "1.0\xa0MB, show all" in html


def test_what_a_folded_value_hides_is_told_beside_it() -> None:
    (row,) = sheet({"text": "x" * FOLD_ABOVE + "\u202e"})
    assert row.is_long
    assert row.warnings == ["U+202E RIGHT-TO-LEFT OVERRIDE"]
    assert list(findings("plain")) == []


def test_nested_values_become_indented_rows() -> None:
    rows = sheet({"a": {"b": [1, True]}, "c": None, "d": "", "e": {}, "f": REDACTED})
    assert [(row.label, row.depth, row.text) for row in rows] == [
        ("a", 0, None),
        ("b", 1, None),
        ("1.", 2, "1"),
        ("2.", 2, "true"),
        ("c", 0, "null"),
        ("d", 0, ""),
        ("e", 0, "{}"),
        ("f", 0, REDACTED),
    ]
    assert rows[-1].is_redacted


def test_a_sheet_has_an_end_in_both_directions() -> None:
    (wide,) = sheet({"many": list(range(MOST_ROWS * 50))})
    assert wide.kind == "JSON"
    deep: object = "core"
    for _ in range(60):
        deep = {"in": deep}
    assert max(row.depth for row in sheet(deep)) == DEEPEST


def test_hostile_labels_are_plain_and_short() -> None:
    html = as_sheet({"<b>\u202e" + "k" * 100_000: 1})
    assert "<b>" not in html
    assert "[U+202E" in html
    assert len(html) < 2000


def test_times_are_said_as_people_say_them() -> None:
    now = local_now()
    said = {
        timedelta(hours=23, minutes=5): "in 23 h",
        timedelta(days=-2): "2 d ago",
        timedelta(minutes=4): "in 4 min",
        timedelta(seconds=20): "in less than a minute",
        timedelta(seconds=-20): "just now",
    }
    assert {span: relative(now + span, now) for span in said} == said
