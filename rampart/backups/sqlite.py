"""SQLite: its own online backup, and a new file that takes the place of the old one."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from django.db import connection

from rampart.backups.archive import Sink, copy, fsync_folder
from rampart.backups.errors import BackupFailed


def dump(into: Sink, folder: Path) -> None:
    """The whole database, as of one moment; those who write meanwhile are not held up.

    SQLite copies into a file of its own, which is in `folder` until it has been read.
    """
    connection.ensure_connection()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rampart.", suffix=".part") as aside:
        try:
            with closing(sqlite3.connect(aside.name)) as target:
                target.execute("PRAGMA journal_mode = OFF")  # It would be left behind by a fault.
                connection.connection.backup(target)
        except sqlite3.Error as error:
            raise BackupFailed(f"{folder}: {error}") from None
        copy(aside.file, into)


@contextmanager
def restored(dumped: IO[bytes], *, replace: bool, now: datetime) -> Iterator[None]:
    """Django's database is the restored one, in a file aside; in the end it takes its place.

    It is asked again then whether the old one is in use: who has begun to use it meanwhile has a
    log beside it, which would be taken for the new one's.
    """
    place = Path(connection.settings_dict["NAME"])
    connection.close()
    _refuse_if_in_use(place, replace)
    with _aside(dumped, place) as aside:
        connection.settings_dict["NAME"] = str(aside)
        yield
        _make_one_file()
        connection.settings_dict["NAME"] = str(place)
        _refuse_if_in_use(place, replace)
        _put(aside, place, now)


@contextmanager
def _aside(dumped: IO[bytes], place: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".restoring-") as folder:
        aside = Path(folder) / place.name
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            copy(dumped, file)
        yield aside


def _refuse_if_in_use(place: Path, replace: bool) -> None:
    """Leaves an old file without a log beside it: whoever has it open keeps it from that."""
    if not place.exists():
        if _log_of(place).exists():
            raise BackupFailed(f"{_log_of(place)} lies there without its database: move it away")
        return
    try:
        with closing(sqlite3.connect(place, timeout=0)) as old:
            tables = old.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and not replace:
                raise BackupFailed(f"{place} is not empty; with --replace it is moved aside")
            old.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError:
        raise BackupFailed(f"{place} is in use: stop all of Rampart first") from None
    except sqlite3.DatabaseError:  # It is no database, or broken: all the more reason to restore.
        if not replace:
            raise BackupFailed(f"{place} is there; with --replace it is moved aside") from None


def _make_one_file() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def _put(aside: Path, place: Path, now: datetime) -> None:
    """At every moment the place has the old file or the new one, whole."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    if place.exists():
        os.link(place, place.with_name(f"{place.name}.replaced-{now:%Y%m%dT%H%M%S}"))
    os.replace(aside, place)
    fsync_folder(place.parent)


def _log_of(place: Path) -> Path:
    return place.with_name(f"{place.name}-wal")
