"""Text from strangers, made plain: what cannot be seen becomes visible, what looks alike is told.

A reviewer decides by what the page shows, so a character that reorders the line, takes no room or
borrows another letter's shape must not pass for what it seems. Nothing is removed: a hidden
character is shown as its code point and name, and a word in two scripts is followed by their names.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
"""Controls, formats (bidi, zero width, tags), unassigned, private, and every kind of blank."""
ALSO_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Fillers, joiners and variation selectors: letters or marks by category, blank to the eye."""
PLAIN_BLANKS = frozenset(" \n\t")

ALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Scripts with letters of the same shape; no language mixes them within a word."""
WORD = re.compile(r"\w+")


def visible(text: str, *, names: bool = True) -> str:
    """The text with each hidden character as `[U+202E RIGHT-TO-LEFT OVERRIDE]`, or `[U+202E]`."""
    return text.translate({ord(char): token(char, names=names) for char in hidden_in(text)})


def marked(text: str) -> SafeString:
    """The text as HTML, escaped, hidden characters and words in two scripts marked."""
    return format_html_join("", "{}", ((piece,) for piece in _pieces(text)))


def findings(text: str) -> Iterator[str]:
    """What `marked` would mark, each kind once."""
    yield from (token(char)[1:-1] for char in sorted(hidden_in(text)))
    yield from (f"{word[:40]} ({note})" for word, note in suspicious_words(text))


@lru_cache(maxsize=4096)
def is_hidden(char: str) -> bool:
    """Whether the character can't be seen, or moves others about."""
    if char in PLAIN_BLANKS:
        return False
    return unicodedata.category(char) in HIDDEN_CATEGORIES or bool(ALSO_HIDDEN.match(char))


def hidden_in(text: str) -> set[str]:
    """The hidden characters that occur in the text."""
    return {char for char in set(text) if is_hidden(char)}


def token(char: str, *, names: bool = True) -> str:
    """What stands for a hidden character."""
    name = unicodedata.name(char, "") or CONTROL_NAMES.get(char, "")
    return f"[U+{ord(char):04X} {name}]" if names and name else f"[U+{ord(char):04X}]"


CONTROL_NAMES = {"\x00": "NULL", "\x08": "BACKSPACE", "\r": "CARRIAGE RETURN", "\x1b": "ESCAPE",
                 "\x7f": "DELETE"}  # fmt: skip
"""The controls that people try; Unicode gives controls no names."""


def suspicious_words(text: str) -> Iterator[tuple[str, str]]:
    """The words that may be read as others, with what is odd about them; each once."""
    if not text.isascii():
        words = dict.fromkeys(match[0] for match in WORD.finditer(text) if not match[0].isascii())
        yield from ((word, note) for word in words if (note := oddity(word)))


def oddity(word: str) -> str:
    """`CYRILLIC + LATIN` for a word in scripts that look alike; empty for an honest word."""
    if word.isascii():
        return ""
    if unicodedata.normalize("NFKC", word).isascii():
        return "LOOKS LIKE " + unicodedata.normalize("NFKC", word)[:40]
    scripts = {unicodedata.name(char, "").partition(" ")[0] for char in set(word)} & ALIKE_SCRIPTS
    return " + ".join(sorted(scripts)) if len(scripts) > 1 else ""


def _pieces(text: str) -> Iterator[str]:
    for part in _split_at(hidden_in(text), text):
        if len(part) == 1 and is_hidden(part):
            yield format_html('<span class="hidden-char">{}</span>', token(part))
        elif part.isascii():
            yield part
        else:
            yield from _marked_words(part)


def _split_at(chars: Iterable[str], text: str) -> list[str]:
    escaped = re.escape("".join(chars))
    return re.split(f"([{escaped}])", text) if escaped else [text]


def _marked_words(text: str) -> Iterator[str]:
    for number, part in enumerate(re.split(r"(\w+)", text)):
        is_word = number % 2 == 1
        if is_word and (note := oddity(part)):
            html = '<mark class="mixed" title="{}">{} [{}]</mark>'
            yield format_html(html, _odd_chars(part), part, note)
        else:
            yield part


def _odd_chars(word: str) -> str:
    odd = dict.fromkeys(char for char in word[:40] if not char.isascii())
    return ", ".join(token(char)[1:-1] for char in odd)
