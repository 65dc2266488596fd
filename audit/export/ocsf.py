"""Events in the words of the Open Cybersecurity Schema Framework, version 1.5.0.

Each kind of event is one class, activity and severity of OCSF, by a table. What OCSF has no word
for is not bent into one: the whole event stands under `unmapped`, which the format adds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from ipaddress import ip_address
from typing import NamedTuple

from audit.canonical import JSON, value_of
from audit.events import EventName
from audit.records import Stored

VERSION = "1.5.0"
PRODUCT = {"name": "Rampart", "vendor_name": "Rampart"}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NOBODY = "unknown"
"""The name of an actor whom the event does not name: OCSF wants one."""


class Severity(IntEnum):
    """OCSF's `severity_id`; those that are used here."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


class Status(IntEnum):
    """OCSF's `status_id`."""

    SUCCESS = 1
    FAILURE = 2
    OTHER = 99


STATUSES = {
    "success": Status.SUCCESS, "pending": Status.OTHER, "requires_approval": Status.OTHER,
}  # fmt: skip
"""Of a call, by the API's word; every other word is a failure."""
OTHER_ACTIVITY = 99


@dataclass(frozen=True, slots=True)
class Class:
    """A class of OCSF: its numbers and names, and the members that only events of it have."""

    uid: int
    name: str
    category_uid: int
    category_name: str
    members: Callable[[Stored, dict[str, JSON]], dict[str, JSON]]


class Kind(NamedTuple):
    """What an event is in OCSF."""

    ocsf_class: Class
    activity_id: int
    activity_name: str
    severity: Severity = Severity.INFORMATIONAL
    status: Status | None = None
    """Whether it went well, where the event's own status does not say so."""


def mapped(leaf: int, event: Stored) -> dict[str, JSON]:
    """The event as OCSF has it, without `unmapped`."""
    kind = KINDS.get(event.event, UNHEARD_OF)
    metadata = value_of(event.metadata)
    known = {
        **_classified(kind),
        **_status(kind, event),
        "time": _milliseconds(event.ended_at),
        "start_time": _milliseconds(event.started_at),
        "end_time": _milliseconds(event.ended_at),
        "message": " ".join(filter(None, (event.event, event.tool_name, event.reason))),
        "metadata": _metadata(leaf, event),
        **kind.ocsf_class.members(event, metadata if isinstance(metadata, dict) else {}),
    }
    return {name: value for name, value in known.items() if value is not None}


def _classified(kind: Kind) -> dict[str, JSON]:
    found = kind.ocsf_class
    return {
        "class_uid": found.uid,
        "class_name": found.name,
        "category_uid": found.category_uid,
        "category_name": found.category_name,
        "activity_id": kind.activity_id,
        "activity_name": kind.activity_name,
        "type_uid": found.uid * 100 + kind.activity_id,
        "severity_id": int(kind.severity),
        "severity": kind.severity.name.capitalize(),
    }


def _status(kind: Kind, event: Stored) -> dict[str, JSON]:
    """How it went; where OCSF has no word for it, the event's own."""
    found = kind.status
    if found is None:
        found = STATUSES.get(event.status, Status.FAILURE) if event.status else Status.SUCCESS
    return {
        "status_id": int(found),
        "status": event.status if found is Status.OTHER else found.name.capitalize(),
        "status_code": event.reason or None,
        "status_detail": event.error,
    }


def _metadata(leaf: int, event: Stored) -> dict[str, JSON]:
    found: dict[str, JSON] = {
        "version": VERSION,
        "product": PRODUCT,
        "uid": str(event.id),
        "event_code": event.event,
        "log_name": "ledger",
        "sequence": leaf,
    }
    return found | ({"correlation_uid": str(event.invocation_id)} if event.invocation_id else {})


def _actor(event: Stored) -> dict[str, JSON]:
    session = {"session": {"uid": str(event.session_id)}} if event.session_id else {}
    return {"user": _user(event)} | session


