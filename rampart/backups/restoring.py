"""A backup is put back: into an empty database, brought to this version, and made safe to start.

What waited when the backup was made may have run since, and the restored database does not know:
such calls are void. Everybody signs in again, because who signed out since is signed in again.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from approvals import transitions
from approvals.models import Invocation
from approvals.states import InvocationStatus
from audit import ledger
from audit.events import EventName
from audit.models import local_now
from rampart.backups import archive, postgresql, sqlite
from rampart.backups.archive import Manifest
from rampart.backups.errors import BackupFailed

VOIDED = (InvocationStatus.HELD, InvocationStatus.QUEUED)


@dataclass(frozen=True, slots=True)
class How:
    """What whoever restores has chosen."""

    replace: bool = False
    keep_calls: bool = False
    with_privileges: bool = True
    binaries: Path | None = None


def restore(path: Path, how: How, *, by: str) -> tuple[Manifest, int]:
    """The backup's manifest, and how many calls are void; raises BackupFailed or OSError."""
    with archive.opened(path) as (manifest, dumped):
        _refuse_what_does_not_fit(manifest)
        with _restored(dumped, how):
            call_command("migrate", verbosity=0, interactive=False)
            return manifest, _settle(manifest, how.keep_calls, by)


def _restored(dumped: IO[bytes], how: How) -> AbstractContextManager[None]:
    if connection.vendor == "sqlite":
        return sqlite.restored(dumped, replace=how.replace, now=local_now())
    if how.replace:
        raise BackupFailed(
            "--replace is for SQLite: make a new database, name it in DATABASE_URL, restore there"
        )
    return postgresql.restored(dumped, how.binaries, with_privileges=how.with_privileges)


def _refuse_what_does_not_fit(manifest: Manifest) -> None:
    if manifest.database != connection.vendor:
        raise BackupFailed(
            f"this is a backup of {manifest.database}, and DATABASE_URL names {connection.vendor}"
        )
    known = set(map(".".join, MigrationLoader(None).disk_migrations))
    if unknown := sorted(set(manifest.migrations) - known):
        raise BackupFailed(
            f"this backup was made by a newer Rampart, which has {unknown[0]}: restore it with that"
        )


def _settle(manifest: Manifest, keep_calls: bool, by: str) -> int:
    """Say in the ledger what was done, and close what must not go on."""
    about = {"taken_at": manifest.taken_at, "checkpoint": manifest.checkpoint}
    ledger.record(EventName.DATABASE_RESTORED, actor=by, metadata=about)
    Session.objects.all().delete()
    rows = Invocation.objects.none() if keep_calls else Invocation.objects.filter(status__in=VOIDED)
    waiting = list(rows.order_by("id"))
    for row in waiting:
        transitions.void(row, "restored")
    return len(waiting)
