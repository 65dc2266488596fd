"""System checks of the ledger, each with a stable id."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from audit import append_only
from audit.models import Event


@register(Tags.database)
def ledger_is_guarded(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """audit.E001: the append-only triggers of a migrated database are missing, off or harmless."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if Event._meta.db_table not in connection.introspection.table_names():
            continue
        if gone := append_only.missing(connection):
            found.append(
                Error(
                    f"the ledger's triggers are missing, off or not ours: {', '.join(gone)}",
                    hint="migrate audit back to zero is not the way: find out who was there,"
                    " restore the triggers as the tables' owner (audit.append_only.install), then"
                    " run verify_audit with a checkpoint that was kept elsewhere",
                    id="audit.E001",
                )
            )
    return found