def _user(event: Stored) -> dict[str, JSON]:
    credential = {"credential_uid": event.key_prefix} if event.key_prefix else {}
    return {"name": event.actor or NOBODY} | credential


def _source(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    """Where it came from: an address where one was told, and by which door."""
    address = metadata.get("address")
    return {"name": event.source or NOBODY} | ({"ip": address} if _is_address(address) else {})


def _is_address(value: JSON) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False


def _of_a_call(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    request = {"uid": event.request_id or str(event.invocation_id or event.id)}
    return {
        "actor": _actor(event),
        "api": {"operation": event.tool_name or event.event, "request": request},
        "src_endpoint": _source(event, metadata),
    }


def _of_a_sign_in(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    return {
        "user": _user(event),
        "service": PRODUCT_AS_SERVICE,
        "src_endpoint": _source(event, metadata),
    }


def _of_an_account(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    return {"user": _user(event), "src_endpoint": _source(event, metadata)}


def _of_an_entity(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    """What was changed, by the name that the event has for it, else by what kind of thing it is."""
    subject = event.event.partition(":")[0]
    name = event.tool_name or event.key_prefix or subject
    return {
        "actor": _actor(event),
        "entity": {"type": subject, "name": name},
        "src_endpoint": _source(event, metadata),
    }


def _of_anything(event: Stored, metadata: dict[str, JSON]) -> dict[str, JSON]:
    return {}


PRODUCT_AS_SERVICE = {"name": PRODUCT["name"]}
IAM = (3, "Identity & Access Management")
API = Class(6003, "API Activity", 6, "Application Activity", _of_a_call)
AUTHENTICATION = Class(3002, "Authentication", *IAM, _of_a_sign_in)
ACCOUNT = Class(3001, "Account Change", *IAM, _of_an_account)
ENTITY = Class(3004, "Entity Management", *IAM, _of_an_entity)
BASE = Class(0, "Base Event", 0, "Uncategorized", _of_anything)

UNHEARD_OF = Kind(BASE, OTHER_ACTIVITY, "Other")
"""A line of another version of Rampart."""
LOW, MEDIUM, HIGH = Severity.LOW, Severity.MEDIUM, Severity.HIGH
FAILED = Status.FAILURE

KINDS: dict[str, Kind] = {
    EventName.CREDENTIALS_REFUSED: Kind(AUTHENTICATION, 1, "Logon", MEDIUM, FAILED),
    EventName.CREDENTIALS_LOCKED_OUT: Kind(AUTHENTICATION, 1, "Logon", HIGH, FAILED),
    EventName.INVOCATION_REFUSED: Kind(API, 1, "Create", LOW, FAILED),
    EventName.INVOCATION_REPLAYED: Kind(API, 2, "Read"),
    EventName.INVOCATION_HELD: Kind(API, 1, "Create"),
    EventName.INVOCATION_QUEUED: Kind(API, 1, "Create"),
    EventName.INVOCATION_STARTED: Kind(API, 3, "Update"),
    EventName.INVOCATION_FINISHED: Kind(API, 3, "Update"),
    EventName.INVOCATION_CANCELLED: Kind(API, 4, "Delete"),
    EventName.INVOCATION_EXPIRED: Kind(API, 4, "Delete"),
    EventName.INVOCATION_VOIDED: Kind(API, 4, "Delete", LOW),
    EventName.INVOCATION_LOST: Kind(API, 3, "Update", MEDIUM, FAILED),
    EventName.INVOCATION_REQUEUED: Kind(API, 3, "Update", LOW),
    EventName.INVOCATION_RECONCILED: Kind(API, 3, "Update"),
    EventName.SANDBOX_VIOLATED: Kind(API, OTHER_ACTIVITY, "Violate", HIGH, FAILED),
    EventName.SESSION_CREATED: Kind(API, 1, "Create"),
    EventName.SESSION_CLOSED: Kind(API, 4, "Delete"),
    EventName.APPROVAL_APPROVED: Kind(API, 3, "Update", status=Status.SUCCESS),
    EventName.APPROVAL_REJECTED: Kind(API, 3, "Update", LOW, Status.SUCCESS),
    EventName.APPROVAL_REFUSED: Kind(API, 3, "Update", MEDIUM, FAILED),
    EventName.APPROVAL_VOTED: Kind(API, 3, "Update", status=Status.SUCCESS),
    EventName.APPROVAL_EDITED: Kind(API, 3, "Update", LOW, Status.SUCCESS),
    EventName.APPROVAL_REMINDED: Kind(API, OTHER_ACTIVITY, "Remind", status=Status.SUCCESS),
    EventName.POLICY_CHANGED: Kind(ENTITY, 3, "Update", MEDIUM),
    EventName.CHANNEL_CHANGED: Kind(ENTITY, 3, "Update", LOW),
    EventName.CHANNEL_DISABLED: Kind(ENTITY, 9, "Disable", MEDIUM),
    EventName.KEY_CREATED: Kind(ENTITY, 1, "Create", LOW),
    EventName.KEY_ROTATED: Kind(ENTITY, 3, "Update", LOW),
    EventName.KEY_REVOKED: Kind(ENTITY, 4, "Delete", LOW),
    EventName.KEY_IMPORTED: Kind(ENTITY, 1, "Create", LOW),
    EventName.KEY_REHASHED: Kind(ENTITY, 3, "Update"),
    EventName.SUBJECT_ENROLLED: Kind(ACCOUNT, 1, "Create", LOW),
    EventName.TOOL_SYNCED: Kind(ENTITY, 3, "Update"),
    EventName.TOOL_ENABLED: Kind(ENTITY, 8, "Enable", LOW),
    EventName.TOOL_DISABLED: Kind(ENTITY, 9, "Disable", LOW),
    EventName.TOOL_LIMITED: Kind(ENTITY, 3, "Update"),
    EventName.STOP_ENGAGED: Kind(ENTITY, 10, "Activate", HIGH),
    EventName.STOP_RELEASED: Kind(ENTITY, 11, "Deactivate", MEDIUM),
    EventName.SIGN_IN: Kind(AUTHENTICATION, 1, "Logon"),
    EventName.SIGN_IN_REFUSED: Kind(AUTHENTICATION, 1, "Logon", MEDIUM, FAILED),
    EventName.SIGN_OUT: Kind(AUTHENTICATION, 2, "Logoff"),
    EventName.LOCKED_OUT: Kind(AUTHENTICATION, 1, "Logon", HIGH, FAILED),
    EventName.PERSON_PROVED: Kind(AUTHENTICATION, OTHER_ACTIVITY, "Prove"),
    EventName.PERSON_ENROLLED: Kind(ACCOUNT, 1, "Create", LOW),
    EventName.PERSON_REGROUPED: Kind(ACCOUNT, OTHER_ACTIVITY, "Regroup", LOW),
    EventName.ADMIN_EDITED: Kind(ENTITY, 3, "Update", LOW),
    EventName.CHECKPOINT_KEY_ANNOUNCED: Kind(ENTITY, 1, "Create", MEDIUM),
    EventName.LEDGER_PRUNED: Kind(API, 4, "Delete", LOW),
    EventName.LEDGER_EXPORTED: Kind(API, 2, "Read", LOW),
    EventName.LEDGER_VERIFIED: Kind(API, 2, "Read"),
    EventName.HOLD_PLACED: Kind(ENTITY, 1, "Create", LOW),
    EventName.HOLD_RELEASED: Kind(ENTITY, 4, "Delete", MEDIUM),
    EventName.DATABASE_BACKED_UP: Kind(API, 2, "Read", LOW),
    EventName.DATABASE_RESTORED: Kind(API, 3, "Update", MEDIUM),
}


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)
