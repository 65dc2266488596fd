"""The embedded broker: kombu's filesystem transport, made safe for several processes at once.

As it comes, a message is visible to its readers before it is written, and a queue's table can be
read while it is empty; a worker that polls often dies of either. Here files are written aside
and renamed into place, and taken by removing them, so that a reader sees all of a file or none.
"""

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)

SUFFIX = "msg"


class Channel(filesystem.Channel):
    """Messages are files named `<time>_<id>.<queue>.msg` in one folder."""

    @property
    def messages(self) -> Path:
        """The folder of what waits to be taken."""
        return Path(self.data_folder_in)

    def _put(  # type: ignore[override]  # kombu disagrees with itself here
        self, queue: str, payload: Any, **kwargs: Any
    ) -> None:
        name = f"{time.time_ns()}_{uuid.uuid4().hex}.{queue}.{SUFFIX}"
        _write_aside(self.messages / name, dumps(payload))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for name in sorted(os.listdir(self.messages)):
            if name.partition(".")[2] == f"{queue}.{SUFFIX}":
                message = _readable(self._take(name))
                if message is not None:
                    return message
        raise Empty

    def _take(self, name: str) -> bytes | None:
        """The message's text, for the one who removes it; None for all others.

        It is open by then: whoever dies before the reading leaves no file behind.
        """
        path = self.messages / name
        try:
            with path.open("rb") as file:
                path.unlink()
                return file.read()
        except FileNotFoundError:
            return None

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None
    ) -> None:
        binding = [routing_key or "", pattern or "", queue or ""]
        with self._tables_locked():
            bindings = [list(known) for known in self.get_table(exchange)]
            if binding not in bindings:
                table = self.control_folder / f"{exchange}.exchange"
                _write_aside(table, json.dumps([binding, *bindings]))

    @contextmanager
    def _tables_locked(self) -> Iterator[None]:
        with (self.control_folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Transport(filesystem.Transport):
    """The transport under the name `filesystem`."""

    Channel = Channel


def _readable(text: bytes | None) -> dict[str, Any] | None:
    """The message; None for what is none, over which a worker would end."""
    if text is None:
        return None
    try:
        message = loads(text)
        if "delivery_tag" in message["properties"] and "body" in message:
            return dict(message)
    except (ValueError, KeyError, TypeError):
        pass
    log.warning("a file that is no message was put aside")
    return None


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f".{uuid.uuid4().hex}")
    aside.write_text(text)
    os.rename(aside, path)
