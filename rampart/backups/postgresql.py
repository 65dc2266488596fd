"""PostgreSQL: its own pg_dump and pg_restore, as child processes."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from rampart.backups.archive import Sink, copy
from rampart.backups.errors import BackupFailed

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
SECRET = b"*"
"""libpq's mark on what must not be shown."""
OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
"""


def dump(into: Sink, binaries: Path | None) -> None:
    """The whole database, as of the moment at which this begins.

    Through a pipe: pg_dump would note down places in a file that is not its own.
    """
    with _running("pg_dump", ["--format=custom"], binaries) as process:
        copy(cast("IO[bytes]", process.stdout), into)


@contextmanager
def restored(dumped: IO[bytes], binaries: Path | None, *, with_privileges: bool) -> Iterator[None]:
    """All of the dump is in the database, which must be empty, or nothing."""
    _refuse_unless_empty_and_alone()
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--dbname"]
    if not with_privileges:
        options.insert(0, "--no-privileges")
    # A program that has ended too early says itself why.
    with _running("pg_restore", options, binaries) as process, suppress(BrokenPipeError):
        copy(dumped, cast("IO[bytes]", process.stdin))
    yield


def _refuse_unless_empty_and_alone() -> None:
    if connection.introspection.table_names():
        raise BackupFailed(
            "the database is not empty: make a new one, name it in DATABASE_URL, restore into that"
        )
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        if cursor.fetchone()[0]:
            raise BackupFailed("others are connected to the database: stop all of Rampart first")


@contextmanager
def _running(
    name: str, options: list[str], binaries: Path | None
) -> "Iterator[subprocess.Popen[bytes]]":
    """One of PostgreSQL's programs on this deployment's database, until it has ended well."""
    conninfo, secrets = _connection()
    arguments = options if "--dbname" in options else [*options, "--dbname"]
    command = [str(binaries / name) if binaries else name, "--no-password", *arguments, conninfo]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list, and no shell
                command, env=_environment() | secrets,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
            )  # fmt: skip
        except OSError as error:
            raise BackupFailed(f"{command[0]}: {error.strerror}; see --binaries") from None
        try:
            yield process
            process.communicate()
        finally:
            process.kill()
            process.communicate()
        if process.returncode:
            said.seek(0)
            raise BackupFailed(_line(said.read()) or f"{name} ended with {process.returncode}")


def _connection() -> tuple[str, dict[str, str]]:
    """How Django connects, in libpq's words; and what no command line may hold, as variables."""
    given = connection.get_connection_params()
    words, secrets = {}, {}
    for option in Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if not (value := given.get(keyword)) or keyword == "client_encoding":
            continue
        if option.dispchar != SECRET:
            words[keyword] = value
        elif option.envvar:
            secrets[option.envvar.decode()] = value
        else:
            raise BackupFailed(f"{keyword} can't be handed on: put it into a service file")
    return make_conninfo("", **words), secrets


def _environment() -> dict[str, str]:
    """What PostgreSQL's programs read of this process's environment, and nothing else."""
    inherited = settings.RAMPART_ENVIRONMENT.inherited()
    return {
        name: value
        for name, value in inherited.items()
        if name in INHERITED or name.startswith("PG")
    }


def _line(said: bytes) -> str:
    return "; ".join(said.decode(errors="replace").split("\n")).strip("; ")
