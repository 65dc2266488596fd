"""Whoever shares out tests must lose none: the tests of this very run, shared out again."""

import random
from pathlib import Path

import pytest

from tests.lanes import claimed, in_order

LANES = 3


@pytest.mark.parametrize("seed", range(3))
def test_all_lanes_together_run_everything_once(
    request: pytest.FixtureRequest, tmp_path: Path, seed: int
) -> None:
    items, dice = request.session.items, random.Random(seed)
    lanes = [claimed(in_order(items, number), tmp_path) for number in range(LANES)]
    run: list[pytest.Item] = []
    while lanes:
        lane = dice.choice(lanes)
        if (item := next(lane, None)) is None:
            lanes.remove(lane)
        else:
            run.append(item)
    assert sorted(item.nodeid for item in run) == sorted(item.nodeid for item in items)


def test_what_empties_the_tables_comes_after_what_rolls_back(
    request: pytest.FixtureRequest,
) -> None:
    for number in range(LANES):
        kinds = [name.partition(" ")[0] for name, _ in in_order(request.session.items, number)]
        plain = [kind for kind in kinds if kind != "whole"]
        assert plain == sorted(plain, key=["plain", "flushing"].index)
