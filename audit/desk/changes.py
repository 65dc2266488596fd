"""What a change has changed: the members of a row that differ, before and after."""

from collections.abc import Iterator
from dataclasses import dataclass

from audit.canonical import JSON, canonical_text

DEEPEST = 4
ABSENT = object()
"""Stands for a member that is not there; null is a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """One member: its name, with the names that lead to it, and its value before and after."""

    name: str
    before: JSON
    after: JSON

    @property
    def was_there(self) -> bool:
        return self.before is not ABSENT

    @property
    def is_there(self) -> bool:
        return self.after is not ABSENT

    @property
    def verb(self) -> str:
        """What became of it, in a word."""
        if not self.was_there:
            return "added"
        return "changed" if self.is_there else "removed"


def changes_told(metadata: JSON) -> list[Change]:
    """The changes that an event tells of by `before` and `after`; null says: no row."""
    if not isinstance(metadata, dict) or not metadata.keys() & {"before", "after"}:
        return []
    before, after = metadata.get("before"), metadata.get("after")
    if isinstance(before or after, dict):
        before, after = before or {}, after or {}
    return list(_changes("", before, after))


def _changes(name: str, before: JSON, after: JSON, depth: int = 0) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict) and depth < DEEPEST:
        for key in dict.fromkeys([*before, *after]):
            path = f"{name} › {key}" if name else key
            yield from _changes(path, before.get(key, ABSENT), after.get(key, ABSENT), depth + 1)
    elif _differ(before, after):
        yield Change(name or "value", before, after)


def _differ(before: JSON, after: JSON) -> bool:
    """In Python 1 is True, and 1.0 is 1."""
    if before is ABSENT or after is ABSENT:
        return before is not after
    return canonical_text(before) != canonical_text(after)
