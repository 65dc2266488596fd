"""The arrows: the only place where a status is written.

Each function is one step of a call's life: a conditional UPDATE on the status that is expected,
and the ledger's line, in one transaction. If another process was first, StaleTransition is
raised and nothing is changed. Approvals are always touched before their invocations, so that two
steps at once wait for each other in the same order. Nothing is sent from here.
"""

from approvals.transitions.closing import cancel, expire, void
from approvals.transitions.deciding import USE_WITHIN, Said, approve, edit, reject
from approvals.transitions.entering import (
    Held,
    enter_finished,
    enter_held,
    enter_queued,
    enter_running,
)
from approvals.transitions.moves import MESSAGE_TIME, now
from approvals.transitions.reconciling import RECONCILED, reconcile
from approvals.transitions.running import (
    LEASE,
    ask_to_stop,
    claim,
    drop_keepsakes,
    finish,
    lose,
    note_dispatch,
    note_progress,
    renew_lease,
    requeue,
    this_process,
)

__all__ = [
    "LEASE",
    "MESSAGE_TIME",
    "RECONCILED",
    "USE_WITHIN",
    "Held",
    "Said",
    "approve",
    "ask_to_stop",
    "cancel",
    "claim",
    "drop_keepsakes",
    "edit",
    "enter_finished",
    "enter_held",
    "enter_queued",
    "enter_running",
    "expire",
    "finish",
    "lose",
    "note_dispatch",
    "note_progress",
    "now",
    "reconcile",
    "reject",
    "renew_lease",
    "requeue",
    "this_process",
    "void",
]
