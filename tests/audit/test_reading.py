"""Who may read the ledger over the API, and how one walks through it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from audit.events import EventName
from audit.models import Event, local_now
from tests.conftest import Agent, MakeAgent, as_person, held

pytestmark = pytest.mark.django_db

TOOLRAMPARTS = {
    "id", "tool_name", "actor", "status", "arguments", "result", "error", "started_at",
    "ended_at", "metadata",
}  # fmt: skip
OURS = {
    "event", "reason", "invocation_id", "approval_id", "session_id", "request_id", "source",
    "key_prefix", "leaf_index",
}  # fmt: skip


@pytest.fixture
def auditor(make_agent: MakeAgent) -> Agent:
    """A key that reads everything."""
    return make_agent("auditor", scopes=("audit.read_all",))


def add(count: int, **columns: Any) -> None:
    """Events, quickly."""
    now = local_now()
    columns = {"event": EventName.INVOCATION_FINISHED, "actor": "agent"} | columns
    Event.objects.bulk_create(Event(started_at=now, ended_at=now, **columns) for _ in range(count))


def walk(reader: Agent, query: str) -> Iterator[list[dict[str, Any]]]:
    """Page after page, to the end."""
    cursor = ""
    while True:
        body = reader.get(f"audit?{query}{cursor}").json()
        yield body["events"]
        if body["next"] is None:
            return
        cursor = f"&cursor={body['next']}"


# Who.


@pytest.mark.feature("H4", "T20")
@pytest.mark.parametrize("scopes", [("kit.*",), ("audit",), ("audit.readX",)])
def test_a_key_without_the_scope_reads_nothing(
    make_agent: MakeAgent, scopes: tuple[str, ...]
) -> None:
    answer = make_agent(scopes=scopes).get("audit")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_denied")
    assert "events" not in answer.json()


@pytest.mark.feature("H4", "T20")
def test_audit_read_shows_the_keys_own_actor_and_nobody_else(make_agent: MakeAgent) -> None:
    reader = make_agent("ann", scopes=("audit.read", "kit.*"))
    make_agent("ben").invoke("echo", value=1)
    reader.invoke("echo", value=2)
    assert {event["actor"] for event in reader.get("audit").json()["events"]} == {"ann"}
    assert reader.get("audit?actor=ben").json() == {"events": [], "next": None}


@pytest.mark.feature("H4", "T20", "AP12")
def test_a_key_that_bears_a_persons_name_does_not_read_that_persons_lines(
    make_agent: MakeAgent, reviewer: User, trace: Path
) -> None:
    approval = held(make_agent("ben"), trace)
    decide = f"/api/v1/approvals/{approval.pk}/reject"
    as_person(reviewer).post(decide, {"note": "between us"}, format="json")
    namesake = make_agent("reviewer", scopes=("audit.read", "kit.*"))
    namesake.invoke("echo", value=1)
    answer = namesake.get("audit")
    assert {event["event"] for event in answer.json()["events"]} == {"invocation:finished"}
    assert "between us" not in answer.content.decode()


@pytest.mark.feature("H4")
@pytest.mark.parametrize("scope", ["audit.read_all", "audit.*", "*"])
def test_audit_read_all_shows_everybody(make_agent: MakeAgent, scope: str) -> None:
    make_agent("ben").invoke("echo", value=1)
    reader = make_agent("ann", scopes=(scope,))
    assert {"ben", "test"} <= {event["actor"] for event in reader.get("audit").json()["events"]}


@pytest.mark.feature("H4")
def test_a_person_reads_by_permission(agent: Agent, reviewer: User, stranger: User) -> None:
    agent.invoke("echo", value=1)
    events = as_person(reviewer).get("/api/v1/audit").json()["events"]
    assert {"agent", "test"} <= {event["actor"] for event in events}
    answer = as_person(stranger).get("/api/v1/audit")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_denied")


# What.


def test_an_event_has_toolramparts_keys_and_ours(auditor: Agent, agent: Agent) -> None:
    agent.post("echo", {"arguments": {"value": 1}, "request_id": "r-1"})
    event = auditor.get("audit").json()["events"][0]
    assert set(event) == TOOLRAMPARTS | OURS
    assert (event["event"], event["status"]) == ("invocation:finished", "success")
    assert (event["tool_name"], event["arguments"], event["result"]) == ("echo", {"value": 1}, 1)
    assert (event["request_id"], event["source"]) == ("r-1", "rest")
    assert event["started_at"].endswith("Z") and event["started_at"] <= event["ended_at"]


@pytest.mark.feature("T30")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("tool=buy", ["b", "a"]),
        ("tool=buy&status=denied", ["b"]),
        ("actor=ann", ["a"]),
        ("event=invocation:held", ["c"]),
        ("request_id=a", ["a"]),
        ("tool=nothing", []),
        ("tool=%00", []),
        ("invocation=01890000-0000-7000-8000-000000000000", []),
        ("since=2000-01-01T00:00:00Z&event=invocation:held", ["c"]),
        ("until=2000-01-01T00:00:00Z", []),
        ("since=2999-01-01T00:00:00+02:00", []),
    ],
)
def test_filters_narrow(auditor: Agent, query: str, found: list[str]) -> None:
    add(1, tool_name="buy", actor="ann", status="success", request_id="a")
    add(1, tool_name="buy", actor="ben", status="denied", request_id="b")
    add(1, tool_name="read", event=EventName.INVOCATION_HELD, request_id="c")
    body = auditor.get(f"audit?{query}").json()
    assert [event["request_id"] for event in body["events"]] == found


@pytest.mark.parametrize(
    "query",
    [
        "invocation=12", "invocation=", "since=yesterday", "since=2026-01-31",
        "since=2026-01-31T00:00:00", "until=2026-13-01T00:00:00Z", "until=",
        "since=0001-01-01T00:00:00%2B14:00", "since=9999-12-31T23:59:59-14:00",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_is_400(auditor: Agent, query: str) -> None:
    answer = auditor.get(f"audit?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")


# Walking.


@pytest.mark.feature("E31", "T30")
def test_a_walk_over_a_thousand_events_while_more_are_written_has_no_double_and_no_gap(
    auditor: Agent,
) -> None:
    add(1100)
    wanted = [str(pk) for pk in Event.objects.newest_first().values_list("pk", flat=True)]
    seen = []
    for page in walk(auditor, "limit=37"):
        seen += [event["id"] for event in page]
        add(11)
    assert len(wanted) > 1100 and seen == wanted


@pytest.mark.feature("E31")
def test_a_walk_keeps_its_filters(auditor: Agent) -> None:
    for _ in range(5):
        add(10, tool_name="buy")
        add(10, tool_name="read")
    pages = list(walk(auditor, "tool=buy&limit=20"))
    assert [len(page) for page in pages] == [20, 20, 10]
    assert {event["tool_name"] for page in pages for event in page} == {"buy"}


@pytest.mark.feature("E31")
@pytest.mark.parametrize(
    ("query", "count"), [("", 50), ("limit=1", 1), ("limit=200", 200), ("limit=999999999999", 200)]
)
def test_a_page_has_fifty_or_what_is_asked_up_to_two_hundred(
    auditor: Agent, query: str, count: int
) -> None:
    add(250)
    assert len(auditor.get(f"audit?{query}").json()["events"]) == count


@pytest.mark.feature("E31")
def test_a_page_that_is_exactly_full_is_the_last(auditor: Agent) -> None:
    add(40, tool_name="buy")
    assert auditor.get("audit?tool=buy&limit=40").json()["next"] is None
    assert auditor.get("audit?tool=buy&limit=39").json()["next"] is not None


@pytest.mark.feature("E31")
@pytest.mark.parametrize(
    "cursor",
    ["1", "abc", "%20", "====", "ä", "A" * 21, "A" * 23, "A" * 4000, "-" * 300, "A" * 21 + "B",
     "%2F" + "A" * 21, "A" * 22 + "%3D%3D"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["audit", "invocations", "approvals"])
def test_a_cursor_that_was_not_given_out_is_400(auditor: Agent, path: str, cursor: str) -> None:
    answer = auditor.get(f"{path}?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.feature("E31")
@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "²", "٣", "000000000000"])
@pytest.mark.parametrize("path", ["audit", "invocations", "approvals"])
def test_a_limit_that_is_no_number_from_one_is_400(auditor: Agent, path: str, limit: str) -> None:
    answer = auditor.get(f"{path}?limit={limit}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_limit")


@pytest.mark.feature("E31")
def test_a_cursor_does_not_show_what_it_holds(auditor: Agent) -> None:
    add(3)
    cursor = auditor.get("audit?limit=1").json()["next"]
    assert str(Event.objects.newest_first()[0].pk) not in cursor
    assert cursor.replace("-", "").replace("_", "").isalnum()
