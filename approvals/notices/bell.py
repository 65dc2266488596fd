"""The bell: says to the workers that there is something to deliver, and waits for nobody.

Whoever rings has just committed a step of a call, and must not wait for a broker that is away. A
ring that is lost costs two seconds: upkeep looks for what is due.
"""

import logging
import threading

from celery import current_app

log = logging.getLogger(__name__)

DELIVER_TASK = "approvals.deliver"

_ringing = threading.Lock()


def ring() -> None:
    """Send one message, by a thread of its own; none if one is on its way just now."""
    if _ringing.acquire(blocking=False):
        threading.Thread(target=_ring, name="bell", daemon=True).start()


def _ring() -> None:
    try:
        current_app.send_task(DELIVER_TASK, queue="default", retry=False)
    except Exception as error:  # Whatever a broker's client raises, the rows are the truth.
        log.warning("notices wait for the broker: %s", type(error).__name__)
    finally:
        _ringing.release()
