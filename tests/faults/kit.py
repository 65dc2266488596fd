"""Tools for the fault run: each run leaves a line as it starts and another as it ends.

The lines stand in a file outside the database, each written in one append. A ticket names the
call, a run's own word the run; the result repeats both, so that it tells whose result it is.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator

from tools import (
    isolated_process,
    max_retries,
    progress,
    rate_limit,
    require_approval,
    scope,
    side_effects,
    timeout,
    tool,
)

MARGIN = 30
"""Seconds for what takes one or two: on a busy machine nothing but `hang` shall time out."""


def _leave(path: str, word: str, ticket: str, run: str) -> None:
    line = f"{word} {ticket} {run} {os.getpid()} {time.time():.6f}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: str, ticket: str) -> Iterator[str]:
    """A run that tells of its start, and of its end or its failure; gives the result."""
    run = uuid.uuid4().hex
    _leave(path, "start", ticket, run)
    try:
        yield f"{ticket} {run}"
    except Exception:
        _leave(path, "raised", ticket, run)
        raise
    _leave(path, "end", ticket, run)


def _work(seconds: float) -> None:
    """Take that long, and tell how far it is."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress({"left": round(left, 1)})
        time.sleep(min(left, 0.25))


@tool
@scope("faults.read")
@side_effects(read_only=True, idempotent=True)
@timeout(MARGIN)
def peek(path: str, ticket: str) -> str:
    """Reads, where the request is."""
    with _told(path, ticket) as result:
        return result


@tool
@scope("faults.write")
@timeout(MARGIN)
def write(path: str, ticket: str) -> str:
    """Writes, in a worker."""
    with _told(path, ticket) as result:
        return result


@tool
@scope("faults.write")
@isolated_process
@timeout(MARGIN)
def write_apart(path: str, ticket: str) -> str:
    """Writes, isolated."""
    with _told(path, ticket) as result:
        return result


@tool
@scope("faults.write")
@timeout(MARGIN)
def write_slowly(path: str, ticket: str, seconds: float) -> str:
    """Writes for some seconds."""
    with _told(path, ticket) as result:
        _work(seconds)
        return result


@tool
@scope("faults.write")
@side_effects(idempotent=True)
@timeout(MARGIN)
def settle(path: str, ticket: str, seconds: float) -> str:
    """Takes some seconds too, but running it twice does no harm."""
    with _told(path, ticket) as result:
        _work(seconds)
        return result


@tool
@scope("faults.write")
@side_effects(idempotent=True)
@max_retries(2)
@timeout(MARGIN)
def stumble(path: str, ticket: str) -> str:
    """Fails about every third time, and may be tried again."""
    with _told(path, ticket) as result:
        if int(result[-1], 16) < 6:
            raise ConnectionError("not this time")
        return result


@tool
@scope("faults.write")
@timeout(2)
def hang(path: str, ticket: str) -> str:
    """Never ends by itself."""
    with _told(path, ticket) as result:
        time.sleep(600)
        return result


@tool
@scope("faults.write")
@timeout(MARGIN)
def fail(path: str, ticket: str) -> str:
    """Always raises."""
    with _told(path, ticket):
        raise ValueError("as it should")


@tool
@scope("faults.write")
@require_approval
@timeout(MARGIN)
def guarded(path: str, ticket: str) -> str:
    """Writes once a person has said yes."""
    with _told(path, ticket) as result:
        return result


@tool
@scope("faults.write")
@require_approval
@side_effects(idempotent=True)
@timeout(MARGIN)
def guarded_settle(path: str, ticket: str, seconds: float) -> str:
    """Takes some seconds once a person has said yes; running it twice does no harm."""
    with _told(path, ticket) as result:
        _work(seconds)
        return result


@tool
@scope("faults.write")
@rate_limit("6/minute/user")
@timeout(MARGIN)
def counted(path: str, ticket: str) -> str:
    """Writes, six times a minute for each actor."""
    with _told(path, ticket) as result:
        return result
