"""What follows a change of a policy: a line in the ledger, and that it is felt at once."""

from typing import Any

from django.db import transaction

from approvals import rulebook, upkeep
from audit import ledger
from audit.canonical import short_digest
from audit.events import EventName

Said = dict[str, Any] | None
"""What a policy says (`Policy.describe`), or None where there is none."""


def changed(before: Said, after: Said, *, by: str, source: str, request_id: str = "") -> None:
    """Write the ledger's line, in the transaction of the change; after it, the change is felt.

    Held calls that the rules now see otherwise are void; should that fail here, upkeep does it.
    """
    if short_digest(before) == short_digest(after):  # In Python 1 is True, and no rule means that.
        return
    ledger.record(
        EventName.POLICY_CHANGED,
        actor=by,
        reason="added" if before is None else "deleted" if after is None else "changed",
        source=source,
        request_id=request_id,
        metadata={"before": before, "after": after},
    )
    transaction.on_commit(rulebook.forget)
    transaction.on_commit(upkeep.void_ruled_otherwise, robust=True)
