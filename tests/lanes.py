"""Several pytest processes share one run: each takes what no other has taken, until all is taken.

`--lane FOLDER:NUMBER` has pytest collect as ever and claim its tests piece by piece, a module at a
time, by a file in the folder that all lanes share. What starts whole deployments mostly waits: even
lanes begin with it and odd ones end with it, so that the processor is never left idle.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

WHOLE_DEPLOYMENTS = ("tests/acceptance/", "tests/browser/", "tests/faults/", "tests/peers/")
Piece = tuple[str, list[pytest.Item]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", help="FOLDER:NUMBER, the claims and which of the lanes this is")


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Pytest's own loop, but for where the next test comes from."""
    lane = session.config.getoption("--lane")
    if not lane or session.testsfailed or session.config.option.collectonly:
        return None
    folder, _, number = lane.rpartition(":")
    items = claimed(in_order(session.items, int(number)), Path(folder))
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def in_order(items: list[pytest.Item], number: int) -> list[Piece]:
    """The pieces as this lane asks for them."""
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        found.setdefault(f"{_kind(item)} {_module(item)}", []).append(item)
    pieces = list(found.items())
    plain, flushing, whole = (
        [piece for piece in pieces if piece[0].startswith(kind)]
        for kind in ("plain", "flushing", "whole")
    )
    whole.sort(key=_weight)
    quick = [*plain, *flushing]
    return [*quick, *whole] if number % 2 else [*reversed(whole), *quick]


def _kind(item: pytest.Item) -> str:
    """What empties all tables comes after what only rolls back, as pytest-django has it."""
    if django_db := item.get_closest_marker("django_db"):
        return "flushing" if django_db.kwargs.get("transaction") else "plain"
    is_whole = item.get_closest_marker("stack") or _module(item).startswith(WHOLE_DEPLOYMENTS)
    return "whole" if is_whole else "plain"


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _weight(piece: Piece) -> tuple[float, int]:
    """How long a piece takes, as far as can be told: what its tests may take, and their number."""
    _, items = piece
    limits = [mark.args[0] for item in items for mark in item.iter_markers("timeout")]
    return max(limits, default=0.0), len(items)


def claimed(pieces: list[Piece], folder: Path) -> Iterator[pytest.Item]:
    """The tests of those pieces that no other lane was quicker to take."""
    for name, items in pieces:
        try:
            (folder / name.replace("/", ".")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from items
