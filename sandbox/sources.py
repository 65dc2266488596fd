"""The files that the tools were read from, and whether they are still the same."""

import os
import sys
from collections.abc import Iterable, Mapping

Stamp = list[int] | None
"""When a file was written and how long it is; None: it is not there, or was not to be trusted."""

_CLOCK_NANOSECONDS = 20_000_000
"""By which a file system's clock may be behind."""


def stamps(names: Iterable[str], since: int) -> dict[str, Stamp]:
    """Of each loaded file in or below the folders of the named modules, read since a moment.

    One that was written in that time may have been read before: it counts as changed.
    """
    files = _files_of(sys.modules)
    folders = {os.path.dirname(file) + os.sep for file in _files_of(names)}
    below = {file for file in files if any(file.startswith(folder) for folder in folders)}
    return {file: _settled(stamp_of(file), since) for file in below}


def have_changed(known: Mapping[str, Stamp]) -> bool:
    return any(stamp_of(file) != stamp for file, stamp in known.items())


def stamp_of(file: str) -> Stamp:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


def _settled(stamp: Stamp, since: int) -> Stamp:
    is_settled = stamp is not None and stamp[0] + _CLOCK_NANOSECONDS < since
    return stamp if is_settled else None


def _files_of(names: Iterable[str]) -> set[str]:
    found = (getattr(sys.modules.get(name), "__file__", None) for name in list(names))
    return {file for file in found if isinstance(file, str)}
