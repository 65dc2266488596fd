"""What is counted of calls, for Prometheus. docs/reference/metrics.md describes each.

Counted is what was committed, by the process that committed it; where it is read, the processes'
counts are added up. A label is a tool's name or a word of ours, never anything of a caller's.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache

from django.db.models import Count, Min, Q
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from approvals.models import Approval, Invocation
from approvals.states import InvocationStatus, api_word, is_final
from audit.events import EventName
from audit.models import local_now

CALLS = Counter(
    "rampart_calls", "Calls that were refused or have ended, by the API's word for it.",
    ["tool", "status"],
)  # fmt: skip
HELD = Counter("rampart_calls_held", "Calls that were made to wait for a person.", ["tool"])
RUN_SECONDS = Histogram(
    "rampart_call_run_seconds", "From the start of a run to its end.", ["tool"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)  # fmt: skip
VIOLATIONS = Counter(
    "rampart_sandbox_violations", "Processes that were killed for what their jail forbids.",
    ["tool"],
)  # fmt: skip
DECISION_SECONDS = Histogram(
    "rampart_decision_seconds", "From a call's arrival to a person's decision about it.",
    ["decision"], buckets=(5, 15, 60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400),
)  # fmt: skip
DECISIONS = {EventName.APPROVAL_APPROVED: "approved", EventName.APPROVAL_REJECTED: "rejected"}


def refused(tool_name: str, status: str) -> None:
    """A call was refused at the door."""
    _call_counter(tool_name, status).inc()


def moved(row: Invocation, event: EventName) -> None:
    """A call came to where it stands now, as the event tells."""
    if decision := DECISIONS.get(event):
        waited = local_now() - row.created_at
        DECISION_SECONDS.labels(decision).observe(waited.total_seconds())
    if event is EventName.SANDBOX_VIOLATED:
        VIOLATIONS.labels(row.tool_name).inc()
    elif event is EventName.INVOCATION_HELD:
        HELD.labels(row.tool_name).inc()
    elif is_final(row.status) and event is not EventName.INVOCATION_RECONCILED:
        _call_counter(row.tool_name, api_word(row.status)).inc()
        if row.started_at and row.finished_at:
            ran = row.finished_at - row.started_at
            _run_histogram(row.tool_name).observe(ran.total_seconds())


# Looking a label up costs more than counting.


@cache
def _call_counter(tool_name: str, status: str) -> Counter:
    return CALLS.labels(tool_name, status)


@cache
def _run_histogram(tool_name: str) -> Histogram:
    return RUN_SECONDS.labels(tool_name)


class Backlog(Collector):
    """What waits at this moment, read from the tables each time it is asked for."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        pending = Approval.objects.pending().aggregate(
            count=Count("pk"), oldest=Min("requested_at")
        )
        waited = local_now() - pending["oldest"] if pending["oldest"] else timedelta()
        running, queued = Q(status=InvocationStatus.RUNNING), Q(status=InvocationStatus.QUEUED)
        calls = Invocation.objects.filter(running | queued).aggregate(
            running=Count("pk", filter=running), queued=Count("pk", filter=queued)
        )
        for name, says, value in (
            ("approvals_pending", "Calls that wait for a person.", pending["count"]),
            (
                "oldest_pending_seconds",
                "How long the oldest of them waits.",
                waited.total_seconds(),
            ),
            ("calls_queued", "Calls that wait for a worker.", calls["queued"]),
            ("calls_running", "Calls that a worker runs.", calls["running"]),
        ):
            yield GaugeMetricFamily(f"rampart_{name}", says, value)
