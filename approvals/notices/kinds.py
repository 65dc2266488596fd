"""Which step of a call's life is told to whom, and under which name."""

from audit.events import EventName

TEST = "test"
REMINDER = "reminder"
DIGEST = "digest"

ASKS = frozenset(
    {
        EventName.INVOCATION_HELD.value, EventName.APPROVAL_VOTED.value,
        EventName.APPROVAL_EDITED.value, REMINDER,
    }
)  # fmt: skip
"""People are asked to decide; of no use any more once somebody has."""

OUTCOMES = frozenset(
    {
        EventName.APPROVAL_APPROVED.value, EventName.APPROVAL_REJECTED.value,
        EventName.INVOCATION_EXPIRED.value, EventName.INVOCATION_CANCELLED.value,
        EventName.INVOCATION_VOIDED.value,
    }
)  # fmt: skip
"""What became of a held call: told where people were asked, and to whoever asked for the call."""

HELD = "invocation.held"
DECIDED = "invocation.decided"
FINISHED = "invocation.finished"

OF_CALLER = {
    EventName.INVOCATION_HELD: (HELD,),
    EventName.APPROVAL_APPROVED: (DECIDED,),
    EventName.APPROVAL_REJECTED: (DECIDED, FINISHED),
    EventName.INVOCATION_EXPIRED: (FINISHED,),
    EventName.INVOCATION_CANCELLED: (FINISHED,),
    EventName.INVOCATION_VOIDED: (FINISHED,),
    EventName.INVOCATION_FINISHED: (FINISHED,),
    EventName.INVOCATION_LOST: (FINISHED,),
    EventName.INVOCATION_RECONCILED: (FINISHED,),
}
"""What a caller's own system is told; `invocation.finished` ends every call's story.

Once, but for a call whose outcome was unknown: it is told again when a person has found out.
"""
