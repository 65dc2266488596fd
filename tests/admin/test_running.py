"""The page of what runs: who sees which calls, how they fare, and taking one back."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from approvals import execution, transitions
from approvals.models import Invocation
from audit.models import Event
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, person
from tools import catalogue
from tools.models import Tool

pytestmark = [pytest.mark.django_db, pytest.mark.feature("X4", "X10")]

PAGE = "/admin/running/"
PULSE = "/admin/running/pulse/"


def queued(agent: Agent, trace: Path, tool: str = "leave_trace", **more: str) -> Invocation:
    answer = agent.invoke(tool, path=str(trace), **more)
    return Invocation.objects.get(pk=answer.json()["invocation_id"])


def running(agent: Agent, trace: Path) -> Invocation:
    return transitions.claim(queued(agent, trace, "waits_for", go=str(trace)), transitions.now())


def shown(user: User) -> str:
    answer = browser(user).get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def words(page: str) -> str:
    """What stands between the tags, blanks in one piece."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.split('id="queue-live"')[1]).split())


def stop(user: User, row: Invocation) -> Any:
    return browser(user).post(reverse("admin:approvals_invocation_cancel", args=[row.pk]))


def test_nothing_runs(reviewer: User, agent: Agent) -> None:
    assert "Nothing runs" in shown(reviewer)


