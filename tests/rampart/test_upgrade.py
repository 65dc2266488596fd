"""A deployment of an earlier version goes on with this one's code."""

import sqlite3
from pathlib import Path

import pytest

from tests.processes import Deployment

BEFORE_THE_TREE = "0005_workshop_events"
AN_EVENT = """
    INSERT INTO audit_event (
        id, event, actor, tool_name, reason, started_at, ended_at, metadata, request_id, source,
        key_prefix, digest
    ) VALUES (
        '01a204ae2cd773b396bb1a38e128d523', 'key:created', 'somebody', '', '',
        '2026-01-01 00:00:00', '2026-01-01 00:00:00', '{}', '', '', '',
        'bbd5b1e16ae3e5dff4bd4fc1e9a8a2f1e3c4a1e6f8f4cf4f1b9c2a6f1f2d3c4b'
    )
"""


@pytest.mark.feature("E8", "U2")
def test_a_ledger_from_before_there_was_a_tree_is_migrated_and_sealed(tmp_path: Path) -> None:
    """The check of the triggers must not stop the migration that brings them."""
    deployment = Deployment(tmp_path)
    done = deployment.manage("migrate", "audit", BEFORE_THE_TREE)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "rampart.sqlite3") as database:
        database.execute(AN_EVENT)
    done = deployment.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    assert deployment.manage("check", "--database", "default").returncode == 0
    done = deployment.manage("seal_audit", "--json")
    assert (done.returncode, '"size": 2' in done.stdout) == (0, True), "it, and the key's line"
