"""What can go wrong in the ledger."""


class LedgerError(Exception):
    """Base of this room's errors; never raised itself."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class LedgerIsAppendOnly(LedgerError):
    """An event is written once; it is never changed and never deleted."""
