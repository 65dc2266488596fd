"""The broker on Redis: kombu's transport, of which nothing in a queue can end a worker."""

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis

log = logging.getLogger(__name__)

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""What kombu raises over text that is no message; to a worker it would be the end."""


class Channel(redis.Channel):
    """Takes messages, and passes over what is none."""

    # What was taken and not begun need not go back: the queued row has it sent again. Putting it
    # back while Redis is away ends the worker, and with it the calls that it runs (kombu 5.7).
    do_restore = False

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # its types lack it
        except UNREADABLE as error:
            log.warning("a message that can't be read was put aside: %r", error)
            raise Empty from None


class Transport(redis.Transport):
    """The transport under the names `redis` and `rediss`."""

    Channel = Channel
