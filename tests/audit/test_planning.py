"""However long the ledger is, no step that looks at a stretch of it walks through all of it."""

import pytest
from django.db import connection
from pytest import MonkeyPatch

from audit import sealing
from audit.export.reading import Selection, selected
from audit.retention import Events
from audit.sealing import seal
from audit.verification import database, verify
from tests.audit.ageing import CUTOFF, a_key, old
from tests.audit.conftest import run_sql

__all__ = ["a_key"]

pytestmark = [pytest.mark.django_db, pytest.mark.postgres, pytest.mark.usefixtures("a_long_ledger")]

MANY, FEW = 3000, 256


@pytest.fixture
def a_long_ledger(a_key: None) -> None:
    """Long enough for PostgreSQL to rather walk through it than to look up a few hundred rows."""
    old(MANY)
    seal()
    run_sql("ANALYZE")


def walked() -> int:
    """Events and leaves that were read by walking, so far in the test's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables"
            " WHERE relname IN ('audit_event', 'audit_leaf')"
        )
        return int(cursor.fetchone()[0])


def test_a_batch_is_sealed_without_a_walk(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", {"postgresql": FEW})
    old(2 * FEW, actor="late")
    before = walked()
    assert seal().events == 2 * FEW
    assert walked() == before


def test_a_stretch_is_exported_without_a_walk() -> None:
    before = walked()
    lines = list(selected(Selection(after=MANY - FEW - 1), MANY, MANY - FEW))
    assert len(lines) == FEW
    assert walked() == before


def test_a_batch_is_pruned_without_a_walk() -> None:
    before = walked()
    assert Events().take(CUTOFF, FEW) == FEW
    assert walked() == before


def test_verification_does_not_walk_for_each_batch(monkeypatch: MonkeyPatch) -> None:
    """It looks for events without a leaf, and for two leaves of one event, once each."""
    monkeypatch.setattr(database, "BATCH", FEW)
    before = walked()
    assert verify().finding is None
    assert walked() - before < MANY // FEW * MANY / 2
