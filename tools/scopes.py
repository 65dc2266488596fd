"""Scopes: exact, `*` for everything, and `prefix.*` for a family and the prefix itself."""

from collections.abc import Iterable


def allows(held: Iterable[str], needed: str | None) -> bool:
    """Whether one of the scopes held covers the one needed; nothing needed is always covered."""
    return needed is None or any(_covers(scope, needed) for scope in held)


def _covers(scope: str, needed: str) -> bool:
    if scope in ("*", needed):
        return True
    family = scope.removesuffix(".*")
    return family != scope and (needed == family or needed.startswith(f"{family}."))
