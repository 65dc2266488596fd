"""The ways in that people take every day, as the overview offers them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from approvals.desk.people import sees_all, visible_to

MOST_COUNTED = 1_000
_WAYS = (
    ("Approval", "Queue", ""),
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
    return [
        WayIn(name, lists[kind], _waiting(person) if kind == "Approval" else about)
        for kind, name, about in _WAYS
        if lists.get(kind)
    ]


def _waiting(person: User) -> str:
    """How many calls wait, counted no further than anybody would care."""
    waiting = visible_to(person).pending().order_by()[: MOST_COUNTED + 1].count()
    if waiting > MOST_COUNTED:
        return f"more than {MOST_COUNTED} calls wait"
    return {0: "nothing waits", 1: "1 call waits"}.get(waiting, f"{waiting} calls wait")
