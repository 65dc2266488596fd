"""What every long-lived process asks before it begins to serve."""

import logging
import sys

from django.core import checks
from django.core.management.base import SystemCheckError
from django.db import OperationalError

log = logging.getLogger(__name__)


def exit_unless_sound() -> None:
    """End the process if a system check finds an error.

    Celery only logs an exception of a signal's receiver, and would go on; SystemExit ends it.
    """
    try:
        refuse_errors()
    except SystemCheckError as error:
        sys.exit(f"rampart: {error}")


def refuse_errors() -> None:
    """Raise SystemCheckError if a system check finds an error, such as a wrong tool definition.

    Warnings are logged: of those that ask the database, commands say nothing.
    The database's checks are left out while it does not answer: that is for `/ready` to say.
    """
    try:
        found = checks.run_checks(databases=["default"])
    except OperationalError:
        found = checks.run_checks()
    for message in found:
        if not message.is_serious():
            log.warning("%s: %s", message.id, message.msg)
    if errors := [message for message in found if message.is_serious()]:
        raise SystemCheckError("\n".join(f"{message.id}: {message.msg}" for message in errors))
