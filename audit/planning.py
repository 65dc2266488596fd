"""How the ledger's reading is planned where PostgreSQL could go the long way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler


class Among(Func):
    """Whether a column's value is among those that a subquery finds, a few thousand at most.

    PostgreSQL then looks them up in the column's index, all in one go. Where it is told `IN`, it
    thinks so many single steps dear, and reads a table of a hundred thousand rows as a whole.
    """

    output_field = BooleanField()
    arity = 2
    template = "%(expressions)s"
    arg_joiner = " IN "

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, Sequence[str | int]]:
        as_array = {"template": "%(expressions)s)", "arg_joiner": " = ANY(ARRAY"}
        return self.as_sql(compiler, connection, **as_array)


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
