"""The arrow of a person who has found out what became of a call whose worker died."""

from django.db import transaction

from approvals.models import Invocation
from approvals.records import tell
from approvals.states import InvocationStatus
from approvals.transitions.moves import move_row
from audit.events import EventName
from audit.redaction import PLAIN

RECONCILED = "reconciled"
_FAILED = {"error_type": "Reconciled", "error": "a person found that the call had failed"}
_SUCCEEDED = {"error_type": None, "error": None}


def reconcile(
    row: Invocation, *, succeeded: bool, note: str, by: str, source: str, request_id: str = ""
) -> None:
    """Unknown to success or error; the note says how the person knows.

    There is no result: the tool has given none, and nobody makes one up.
    """
    with transaction.atomic():
        move_row(
            row,
            InvocationStatus.SUCCESS if succeeded else InvocationStatus.ERROR,
            source={InvocationStatus.UNKNOWN},
            reason=RECONCILED,
            **(_SUCCEEDED if succeeded else _FAILED),
        )
        tell(
            row,
            EventName.INVOCATION_RECONCILED,
            actor=by,
            reason=RECONCILED,
            metadata={
                "requester": row.actor,
                "note": PLAIN.text(note),
                "source": source,
                "request_id": request_id,
            },
        )
