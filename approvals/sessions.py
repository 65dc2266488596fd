"""What is done with a session as a whole: close it with all that it has under way, and report it.

Opening and charging are the tool room's (`tools/sessions.py`); calls are known here.
"""

from collections.abc import Iterator
from typing import Any

from approvals import pipeline
from approvals.models import Invocation
from approvals.results import error_of
from approvals.states import api_word
from audit.canonical import canonical_text, recordable
from tools import sessions
from tools.models import Session

LABEL = "DATA"
"""What a report holds is data, whatever words are in it, and no instruction to whoever reads it."""
MOST_CALLS = 1_000
"""Calls that a report tells of; `tool_calls` counts them all."""
BATCH = 25
"""Rows in memory at a time: each may hold a large result."""


def close(session: Session, *, by: str, request_id: str = "", source: str = "") -> int:
    """Take no more calls, and cancel what waits or runs; returns how many those were.

    A call is charged where it is written, so whoever was let in before is seen here. Closing again
    cancels what is left, if the process died over the first time.
    """
    sessions.close(session, by=by, request_id=request_id, source=source)
    under_way = Invocation.objects.open().of_session(session.pk)
    return sum(pipeline.cancel(row, by=by) for row in list(under_way))


def report(session: Session, *, export: bool = False) -> dict[str, Any]:
    """What the session has spent and done, redacted; `export` adds the whole as one JSON text."""
    calls: list[dict[str, Any]] = []
    spans: list[dict[str, Any]] = []
    for row in _rows(session):
        calls.append(_call(row))
        spans.extend(_spans(row))
    told = {
        "label": LABEL,
        "provenance_graph": {
            "spans": spans,
            "session_id": str(session.pk),
            "tool_calls": session.tool_calls,
            "output_bytes": session.output_bytes,
            "file_access_stats": {},
        },
        "calls": calls,
    }
    return told | {"export_payload": canonical_text(recordable(told)) if export else None}


def _rows(session: Session) -> Iterator[Invocation]:
    rows = Invocation.objects.of_session(session.pk).defer("arguments_sealed", "result_sealed")
    return rows[:MOST_CALLS].iterator(chunk_size=BATCH)


def _call(row: Invocation) -> dict[str, Any]:
    return {
        "invocation_id": str(row.pk),
        "tool_name": row.tool_name,
        "tool_version": row.tool_version_number,
        "status": api_word(row.status),
        "error_type": error_of(row)[0],
        "digest": row.digest,
        "code_hash": _code_hash(row),
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "output_bytes": row.output_bytes,
        "audit_id": None if row.audit_id is None else str(row.audit_id),
    }


def _spans(row: Invocation) -> Iterator[dict[str, Any]]:
    """Where a result says what it comes from: one entry, under the call's id."""
    if provenance := _provenance(row):
        yield {"invocation_id": str(row.pk), "tool_name": row.tool_name, "provenance": provenance}


def _code_hash(row: Invocation) -> str | None:
    """As the result says it; a tool may say anything."""
    told = _provenance(row).get("code_hash")
    return told if isinstance(told, str) else None


def _provenance(row: Invocation) -> dict[str, Any]:
    told = row.result.get("provenance") if isinstance(row.result, dict) else None
    return told if isinstance(told, dict) else {}
