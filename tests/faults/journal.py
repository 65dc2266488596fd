"""The run's own log: each request before it goes out, each answer when it is in, each fault."""

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """One JSON line for each entry, written at once; for many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def ask(self, verb: str, who: str, **more: Any) -> int:
        """A request is about to go out; returns its number."""
        number = next(self._numbers)
        self._write("ask", n=number, verb=verb, who=who, **more)
        return number

    def answer(self, number: int, **more: Any) -> None:
        """Its answer has come."""
        self._write("answer", n=number, **more)

    def lost(self, number: int, error: str) -> None:
        """No answer will come."""
        self._write("lost", n=number, error=error)

    def breaking(self, kind: str, detail: str = "") -> None:
        """A fault is about to be done."""
        self._write("break", kind=kind, detail=detail)

    def mended(self, name: str) -> None:
        """A store answers again."""
        self._write("mended", name=name)

    def close(self) -> None:
        self._file.close()

    def _write(self, what: str, **entry: Any) -> None:
        with self._lock:
            line = json.dumps({"what": what, "at": time.time(), **entry})
            self._file.write(f"{line}\n")
