"""The clock: upkeep every two seconds, in the process that Celery's beat is.

It is not sent to the workers, because it must go on just when they have more to do than they can:
then messages get lost, workers die and approvals run out.
"""

import logging
import threading
from typing import Any

from celery.signals import beat_embedded_init, beat_init
from django.db import DatabaseError, InterfaceError, close_old_connections

from approvals.upkeep import upkeep

log = logging.getLogger(__name__)

SECONDS_BETWEEN_ROUNDS = 2.0


@beat_init.connect
@beat_embedded_init.connect
def start(**kwargs: Any) -> None:
    """Start the clock beside beat; it ends with the process."""
    threading.Thread(target=run, name="upkeep", daemon=True).start()


def run(stop: threading.Event | None = None) -> None:
    """One round after another, whatever happens in one; until `stop` is set."""
    stop = stop or threading.Event()
    while not stop.wait(SECONDS_BETWEEN_ROUNDS):
        tick()


def tick() -> None:
    """One round; a database that does not answer, or a fault of ours, costs only this round."""
    close_old_connections()
    try:
        upkeep()
    except (DatabaseError, InterfaceError) as error:
        log.warning("upkeep waits for the database: %s", type(error).__name__)
    except Exception:  # A fault in one round must not end all rounds.
        log.exception("upkeep failed")
    finally:
        close_old_connections()
