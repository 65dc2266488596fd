"""Django's PostgreSQL backend, which doesn't ask a quiet connection whether it still lives."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Before a request first uses its connection, Django sends `SELECT 1` to see if it is alive.

    A server that is gone, or was restarted, has closed the socket or said so on it: then there is
    something to read, and Django's question is asked. A socket with nothing to read is used
    without one; what an unanswering network hides, no question would bring to light in time.
    """

    def is_usable(self) -> bool:
        return self._is_quiet() or super().is_usable()

    def _is_quiet(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN | select.POLLHUP)
        return not poll.poll(0)
