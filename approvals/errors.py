"""What can go wrong in the hall. A docstring is the message when none is given."""

from django.db import InterfaceError, OperationalError

DATABASE_AWAY = (OperationalError, InterfaceError)
"""What the database's driver raises when the database does not answer."""


class ApprovalsError(Exception):
    """Base of this room's errors; never raised itself."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class StaleTransition(ApprovalsError):
    """Somebody else moved the call first."""


class NoPlace(ApprovalsError):
    """As many calls of the tool run as may run at once."""


class UnreadableArguments(ApprovalsError):
    """The sealed text cannot be opened with any of the keys that are configured."""
