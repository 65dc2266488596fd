"""Where the processes of this machine count for Prometheus: in files, added up when they are read.

prometheus_client names such files by process id. Here they belong to slots: the next process takes
over the slot of one that has ended, and counts on from there. So no count is lost or goes down as
processes come and go, and there are never more files than there were processes at once.
"""

import fcntl
import os
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings
from prometheus_client import values

_slots: dict[int, int] = {}


def install() -> None:
    """Count in slots, from here on; the files are made when something is counted."""
    values.ValueClass = _value


def made_folder() -> Path:
    """Where the files are; it is made if it isn't there."""
    path = Path(settings.PROMETHEUS_MULTIPROC_DIR)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def slot() -> int:
    """This process's slot: the first that no living process holds."""
    process = os.getpid()
    if process not in _slots:
        _slots.clear()  # What is there was its parent's.
        _slots[process] = next(number for number in count() if _take(number))
    return _slots[process]


def _take(number: int) -> bool:
    """Take the slot if nobody has it. The lock isn't inherited, and ends with the process."""
    lock = os.open(made_folder() / f"slot-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


def _value(*args: Any, **options: Any) -> Any:
    return _value_class()(*args, **options)


@cache
def _value_class() -> Any:
    made_folder()
    return values.MultiProcessValue(process_identifier=slot)  # type: ignore[no-untyped-call]
