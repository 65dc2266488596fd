"""`check`: Django's own, and the database is asked as well, where it answers."""

from typing import Any

from django.core.management.commands import check
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection


class Command(check.Command):
    help = "Check the configuration, the tools and the rules for what can't work or leaves a gap."

    def handle(self, *app_labels: Any, **options: Any) -> None:
        if not options["databases"] and _answers():
            options["databases"] = [DEFAULT_DB_ALIAS]
        super().handle(*app_labels, **options)


def _answers() -> bool:
    try:
        connection.ensure_connection()
    except OperationalError:
        return False
    return True
