"""How the ledger's lists are planned where PostgreSQL could go the long way."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def planned_for_its_values() -> Iterator[None]:
    """PostgreSQL plans each statement for the very values that it is given.

    A statement that comes often is otherwise planned once, for values of average frequency: then
    who looks for what is rare may have the whole table walked through.
    """
    if connection.vendor != "postgresql":
        yield
        return
    connection.ensure_connection()
    driver = connection.connection
    before, driver.prepare_threshold = driver.prepare_threshold, None
    try:
        yield
    finally:
        driver.prepare_threshold = before
