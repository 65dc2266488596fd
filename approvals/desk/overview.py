"""The ways in that people take every day, as the overview offers them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from approvals.desk.people import sees_all, visible_to
from approvals.desk.running import may_look, visible_calls
from approvals.states import InvocationStatus

MOST_COUNTED = 1_000
_WAYS = (
    ("Approval", "Queue", ""),
    ("running", "What runs", ""),
    ("unknown", "Outcome unknown", ""),
    ("insights", "Insights", "how decisions went"),
    ("Policy", "Policies", "what is held, and who decides"),
    ("Event", "Audit", "everything that happened"),
)


@dataclass(frozen=True, slots=True)
class WayIn:
    """A page, and what is to be found there."""

    name: str
    address: str
    about: str


def ways_in(person: User, app_list: Iterable[Mapping[str, Any]]) -> list[WayIn]:
    """Queue, insights, policies, audit: those of them that this person may see."""
    lists = {
        model["object_name"]: model["admin_url"] for app in app_list for model in app["models"]
    }
    lists["insights"] = reverse("admin:insights") if sees_all(person) else None
    lists["running"] = reverse("admin:running") if may_look(person) else None
    if lists.get("Invocation"):
        lists["unknown"] = f"{lists['Invocation']}?status__exact={InvocationStatus.UNKNOWN}"
    counts = {"Approval": _waiting, "running": _under_way, "unknown": _unknown}
    ways = [
        WayIn(name, lists[kind], counts[kind](person) if kind in counts else about)
        for kind, name, about in _WAYS
        if lists.get(kind)
    ]
    return [way for way in ways if way.about]


def _waiting(person: User) -> str:
    """How many calls wait, counted no further than anybody would care."""
    waiting = visible_to(person).pending().order_by()[: MOST_COUNTED + 1].count()
    if waiting > MOST_COUNTED:
        return f"more than {MOST_COUNTED} calls wait"
    return {0: "nothing waits", 1: "1 call waits"}.get(waiting, f"{waiting} calls wait")


def _under_way(person: User) -> str:
    calls = visible_calls(person)
    running, queued = (
        rows.order_by()[: MOST_COUNTED + 1].count() for rows in (calls.running(), calls.queued())
    )
    return f"{_figure(running)} running, {_figure(queued)} waiting for a worker"


def _unknown(person: User) -> str:
    """How many calls a person has to look after; nothing if there is none."""
    unknown = visible_calls(person).unknown().order_by()[: MOST_COUNTED + 1].count()
    if not unknown:
        return ""
    return f"{_figure(unknown)} {'call' if unknown == 1 else 'calls'} to reconcile"


def _figure(count: int) -> str:
    return f"{MOST_COUNTED}+" if count > MOST_COUNTED else str(count)