def test_a_running_call_is_told_with_all_that_one_asks_about_it(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    row = running(agent, trace)
    tool = Tool.objects.get(name="waits_for")
    catalogue.set_limits(tool, max_running=3, priority=2, by="test")
    transitions.note_progress(row, {"stage": "waiting"}, execution.Redactor.over({}))
    told = words(shown(reviewer))
    for part in (
        "waits_for", "▶ running", "By agent", "Runs since", "at the latest",
        f"Worker {transitions.this_process()}, heard just now",
        "Limits 60 s, 3 at once, priority 2",
        "Walls fresh", 'Progress {"stage": "waiting"}', "Cancel",
    ):  # fmt: skip
        assert part.replace('"', "&quot;") in told or part in told, part


def test_waiting_calls_follow_in_their_order_with_their_places(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    for tool in ("leave_trace", "leave_another"):
        queued(agent, trace, tool)
    catalogue.set_limits(
        Tool.objects.get(name="leave_another"), max_running=None, priority=4, by="test"
    )
    catalogue.forget()
    running(agent, trace)
    told = words(shown(reviewer))
    assert re.findall(r"waits_for|leave_another|leave_trace", told) == [
        "waits_for", "leave_another", "leave_trace",
    ]  # fmt: skip
    assert re.findall(r"place (\d+)", told) == ["1", "2"]


def test_a_worker_that_is_silent_is_pointed_out(reviewer: User, agent: Agent, trace: Path) -> None:
    row = running(agent, trace)
    assert "not heard of" not in shown(reviewer)
    silent = transitions.now() + transitions.LEASE - timedelta(seconds=6)
    Invocation.objects.filter(pk=row.pk).update(lease_expires_at=silent)
    assert "worker not heard of" in shown(reviewer)


@pytest.mark.feature("V8")
def test_an_owner_sees_and_stops_their_own_agents_calls_alone(
    owner: User, make_agent: MakeAgent, trace: Path
) -> None:
    mine = queued(make_agent("mine"), trace)
    other = make_agent("other", owner=User.objects.create_user("somebody"))
    others = queued(other, trace, "leave_another")
    told = words(shown(owner))
    assert "leave_trace" in told
    assert "leave_another" not in told
    assert stop(owner, others).status_code == 404
    assert stop(owner, mine).status_code == 302
    assert [row.status for row in Invocation.objects.order_by("pk")] == ["cancelled", "queued"]


def test_strangers_see_nothing(stranger: User, agent: Agent, trace: Path) -> None:
    row = queued(agent, trace)
    for page in (PAGE, PULSE):
        assert browser(stranger).get(page).status_code == 403
    assert stop(stranger, row).status_code == 403


def test_who_only_looks_stops_nothing(agent: Agent, trace: Path) -> None:
    looker, row = person("looker", "view_invocation"), queued(agent, trace)
    assert "Cancel" not in words(shown(looker))
    assert stop(looker, row).status_code == 403
    row.refresh_from_db()
    assert row.status == "queued"


def test_a_running_call_is_asked_to_stop_and_says_so(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    row = running(agent, trace)
    assert stop(reviewer, row)["Location"] == PAGE
    told = words(shown(reviewer))
    assert "asked to stop" in told
    assert "Cancel" not in told
    assert not transitions.renew_lease(row), "its worker hears of it at the next tick"
    (line,) = Event.objects.filter(event="invocation:cancelled")
    assert (line.actor, line.reason) == ("reviewer", "cancel_requested")


def test_a_call_that_has_ended_meanwhile_is_not_stopped(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    row = queued(agent, trace)
    execution.run(row.pk)
    answer = browser(reviewer).post(
        reverse("admin:approvals_invocation_cancel", args=[row.pk]), follow=True
    )
    assert "nothing to stop" in answer.content.decode()


def test_nonsense_is_not_found(reviewer: User, agent: Agent) -> None:
    url = reverse("admin:approvals_invocation_cancel", args=["nonsense"])
    assert browser(reviewer).post(url).status_code == 404


def test_the_pulse_tells_of_news_and_of_nothing_else(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    client = browser(reviewer)

    def beat(version: str) -> int:
        return client.get(PULSE, headers={"If-None-Match": version}).status_code

    empty = client.get(PULSE)["ETag"]
    assert beat(empty) == 304
    row = running(agent, trace)
    assert beat(empty) == 200
    runs = client.get(PULSE)["ETag"]
    assert transitions.renew_lease(row)
    assert beat(runs) == 304
    transitions.note_progress(row, "further", execution.Redactor.over({}))
    assert beat(runs) == 200


def test_the_page_asks_as_often_for_many_calls_as_for_few(
    reviewer: User, agent: Agent, trace: Path, django_assert_max_num_queries: Any
) -> None:
    for number in range(8):
        queued(agent, trace, text=str(number))
    client = browser(reviewer)
    with django_assert_max_num_queries(18) as few:
        client.get(PAGE)
    asked = few.captured_queries
    for number in range(8, 30):
        queued(agent, trace, text=str(number))
    with django_assert_max_num_queries(len(asked)):
        client.get(PAGE)
    assert not [one for one in asked if "_sealed" in one["sql"]]


def test_the_overview_counts_what_runs_and_what_nobody_knows(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    queued(agent, trace)
    row = running(agent, trace)
    seen = browser(reviewer).get("/admin/").content.decode()
    assert "1 running, 1 waiting for a worker" in seen
    assert "Outcome unknown" not in seen
    Invocation.objects.filter(pk=row.pk).update(lease_expires_at=transitions.now())
    transitions.lose(row)
    seen = browser(reviewer).get("/admin/").content.decode()
    assert "1 call to reconcile" in seen
    (address,) = re.findall(r'href="([^"]*status__exact=unknown)"', seen)
    assert "waits_for" in browser(reviewer).get(address).content.decode()


# A tool's limits.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"max_running": "3", "priority": "-2"}, (3, -2)),
        ({"max_running": "", "priority": "1"}, (None, 1)),
        ({"max_running": "0", "priority": "1"}, (None, 0)),
        ({"max_running": "many", "priority": "1"}, (None, 0)),
        ({"max_running": "1", "priority": "40000"}, (None, 0)),
        ({"max_running": "1"}, (None, 0)),
    ],
)
def test_limits_are_set_on_the_tools_page(
    reviewer: User, agent: Agent, given: dict[str, str], kept: tuple[int | None, int]
) -> None:
    tool, client = Tool.objects.get(name="leave_trace"), browser(reviewer)
    page = reverse("admin:tools_tool_change", args=[tool.pk])
    assert "Running at most" in client.get(page).content.decode()
    answer = client.post(reverse("admin:tools_tool_limit", args=[tool.pk]), given)
    assert (answer.status_code, answer["Location"]) == (302, page)
    tool.refresh_from_db()
    assert (tool.max_running, tool.priority) == kept
    assert Event.objects.filter(event="tool:limited").exists() == (kept != (None, 0))


def test_limits_need_the_permission_of_the_switch(agent: Agent) -> None:
    tool, client = Tool.objects.get(name="leave_trace"), browser(person("looker", "view_tool"))
    page = reverse("admin:tools_tool_change", args=[tool.pk])
    assert "Running at most" not in client.get(page).content.decode()
    url = reverse("admin:tools_tool_limit", args=[tool.pk])
    assert client.post(url, {"max_running": "1", "priority": "1"}).status_code == 403
