"""Files that an export is written to: whole under their name, or gone on with where they end."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom, TextIOWrapper
from pathlib import Path
from typing import TextIO

from audit.errors import LedgerError
from audit.export.formats import Format, Place
from audit.models import Leaf


class NotAnExport(LedgerError):
    """It is no export of this ledger in this format, and was left as it is."""


class InUse(LedgerError):
    """Another process writes to it."""


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """A new file, for its owner alone, that takes the name's place once it is whole on the disk.

    What is no file, such as a pipe or a device, is written to as it is.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as out:
            yield out
            _settle(out)
        os.replace(name, target)
        _settle_folder(target.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextmanager
def continued(path: Path, form: Format) -> Iterator[tuple[TextIO, Place | None]]:
    """The file itself, cut to its whole lines and locked, and where its last line belongs.

    A line that ends a finished export is cut off too: another one is the last now.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with open(handle, "r+b") as raw:
        _lock(handle)
        os.fchmod(handle, 0o600)
        end, place = _end(raw, form)
        raw.truncate(end)
        raw.seek(end)
        with TextIOWrapper(raw, encoding="utf-8", newline="") as out:
            yield out, place
            _settle(out)


def _lock(handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise NotAnExport
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse from None


def _end(raw: BufferedRandom, form: Format) -> tuple[int, Place | None]:
    """Where to go on, and after which line; at the beginning where no line is to stay."""
    if not form.beginning.startswith(raw.read(len(form.beginning)).decode(errors="replace")):
        raise NotAnExport
    raw.seek(len(form.header))
    before = last = None
    for record in _records(raw, form):
        before, last = last, record
    if last is None:
        return 0, None
    place = _place(last[1], form)
    if not place.is_end:
        return last[0] + len(last[1]), place
    return (last[0], _place(before[1], form)) if before else (0, None)


def _records(raw: BufferedRandom, form: Format) -> Iterator[tuple[int, bytes]]:
    """The whole records, each with where it begins."""
    start, record, quotes = raw.tell(), list[bytes](), 0
    for line in raw:
        record.append(line)
        quotes += line.count(b'"')
        if form.is_whole(line, quotes):
            whole = b"".join(record)
            yield start, whole
            start, record, quotes = start + len(whole), [], 0


def _place(record: bytes, form: Format) -> Place:
    """Where the record belongs in this ledger."""
    try:
        place = form.place(record.decode())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise NotAnExport from None
    if not Leaf.objects.filter(index=place.leaf, event_id=place.event_id).exists():
        raise NotAnExport
    return place


def _settle(out: TextIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def _settle_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
