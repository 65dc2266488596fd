"""What can be read of a process from outside: its environment, its command line, its memory."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw")


def family(pid: int) -> list[int]:
    """The process and all below it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def shown_in_proc(pid: int) -> bytes:
    """What it was started with, as /proc shows it for as long as it lives."""
    folder = Path(f"/proc/{pid}")
    return (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()


def holds(pid: int, text: str) -> bool:
    """Whether the text is anywhere in its memory."""
    wanted = text.encode()
    return any(wanted in part for part in _memory(pid))


def _memory(pid: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if found := WRITABLE.match(line):
                start, end = (int(edge, 16) for edge in found.groups())
                memory.seek(start)
                with contextlib.suppress(OSError):  # A part that the kernel keeps to itself.
                    yield memory.read(end - start)
