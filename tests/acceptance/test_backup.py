"""An upgrade: a backup that an older Rampart has made, restored by this one."""

import json
from pathlib import Path

import pytest

from tests.backup_kit import LEDGER, MakeHouse, make_house, server, store

__all__ = ["make_house", "server", "store"]

OLDER = {"audit": "0005", "approvals": "0004", "tools": "0004"}
"""The last tables before the ledger had a tree."""
MAKE_OLD_TABLES = f"""
from django.core.management import call_command
for app in ("contenttypes", "auth", "admin", "sessions", "axes"):
    call_command("migrate", app, verbosity=0)
for app, name in {OLDER!r}.items():
    call_command("migrate", app, name, verbosity=0)
"""
FILL_THEM = """
from django.contrib.auth.models import User
from audit.models import Event, local_now
User.objects.create_user("rosa")
for number in range(20):
    moment = local_now()
    line = Event(event="invocation:refused", actor="agent", arguments={"number": number},
                 started_at=moment, ended_at=moment)
    line.digest = line.computed_digest()
    line.save(force_insert=True)
"""
SEAL = """
from audit import sealing
from audit.models import Event, Leaf, Unsealed
sealing.seal()
print(Event.objects.count() - Leaf.objects.count(), Unsealed.objects.count())
"""


@pytest.mark.feature("E8")
def test_an_older_backup_is_restored_brought_up_to_date_sealed_and_verified(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    older, file = make_house(), tmp_path / "rampart.backup"
    older.shell(MAKE_OLD_TABLES)
    older.shell(FILL_THEM)
    lines = older.shell(LEDGER)
    assert len(lines) == 20
    assert older.manage("migrate", "--check").returncode == 1, "these are the newest tables"
    done = older.backup(file)
    assert done.returncode == 0, done.stderr
    newer = make_house()
    done = newer.restore(file, "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert newer.manage("migrate", "--check").returncode == 0
    assert newer.shell(LEDGER)[:20] == lines
    assert newer.shell("from django.contrib.auth.models import User; print(User.objects.get())")
    assert newer.shell(SEAL) == ["0 0"]
    verified = newer.manage("verify_audit", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["ok"]) == (0, True)
