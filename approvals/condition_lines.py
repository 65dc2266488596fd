"""Conditions as people write them, one a line: `amount > 500`, `currency in USD, CHF`.

What can be read in two ways is refused, and what is written here reads back as the same.
"""

import json
import re
from typing import Any

from tools import strict_json
from tools.conditions import Operator

LINE = re.compile(
    r"(?P<field>[\w.-]+)"
    r"(?:\s*(?P<sign>≠|!=|≥|>=|≤|<=|==|=|>|<)\s*|\s+(?P<word>contains|matches|in)\s+)"
    r"(?P<value>\S.*)"
)
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^,"]+?)\s*(?:,|$)')
WORDS = {"true": True, "false": False, "null": None, "none": None}
PLAIN_SIGNS = {"!=": "≠", ">=": "≥", "<=": "≤", "==": "="}
LONGEST_LINE = 500


def read_line(line: str) -> dict[str, Any]:
    """The condition on the line, as it is stored; ValueError says what is wrong with the line."""
    line = line.replace("\t", " ").strip()
    if not line.isprintable():
        raise ValueError('what can\'t be seen is written in quotes and by its number: "\\u0085"')
    found = LINE.fullmatch(line)
    if found is None or len(line) > LONGEST_LINE:
        raise ValueError("write a field, an operator and a value, such as amount > 500")
    operator = found["word"] or PLAIN_SIGNS.get(found["sign"], found["sign"])
    return {
        "field": found["field"],
        "operator": operator,
        "value": _read_value(Operator(operator), found["value"].rstrip()),
    }


def write_line(condition: Any) -> str:
    """The stored condition as a line; one that somebody has broken, as it is."""
    try:
        name, operator = condition["field"], Operator(condition["operator"])
        return f"{name} {operator.value} {_write_value(operator, condition['value'])}"
    except (TypeError, KeyError, ValueError):
        return json.dumps(condition, ensure_ascii=False)


def _read_value(operator: Operator, text: str) -> Any:
    if operator is Operator.MATCHES:
        return text
    if operator is not Operator.IN:
        return _read_word(text)
    items = _parsed(text) if text.startswith("[") else [_read_word(item) for item in _apart(text)]
    if len({_kind(item) for item in items}) > 1:
        raise ValueError("the values after 'in' are all numbers, or all text")
    return items


def _apart(text: str) -> list[str]:
    """The items between commas, those in quotes whole."""
    items, place = [], 0
    while place < len(text):
        found = ITEM.match(text, place)
        if found is None:
            raise ValueError("the values after 'in' stand between commas: USD, CHF")
        items.append(found[1])
        place = found.end()
    return items


def _read_word(text: str) -> Any:
    """A number, true, false, null, text in quotes or plain text."""
    if text[0] in '"[{' or NUMBER.fullmatch(text):
        return _parsed(text)
    if text[0] == "'":
        raise ValueError('quotes are written as "')
    return WORDS.get(text.lower(), text)


def _parsed(text: str) -> Any:
    try:
        return strict_json.parse(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{text} can't be read") from None


def _kind(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def _write_value(operator: Operator, value: Any) -> str:
    if operator is Operator.MATCHES and isinstance(value, str):
        return value
    if operator is Operator.IN and isinstance(value, list):
        return ", ".join(_write_word(item, between_commas=True) for item in value)
    return _write_word(value)


def _write_word(value: Any, *, between_commas: bool = False) -> str:
    """Text without quotes where it reads back as itself."""
    if isinstance(value, str) and value.strip() == value != "" and value.isprintable():
        needs_quotes = between_commas and re.search('[,"]', value)
        if not needs_quotes and _reads_as_itself(value):
            return value
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(_read_word(text) == text)
    except ValueError:
        return False
