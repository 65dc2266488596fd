"""What the ledger's tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection

from audit import append_only


@contextmanager
def the_ledger_open() -> Iterator[None]:
    """The triggers are gone for a moment, as for somebody who owns the table."""
    append_only.remove(connection)
    try:
        yield
    finally:
        append_only.install(connection)


def run_sql(statement: str, *params: Any) -> None:
    """What somebody with a database prompt can do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def whole_database() -> str:
    """Every column of every row of every table, as text."""
    lines = []
    for model in apps.get_models(include_auto_created=True):
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')
            lines += [_line(row) for row in cursor.fetchall()]
    return "\n".join(lines)


def _line(row: tuple[Any, ...]) -> str:
    return "\t".join(
        bytes(column).decode("latin-1") if isinstance(column, bytes | memoryview) else str(column)
        for column in row
    )
