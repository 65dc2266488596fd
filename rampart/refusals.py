"""Refused credentials: a line in the ledger each, until there are too many to be worth it."""

import logging

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from prometheus_client import Counter

from audit import ledger
from audit.events import EventName
from tools import guessing, keys
from tools.authentication import client_address

log = logging.getLogger(__name__)

LOCKED_OUT = "locked_out"
REFUSED = Counter(
    "rampart_credentials_refused", "Credentials that were refused, by the problem's code.", ["code"]
)


def refuse(request: HttpRequest, code: str, prefix: str = "", fault: str = "") -> int | None:
    """Count and record a refusal; the seconds for which its address is turned away, if it is.

    Whoever is turned away has one line in the ledger, not one for each attempt.
    """
    address = client_address(request)
    wait = guessing.seconds_to_wait(code, address, prefix)
    REFUSED.labels(code if wait is None else LOCKED_OUT).inc()
    if wait is None:
        _tell(request, EventName.CREDENTIALS_REFUSED, code, prefix, address, fault)
    elif guessing.is_first_told(address):
        _tell(request, EventName.CREDENTIALS_LOCKED_OUT, code, prefix, address, fault)
    return wait


def _tell(
    request: HttpRequest, event: EventName, code: str, prefix: str, address: str, fault: str
) -> None:
    """The refusal stands even if it can't be recorded."""
    metadata = {"address": address, "path": keys.without_keys(request.path)[:200]} | (
        {"fault": fault} if fault else {}
    )
    try:
        ledger.record(
            event,
            reason=code,
            request_id=getattr(request, "request_id", ""),
            source="rest",
            key_prefix=prefix,
            metadata=metadata,
        )
    except (DatabaseError, InterfaceError):
        log.error("a refused credential could not be recorded")
