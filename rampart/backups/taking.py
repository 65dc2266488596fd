"""A backup is taken: the ledger says so first, so the line and its seal are in the backup."""

from pathlib import Path

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from audit import checkpoints, ledger, sealing
from audit.canonical import rfc3339
from audit.events import EventName
from audit.models import local_now
from rampart.backups import archive, postgresql, sqlite
from rampart.backups.archive import Manifest, Sink
from rampart.backups.errors import BackupFailed


def take(path: Path, *, by: str, force: bool, binaries: Path | None) -> Manifest:
    """Make the file, readable by its owner alone; raises BackupFailed or OSError.

    A line says that one was begun; another follows if it came to nothing. Into tables that wait
    for their migration nothing is written.
    """
    archive.refuse_to_overwrite(path, force=force)
    if not _are_current():
        return write(path, None, force=force, binaries=binaries)
    about = {"file": path.name}
    ledger.record(EventName.DATABASE_BACKED_UP, actor=by, metadata=about)
    sealing.seal()
    newest = checkpoints.latest()
    try:
        return write(path, newest.note if newest else None, force=force, binaries=binaries)
    except (BackupFailed, OSError) as error:
        ledger.record(
            EventName.DATABASE_BACKED_UP,
            actor=by,
            status="error",
            error=str(error),
            metadata=about,
        )
        raise


def write(path: Path, checkpoint: str | None, *, force: bool, binaries: Path | None) -> Manifest:
    """The file alone, of whatever version the tables are."""
    manifest = Manifest(
        database=connection.vendor,
        taken_at=rfc3339(local_now()),
        migrations=_applied(),
        checkpoint=checkpoint,
    )

    def dump(into: Sink) -> None:
        if connection.vendor == "sqlite":
            sqlite.dump(into, path.parent)
        else:
            postgresql.dump(into, binaries)

    archive.write(path, manifest, dump, force=force)
    return manifest


def _are_current() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _applied() -> list[str]:
    return sorted(map(".".join, MigrationRecorder(connection).applied_migrations()))
