"""A backup is a tar file: the dump, the newest checkpoint, and in the end a manifest.

The manifest comes last and holds the dump's digest, so a file that has one is whole; everything
can be taken out with `tar`. The dump is written straight through: its header is filled in when its
length is known.
"""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import SEEK_END, BufferedReader
from pathlib import Path
from typing import IO, Protocol, cast

from rampart.backups.errors import BackupFailed

FORMAT = 1
DUMPS = {"postgresql": "database.dump", "sqlite": "database.sqlite3"}
"""What the dump is called, by the kind of database that it is of."""
CHECKPOINT, MANIFEST = "checkpoint.txt", "manifest.json"
LONGEST_MANIFEST = 2**20
CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a restore has to know before it begins."""

    database: str
    taken_at: str
    migrations: list[str]
    """Those that were applied, as `app.name`."""
    checkpoint: str | None
    """The newest signed note; it is in the file by itself, too."""
    sha256: str = ""
    format: int = FORMAT


class Sink(Protocol):
    """Where a dump goes."""

    def write(self, data: bytes, /) -> int: ...


class _Hashed:
    """Passes on what is written, and takes its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        self.sha256.update(data)
        return self._file.write(data)


Dump = Callable[[Sink], None]


def write(path: Path, manifest: Manifest, dump: Dump, *, force: bool) -> None:
    """Make the file; OSError or what `dump` raises leave nothing behind."""
    with _aside(path, force) as file:
        digest = _append_dump(file, DUMPS[manifest.database], dump)
        if manifest.checkpoint is not None:
            _append(file, CHECKPOINT, manifest.checkpoint.encode())
        document = json.dumps(asdict(replace(manifest, sha256=digest)), indent=2)
        _append(file, MANIFEST, f"{document}\n".encode())
        file.write(bytes(2 * tarfile.BLOCKSIZE))


@contextmanager
def opened(path: Path) -> Iterator[tuple[Manifest, IO[bytes]]]:
    """The manifest, and the dump, which is what was written; raises BackupFailed."""
    try:
        with tarfile.open(path, "r:") as tar:
            manifest = _manifest(_member(tar, MANIFEST).read(LONGEST_MANIFEST))
            dump = _member(tar, DUMPS[manifest.database])
            if hashlib.file_digest(dump, "sha256").hexdigest() != manifest.sha256:
                raise BackupFailed("this backup is damaged: its dump is not what was written")
            dump.seek(0)
            yield manifest, dump
    except tarfile.TarError:
        raise BackupFailed("this is no whole backup: it can't be read to its end") from None


def refuse_to_overwrite(path: Path, *, force: bool) -> None:
    """A device or a pipe would be replaced by a file, so not even by force."""
    if path.exists() and not path.is_file():
        raise BackupFailed(f"{path} is there already, and is no file")
    if path.exists() and not force:
        raise BackupFailed(f"{path} is there already; with --force it is overwritten")


@contextmanager
def _aside(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole and on the disk."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with open(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        refuse_to_overwrite(path, force=force)
        os.replace(name, path)
        fsync_folder(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """So that a new name outlives a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _append_dump(file: IO[bytes], name: str, dump: Dump) -> str:
    """The dump as a member of the tar; its digest."""
    begin = file.tell()
    file.write(bytes(tarfile.BLOCKSIZE))
    hashed = _Hashed(file)
    dump(hashed)
    size = file.tell() - begin - tarfile.BLOCKSIZE
    _fill_up(file, size)
    file.seek(begin)
    file.write(_header(name, size))
    file.seek(0, SEEK_END)
    return hashed.sha256.hexdigest()


def _append(file: IO[bytes], name: str, content: bytes) -> None:
    file.write(_header(name, len(content)) + content)
    _fill_up(file, len(content))


def _header(name: str, size: int) -> bytes:
    """One block, however large the member is: GNU's form has room for any number."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)


def _fill_up(file: IO[bytes], size: int) -> None:
    file.write(bytes(-size % tarfile.BLOCKSIZE))


def _member(tar: tarfile.TarFile, name: str) -> BufferedReader:
    try:
        member = tar.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise BackupFailed(f"this is no whole backup: it has no {name}")
    return cast("BufferedReader", member)


def _manifest(text: bytes) -> Manifest:
    try:
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise BackupFailed("this backup was made by a newer Rampart: restore it with that")
        manifest = Manifest(**document)
    except (ValueError, TypeError, KeyError):
        raise BackupFailed("this is no backup of Rampart's: its manifest can't be read") from None
    if manifest.database not in DUMPS:
        raise BackupFailed("this is no backup of Rampart's: its manifest can't be read")
    return manifest


def copy(source: IO[bytes], target: Sink) -> None:
    """All of it, a piece at a time."""
    shutil.copyfileobj(source, target, CHUNK)
