"""System checks of the ledger, each with a stable id."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

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
        if _waits_for_migrate(connection):
            continue  # Else `migrate`, which asks first, could never bring the new triggers.
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


def _waits_for_migrate(connection: BaseDatabaseWrapper) -> bool:
    """Whether the ledger's tables are not this version's yet; `/ready` says so, too."""
    loader = MigrationLoader(connection)
    ours = {key for key in loader.disk_migrations if key[0] == Event._meta.app_label}
    return not ours <= set(loader.applied_migrations)
