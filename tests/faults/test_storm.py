"""The short form of the fault run, on each kind of stores."""

import pytest

from tests.faults.storm import SHORT, STORES, Plan, run

SEED = "short"
"""The long form takes others; what it finds gets a test of its own."""


@pytest.mark.stack
@pytest.mark.timeout(400)
@pytest.mark.feature("X2", "X5", "X6", "B2", "K5")
@pytest.mark.parametrize("stores", STORES)
def test_nothing_is_lost_doubled_or_untrue_while_everything_is_killed(stores: str) -> None:
    result = run(Plan(stores, seed=SEED, **SHORT))
    assert not result.findings, result.tell()
    assert len({row.status for row in result.world.rows}) > 4, "too little has happened"
    assert len({fault.kind for fault in result.world.breaks}) > 4, "too little was broken"
