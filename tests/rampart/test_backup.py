"""`backup` and `restore`, on SQLite and on PostgreSQL with its own programs."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import psycopg
import pytest

from rampart.backups import archive
from tests.backup_kit import (
    BINARIES,
    LEDGER,
    House,
    MakeHouse,
    make_house,
    new_database,
    server,
    store,
)  # fmt: skip
from tests.console import ROOT
from tests.stack import until

__all__ = ["make_house", "server", "store"]

WAITING = """
from approvals.models import Invocation
for row in Invocation.objects.order_by("id"): print(row.tool_name, row.status, row.reason)
"""
SIGNED_IN = """
from django.contrib.sessions.models import Session
from django.contrib.sessions.backends.db import SessionStore
print(Session.objects.count())
"""


@pytest.fixture(scope="module")
def house(make_house: MakeHouse) -> House:
    """A deployment in which a call is queued and another waits for a person."""
    made = make_house()
    for command in (["migrate", "--verbosity", "0"], ["sync_tools"]):
        done = made.manage(*command)
        assert done.returncode == 0, done.stderr
    scopes = ("--scope", "refunds.write", "reports.run")
    key = json.loads(made.manage("create_key", "--json", "--actor", "agent", *scopes).stdout)["key"]
    for amount in (20, 900):
        arguments = json.dumps({"order_id": "A-1001", "amount": amount})
        words = ("call", "refund_payment", "--args", arguments, "--wait", "0", "--key", "-")
        done = made.console.manage(*words, stdin=key)
        assert done.returncode == 4, done.stderr
    return made


@pytest.fixture(scope="module")
def backed_up(house: House, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Its backup, and the ledger's lines when it was made."""
    file = tmp_path_factory.mktemp("backups") / "rampart.backup"
    done = house.backup(file)
    assert done.returncode == 0, done.stderr
    return file, house.shell(LEDGER)


