"""Redaction at write: what a tool marks as secret reaches no store, log or page.

Two things are hidden: every value under a secret name, at any depth, and every other place
where the text of such a value turns up again, such as an error message or a result.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audit.canonical import JSON, canonical_text, recordable, storable_text

REDACTED = "[REDACTED]"
HIDDEN = "\x00"
"""Stands where a secret was until all are looked for: no text that can be stored holds it, so a
secret such as `REDACT` is not found in what hid another one."""

ALWAYS_SECRET = frozenset(
    {
        "password", "passwd", "passphrase", "secret", "client_secret", "api_key", "apikey",
        "authorization", "token", "access_token", "refresh_token", "id_token", "private_key",
    }
)  # fmt: skip
"""Names that nobody means to show, whether a tool marks them or not."""

MOST_SECRETS = 64
"""More secret values than this in one call are not looked for: all its text is hidden instead."""

SHORTEST_SECRET = 4
"""Shorter values are not searched for in free text: they would blot out innocent words."""


@dataclass(frozen=True, slots=True)
class Redactor:
    """Hides the values under `names` (compared without case) and `values` wherever they occur."""

    names: frozenset[str]
    values: tuple[str, ...] = ()
    hides_all_text: bool = False
    """There are more secret values than can be looked for, so no text is shown at all."""

    @classmethod
    def over(cls, arguments: Any, names: Iterable[str] = ()) -> "Redactor":
        """The redactor of one call: its secret names, and the values its arguments hold there."""
        secret = ALWAYS_SECRET | {name.casefold() for name in names}
        found: set[str] = set()
        for text in _secrets_in(arguments, secret):
            if len(text) >= SHORTEST_SECRET:
                found.add(text)
            if len(found) > MOST_SECRETS:
                return cls(secret, hides_all_text=True)
        return cls(secret, tuple(sorted(found, key=lambda text: (-len(text), text))))

    def __call__(self, value: Any) -> JSON:
        """The value as recordable JSON with everything secret hidden."""
        return self._hide(recordable(value))

    def text(self, text: str) -> str:
        """The text as it can be stored, with every secret value hidden."""
        text = storable_text(text)
        if self.hides_all_text:
            return REDACTED
        if len(text) >= SHORTEST_SECRET:
            for value in self.values:
                text = text.replace(value, HIDDEN)
            text = text.replace(HIDDEN, REDACTED)
        return text

    def _hide(self, value: JSON) -> JSON:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {
                    self._key(key): REDACTED if key.casefold() in self.names else self._hide(item)
                    for key, item in value.items()
                }
            case list():
                return [self._hide(item) for item in value]
            case int() | float() if self.hides_all_text and not isinstance(value, bool):
                return REDACTED
            case int() | float() if self.values and not isinstance(value, bool):
                written = canonical_text(value)
                return value if self.text(written) == written else REDACTED
            case _:
                return value

    def _key(self, key: str) -> str:
        """Names of fields are shown even where no text is."""
        return key if self.hides_all_text else self.text(key)


PLAIN = Redactor(ALWAYS_SECRET)
"""For values that belong to no call."""


def _secrets_in(value: Any, names: frozenset[str]) -> Iterator[str]:
    if isinstance(value, (dict, Mapping)):
        for key, item in value.items():
            yield from _texts_in(item) if str(key).casefold() in names else _secrets_in(item, names)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item, names)


def _texts_in(value: Any) -> Iterator[str]:
    """Every key and scalar below a secret name, in each form in which it may be written."""
    if isinstance(value, (dict, Mapping)):
        for key, item in value.items():
            yield from _texts_in(str(key))
            yield from _texts_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts_in(item)
    elif value is not None and not isinstance(value, bool):
        plain = recordable(value)
        yield from (
            str(value),
            str(plain),
            repr(value).strip("'\""),
            _unquoted(canonical_text(plain)),
        )
        if isinstance(value, str):
            yield _unquoted(json.dumps(value))
            yield storable_text(_unquoted(json.dumps(value, ensure_ascii=False)))


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith('"') else text
