"""The clock: what has to happen again and again, in the process that Celery's beat is.

It is not sent to the workers, because it must go on just when they have more to do than they can:
then messages get lost, workers die and approvals run out. Each kind of work has a thread and a
database connection of its own, so that none waits where another hangs.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.signals import beat_embedded_init, beat_init
from django.db import DatabaseError, InterfaceError, close_old_connections

from approvals.upkeep import upkeep
from audit import verifying
from audit.sealing import SomebodyElseSeals, seal
from rampart.retention import sweep_by_the_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """One thing that is done, and how many seconds lie between two rounds of it."""

    name: str
    seconds: float
    act: Callable[[], object]
    first: float | None = None
    """Seconds until the first round, where that is another time."""

    def run(self, stop: threading.Event) -> None:
        """One round after another, whatever happens in one; until `stop` is set."""
        pause = self.seconds if self.first is None else self.first
        while not stop.wait(pause):
            self.tick()
            pause = self.seconds

    def tick(self) -> None:
        """One round; a database that does not answer, or a fault of ours, costs only this one."""
        close_old_connections()
        try:
            self.act()
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s waits for the database: %s", self.name, type(error).__name__)
        except Exception:  # A fault in one round must not end all rounds.
            log.exception("%s failed", self.name)
        finally:
            close_old_connections()


def seal_what_is_new() -> None:
    """Seal, unless somebody else is at it, and sign as often as is due."""
    try:
        seal(wait=False, sign_now=False)
    except SomebodyElseSeals:
        log.debug("somebody else seals")


CLOCKS = [
    Clock("upkeep", 2.0, upkeep),
    Clock("sealing", 1.0, seal_what_is_new),
    Clock("verifications", 15.0, verifying.upkeep),
    Clock("retention", 3600.0, sweep_by_the_settings, first=300.0),
]


@beat_init.connect
@beat_embedded_init.connect
def start(stop: threading.Event | None = None, **kwargs: Any) -> None:
    """Start the clocks beside beat; they end when they are told to, or with the process."""
    stop = stop or threading.Event()
    for clock in CLOCKS:
        threading.Thread(target=clock.run, args=[stop], name=clock.name, daemon=True).start()