@pytest.fixture
def backup(backed_up: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the backup."""
    return Path(shutil.copy(backed_up[0], tmp_path))


@pytest.fixture
def restored(backup: Path, make_house: MakeHouse) -> House:
    """Another deployment, into which the backup was restored."""
    made = make_house()
    done = made.restore(backup)
    assert done.returncode == 0, done.stderr
    return made


def only_on(wanted: str) -> pytest.MarkDecorator:
    """For what only one of the two stores has."""
    return pytest.mark.parametrize("store", [wanted], indirect=True)


# What is kept.


@pytest.mark.feature("K8")
def test_what_is_restored_is_what_was_backed_up(
    backed_up: tuple[Path, list[str]], backup: Path, make_house: MakeHouse
) -> None:
    elsewhere, (_, lines) = make_house(), backed_up
    done = elsewhere.restore(backup, "--verify")
    assert (done.returncode, done.stdout.split()[0]) == (0, "OK:"), done.stderr
    restored = elsewhere.shell(LEDGER)
    assert restored[: len(lines)] == lines
    assert [line.split()[2] for line in restored[len(lines) :]] == [
        "database:restored", "invocation:voided", "invocation:voided",
    ]  # fmt: skip


@pytest.mark.feature("K8")
def test_an_old_backup_is_known_for_one_by_a_newer_checkpoint(
    house: House, backup: Path, make_house: MakeHouse, tmp_path: Path
) -> None:
    newer, kept = tmp_path / "newer.backup", tmp_path / "checkpoint.txt"
    assert house.backup(newer).returncode == 0
    with tarfile.open(newer) as tar:
        kept.write_bytes(tar.extractfile("checkpoint.txt").read())  # type: ignore[union-attr]
    done = make_house().restore(newer, "--verify", "--checkpoint", str(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    done = make_house().restore(backup, "--verify", "--checkpoint", str(kept))
    assert done.returncode == 6, done.stdout + done.stderr
    assert "ALTERED" in done.stdout


def test_a_line_says_that_a_backup_was_taken_and_is_in_it_sealed(
    restored: House, backup: Path
) -> None:
    sealed = restored.shell(
        "from audit.models import *\n"
        "line = Event.objects.get(event='database:backed-up')\n"
        "print(line.actor, line.metadata, Leaf.objects.get(event_id=line.pk).index + 1)"
    )[0]
    assert sealed.startswith("command:") and "rampart.backup" in sealed
    with tarfile.open(backup) as tar:
        note = tar.extractfile("checkpoint.txt").read().decode()  # type: ignore[union-attr]
    assert int(note.splitlines()[1]) >= int(sealed.split()[-1])


def test_a_backup_is_a_tar_that_its_owner_alone_can_read(backup: Path, store: str) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "-tf", str(backup)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [archive.DUMPS[store], "checkpoint.txt", "manifest.json"]


def test_the_secrets_are_not_in_a_backup(house: House, backup: Path, tmp_path: Path) -> None:
    with tarfile.open(backup) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    dump = next((tmp_path / "out").glob("database.*"))
    command = [str(BINARIES / "pg_restore"), "--file=-", str(dump)]
    is_postgresql = dump.suffix == ".dump"
    text = subprocess.check_output(command) if is_postgresql else dump.read_bytes()
    assert b"refund_payment" in text
    for line in (house.folder / "secrets.env").read_text().splitlines():
        assert line.partition("=")[2].encode() not in text, line.partition("=")[0]


@only_on("sqlite")
def test_a_backup_is_of_one_moment_while_others_write(
    house: House, make_house: MakeHouse, tmp_path: Path
) -> None:
    """Each transaction writes a pair. Somebody reads all the while, so that nothing gets into the
    file itself: a copy of that alone would lack all of them.
    """
    done, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        with contextlib.closing(sqlite3.connect(house.file, timeout=30)) as own:
            own.execute("CREATE TABLE pairs (number INTEGER)")
            while not done.wait(0.001):
                with own:
                    own.executemany("INSERT INTO pairs VALUES (?)", [(written,), (written,)])
                written += 1

    with contextlib.closing(sqlite3.connect(house.file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM audit_event").fetchone()
        writer = threading.Thread(target=write)
        writer.start()
        try:
            until(lambda: written > 10)
            before = written
            assert house.backup(tmp_path / "busy").returncode == 0
            after = written
        finally:
            done.set()
            writer.join()
    elsewhere = make_house()
    assert elsewhere.restore(tmp_path / "busy").returncode == 0
    with contextlib.closing(sqlite3.connect(elsewhere.file)) as own:
        rows = [number for (number,) in own.execute("SELECT number FROM pairs ORDER BY 1")]
    assert rows == sorted([*range(len(rows) // 2)] * 2)
    assert before <= len(rows) // 2 <= after + 1


# What is refused, and leaves everything as it was.


@only_on("sqlite")
def test_a_file_that_is_there_is_overwritten_by_force_only(house: House, backup: Path) -> None:
    first = backup.read_bytes()
    assert house.backup(backup).returncode == 1
    assert backup.read_bytes() == first
    assert house.backup(backup, "--force").returncode == 0
    assert backup.read_bytes() != first


@only_on("sqlite")
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_what_is_no_file_is_not_overwritten(
    house: House, tmp_path: Path, force: tuple[str, ...]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = house.backup(pipe, *force)
    assert (done.returncode, done.stderr) == (
        1, f"CommandError: {pipe} is there already, and is no file\n"
    )  # fmt: skip
    assert pipe.is_fifo()


def test_a_database_that_is_not_empty_is_not_restored_into(
    house: House, backup: Path, make_house: MakeHouse
) -> None:
    other = make_house()
    assert other.manage("migrate", "--verbosity", "0").returncode == 0
    before = other.shell(LEDGER)
    done = other.restore(backup)
    assert (done.returncode, "not empty" in done.stderr) == (1, True), done.stderr
    assert other.shell(LEDGER) == before


@only_on("sqlite")
@pytest.mark.parametrize("how", ["a byte is another", "its end is missing", "it is no tar"])
def test_a_damaged_backup_is_not_restored(how: str, backup: Path, make_house: MakeHouse) -> None:
    whole = backup.read_bytes()
    middle = len(whole) // 2
    backup.write_bytes(
        {
            "a byte is another": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "its end is missing": whole[:-4096],
            "it is no tar": b"x" * 4096,
        }[how]
    )
    other = make_house()
    done = other.restore(backup)
    assert (done.returncode, "backup" in done.stderr) == (1, True), done.stderr
    assert other.is_empty()


@only_on("sqlite")
def test_a_backup_of_a_newer_rampart_is_not_restored(
    backup: Path, make_house: MakeHouse, tmp_path: Path
) -> None:
    with archive.opened(backup) as (manifest, dump):
        newer = archive.replace(manifest, migrations=[*manifest.migrations, "audit.9999_later"])
        archive.write(tmp_path / "newer", newer, lambda into: archive.copy(dump, into), force=False)
    other = make_house()
    done = other.restore(tmp_path / "newer")
    assert (done.returncode, "newer Rampart" in done.stderr) == (1, True), done.stderr
    assert "audit.9999_later" in done.stderr
    assert other.is_empty()


@only_on("sqlite")
def test_a_backup_of_another_kind_of_database_is_not_restored(
    backup: Path, make_house: MakeHouse, server: str
) -> None:
    other = make_house()
    done = other.manage("restore", str(backup), DATABASE_URL=new_database(server))
    assert (done.returncode, "backup of sqlite" in done.stderr) == (1, True), done.stderr


@only_on("sqlite")
def test_a_database_that_is_replaced_is_kept_aside(restored: House, backup: Path) -> None:
    lines = restored.shell(LEDGER)
    assert restored.restore(backup, "--replace").returncode == 0
    assert len(lines) == len(restored.shell(LEDGER))
    assert lines != restored.shell(LEDGER)
    (aside,) = restored.folder.glob("rampart.sqlite3.replaced-*")
    with contextlib.closing(sqlite3.connect(aside)) as old:
        assert old.execute("SELECT count(*) FROM audit_event").fetchone() == (len(lines),)


@only_on("sqlite")
def test_a_file_that_somebody_has_open_is_not_replaced(house: House, backup: Path) -> None:
    before = house.shell(LEDGER)
    with contextlib.closing(sqlite3.connect(house.file)) as somebody:
        somebody.execute("SELECT count(*) FROM audit_event").fetchone()
        done = house.restore(backup, "--replace")
    assert (done.returncode, "in use" in done.stderr) == (1, True), done.stderr
    assert house.shell(LEDGER) == before


@only_on("sqlite")
def test_a_file_that_somebody_opens_during_a_restore_is_not_replaced(
    restored: House, backup: Path
) -> None:
    """The new file would stand beside the log of the old one, and be read with it."""
    lines = restored.shell(LEDGER)
    process = _start(restored, "restore", str(backup), "--replace")
    until(lambda: list(restored.folder.glob(".restoring-*/rampart.sqlite3")))
    with contextlib.closing(sqlite3.connect(restored.file)) as somebody:
        somebody.execute("PRAGMA journal_mode = WAL")
        somebody.execute("SELECT count(*) FROM audit_event").fetchone()
        assert process.wait() == 1
    assert restored.shell(LEDGER) == lines
    assert not list(restored.folder.glob("*.replaced-*"))


@only_on("postgresql")
def test_a_database_that_somebody_is_connected_to_is_not_restored_into(
    backup: Path, make_house: MakeHouse
) -> None:
    other = make_house()
    with psycopg.connect(other.url or ""):
        done = other.restore(backup)
    assert (done.returncode, "connected" in done.stderr) == (1, True), done.stderr
    assert other.is_empty()


@only_on("sqlite")
def test_a_checkpoint_without_a_verification_is_wrong_usage(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    (tmp_path / "note").touch()
    done = make_house().restore(tmp_path / "none", "--checkpoint", str(tmp_path / "note"))
    assert done.returncode == 2


# Whole or not at all.


def program(folder: Path, name: str, script: str) -> tuple[str, str]:
    """The option that names a folder in which this program is a script around the real one."""
    folder.mkdir()
    path = folder / name
    path.write_text(f"#!/bin/sh\nREAL={BINARIES / name}\n{script}\n")
    path.chmod(0o755)
    return "--binaries", str(folder)


@only_on("postgresql")
def test_a_dump_that_fails_leaves_no_file_and_a_line_about_it(house: House, tmp_path: Path) -> None:
    said = "pg_dump: error: aborting because of server version mismatch"
    broken = program(
        tmp_path / "bin", "pg_dump", f"head -c 100000 /dev/zero; echo '{said}' >&2; exit 1"
    )
    done = house.backup(tmp_path / "out", *broken)
    assert (done.returncode, done.stderr.strip()) == (1, f"CommandError: {said}")
    assert [path.name for path in tmp_path.glob("*out*")] == []
    assert house.shell(LEDGER)[-1].endswith("database:backed-up error")


@only_on("sqlite")
def test_a_backup_for_which_there_is_no_room_leaves_nothing_and_a_line_about_it(
    house: House, tmp_path: Path
) -> None:
    """What keeps SQLite from writing it all is the largest size that a file may have."""
    code = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "os.execv(sys.executable, [sys.executable, 'manage.py', 'backup', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        cwd=ROOT, env=house.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert list(tmp_path.iterdir()) == []
    assert house.shell(LEDGER)[-1].endswith("database:backed-up error")


@only_on("postgresql")
def test_a_backup_that_is_killed_leaves_no_file_under_its_name(
    house: House, tmp_path: Path
) -> None:
    slow = program(
        tmp_path / "bin", "pg_dump", f"head -c 300000 /dev/zero; touch {tmp_path}/half; cat"
    )
    process = _start(house, "backup", str(tmp_path / "out"), *slow)
    until((tmp_path / "half").exists)
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    assert house.backup(tmp_path / "out").returncode == 0


@only_on("postgresql")
def test_a_restore_that_is_killed_leaves_an_empty_database(
    backup: Path, make_house: MakeHouse, tmp_path: Path
) -> None:
    """What pg_restore gets ends when it has made all tables; its transaction comes to nothing."""
    with tarfile.open(backup) as tar:
        most = tar.getmember("database.dump").size - 500
    other, go = make_house(), tmp_path / "go"
    os.mkfifo(go)
    first = f"head -c {most}; touch {tmp_path}/half; read go < {go}"
    script = f'({first}) | "$REAL" "$@"; touch {tmp_path}/over'
    slow = program(tmp_path / "bin", "pg_restore", script)
    process = _start(other, "restore", str(backup), *slow)
    until((tmp_path / "half").exists)
    process.kill()
    process.wait()
    go.write_text("\n")
    until((tmp_path / "over").exists)
    assert other.is_empty()
    assert other.restore(backup).returncode == 0


@only_on("sqlite")
def test_a_restore_that_is_killed_leaves_the_old_database(restored: House, backup: Path) -> None:
    lines = restored.shell(LEDGER)
    process = _start(restored, "restore", str(backup), "--replace")
    until(lambda: list(restored.folder.glob(".restoring-*/rampart.sqlite3")))
    process.kill()
    process.wait()
    assert list(restored.folder.glob(".restoring-*")), "it was over before it was killed"
    assert restored.shell(LEDGER) == lines


def _start(house: House, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=house.environment,
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@only_on("postgresql")
def test_the_password_is_on_no_command_line_and_other_secrets_go_nowhere(
    house: House, tmp_path: Path
) -> None:
    told = program(
        tmp_path / "bin", "pg_dump",
        f'echo "$@" > {tmp_path}/words; env > {tmp_path}/environment; exec "$REAL" "$@"',
    )  # fmt: skip
    url = (house.url or "").replace("rampart@", "rampart:of-the-database@")
    secret = {"RAMPART_API_KEY": "rmp_of-somebody", "DATABASE_URL": f"{url}?sslmode=prefer"}
    done = house.manage("backup", str(tmp_path / "out"), *told, **secret)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "words").read_text()
    assert "of-the-database" not in words + done.stderr + done.stdout
    assert "sslmode=prefer" in words
    environment = (tmp_path / "environment").read_text()
    assert "PGPASSWORD=of-the-database\n" in environment
    assert "rmp_of-somebody" not in environment and "DATABASE_URL" not in environment


# What must not go on.


def test_calls_that_waited_are_void_after_a_restore(
    house: House, backup: Path, make_house: MakeHouse
) -> None:
    """They may have run since the backup was made, and would run again."""
    assert [line.split()[1] for line in house.shell(WAITING)] == ["queued", "held"]
    elsewhere = make_house()
    done = elsewhere.restore(backup)
    assert "2 calls that waited are void" in done.stderr
    assert elsewhere.shell(WAITING) == ["refund_payment void restored"] * 2


@only_on("sqlite")
def test_calls_that_waited_are_kept_if_that_is_asked_for(
    backup: Path, make_house: MakeHouse
) -> None:
    elsewhere = make_house()
    assert elsewhere.restore(backup, "--keep-calls").returncode == 0
    assert [line.split()[1] for line in elsewhere.shell(WAITING)] == ["queued", "held"]


@only_on("sqlite")
def test_everybody_signs_in_again_after_a_restore(
    house: House, make_house: MakeHouse, tmp_path: Path
) -> None:
    house.shell(SIGNED_IN.replace("print(", "SessionStore().create()\nprint("))
    assert house.backup(tmp_path / "out").returncode == 0
    assert house.shell(SIGNED_IN) == ["1"]
    elsewhere = make_house()
    assert elsewhere.restore(tmp_path / "out").returncode == 0
    assert elsewhere.shell(SIGNED_IN) == ["0"]
