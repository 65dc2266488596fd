"""Hides a tool's secrets in what the tool says, whoever it says it to.

A tool that prints its key by accident (in an error, a dumped request, a debugging result) prints
it in one of a few forms, and those are looked for. A tool that means to give its key away can
write it in ways that nobody looks for: this is a guard against accidents.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

from audit.redaction import REDACTED
from sandbox.outcomes import Outcome

SHORTEST_SECRET = 8
"""Shorter texts stand in too many innocent words."""

SHORTEST_LINE = 16
"""A line of a secret that has several is hidden by itself from this length on."""

SHORTEST_REST = 4
"""How much of a secret is known again where a text was cut off in the midst of it."""

DEEPEST_SHOWN = 100
"""Levels of nesting that are looked through; what lies deeper is hidden as a whole."""

_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


@dataclass(frozen=True, slots=True)
class Veil:
    """Each form of each secret, to be hidden wherever it stands."""

    forms: tuple[str, ...] = ()
    """What is replaced as it stands."""
    coded: tuple[str, ...] = ()
    """The middle of a secret in base64; the characters beside it belong in part to the secret."""

    @classmethod
    def over(cls, secrets: Iterable[str]) -> "Veil":
        """The veil over these secrets."""
        whole = [secret.strip() for secret in secrets]
        parts = {*whole, *(line for secret in whole for line in _lines(secret))}
        plain = {form for part in parts for form in _forms(part)}
        coded = {form for secret in whole for form in _in_base64(secret.encode())}
        return cls(tuple(sorted(plain)), tuple(sorted(coded)))

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """The JSON value with every secret hidden: in texts, in keys, and in numbers."""
        match value:
            case _ if not self.forms:
                return value
            case str():
                return self.text(value)
            case dict() | list() if depth >= DEEPEST_SHOWN:
                return REDACTED
            case dict():
                return {self.text(key): self(item, depth + 1) for key, item in value.items()}
            case list():
                return [self(item, depth + 1) for item in value]
            case int() | float() if self.text(str(value)) != str(value):
                return REDACTED
            case _:
                return value

    def text(self, text: str) -> str:
        """The text with every secret hidden; what is shorter than any holds none."""
        return text if len(text) < SHORTEST_SECRET else _hidden(text, self._spans(text))

    def cut_text(self, text: str) -> str:
        """As above, for a text that may have been cut off in the midst of a secret."""
        return _hidden(text, [*self._spans(text), *self._rests(text)])

    def outcome(self, outcome: Outcome) -> Outcome:
        """What became of a run, with every secret hidden."""
        return replace(
            outcome,
            data=self(outcome.data),
            error=self.cut_text(outcome.error),
            error_type=self.cut_text(outcome.error_type),
        )

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for form in self.forms:
            yield from _found(form, text)
        for form in self.coded:
            for start, end in _found(form, text):
                before, after = text[start - 1 : start] in _WORD, text[end : end + 1] in _WORD
                yield start - before, end + after

    def _rests(self, text: str) -> Iterator[tuple[int, int]]:
        for form in (*self.forms, *self.coded):
            for length in range(min(len(form) - 1, len(text)), SHORTEST_REST - 1, -1):
                if text.endswith(form[:length]):
                    yield len(text) - length, len(text)
                    break


def _lines(secret: str) -> Iterator[str]:
    """What a key in PEM is made of: its lines are often joined, indented, or shown by ones."""
    for line in map(str.strip, secret.splitlines()):
        if len(line) >= SHORTEST_LINE and not line.startswith("-----"):
            yield line


def _forms(text: str) -> Iterator[str]:
    """The secret as it is, and as Python, JSON, URLs, HTML and hexadecimal write it.

    Python and JSON also twice over, as where an error quotes a request's body.
    """
    for once in {text, repr(text.encode())[2:-1], *_escaped(text)}:
        yield from (once, *_escaped(once))
    yield from (quote(text), quote_plus(text), quote(text, safe=""))
    yield from (escape(text), escape(text, quote=False))
    yield from (text.encode().hex(), text.encode().hex().upper())


def _escaped(text: str) -> set[str]:
    return {write(text) for write in _ESCAPES}


_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: repr(text)[1:-1],
    lambda text: repr(f"{text}'\"")[1:-4],  # As part of a text that holds both kinds of quotes.
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
)


def _in_base64(secret: bytes) -> Iterator[str]:
    """The secret's own characters in base64, for each of the three places where it may begin."""
    for offset in range(3):
        first = -(-offset * 8 // 6)
        end = (offset + len(secret)) * 8 // 6
        padded = bytes(offset) + secret
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(padded).decode()[first:end]


def _found(form: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + 1)


def _hidden(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with these spans replaced, where they touch by one word."""
    parts: list[str] = []
    shown_from = 0
    for start, end in _joined(sorted(spans)):
        parts += [text[shown_from:start], REDACTED]
        shown_from = end
    return "".join([*parts, text[shown_from:]])


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    joined: tuple[int, int] | None = None
    for start, end in spans:
        if joined and start <= joined[1]:
            joined = joined[0], max(joined[1], end)
            continue
        if joined:
            yield joined
        joined = start, end
    if joined:
        yield joined
