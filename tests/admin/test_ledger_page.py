"""The ledger in the admin: its list, the page of one event, and taking a copy away."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.client import closing_iterator_wrapper
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import ledger, sealing
from audit.desk import export_pages
from audit.desk.changes import changes_told
from audit.desk.paging import ROWS
from audit.events import EventName
from audit.finding import SLACK
from audit.models import Event, Leaf, Unsealed, first_id_at, new_id
from tests.admin.conftest import browser
from tests.admin.test_queue import looked_at
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.ledgers import make_events
from tests.conftest import Agent, held, person
from tools import catalogue
from tools.models import Tool

pytestmark = [pytest.mark.django_db, pytest.mark.feature("V5")]

LIST = "/admin/audit/event/"
EXPORT = "/admin/audit/event/export/"
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def auditor(db: None) -> User:
    """A person who reads the ledger and takes copies of it."""
    return person("auditor", "view_event", "export_event")


def at(moment: datetime) -> dict[str, Any]:
    """The columns of an event of this time, its id made a little earlier."""
    lowest = first_id_at(moment - timedelta(milliseconds=20)).int
    return {
        "id": UUID(int=lowest | (new_id().int & (1 << 76) - 1) | 7 << 76),
        "started_at": moment,
        "ended_at": moment,
    }


def event(moment: datetime = NOON, **columns: Any) -> Event:
    """One event that waits to be sealed; made past the slot, so that it can be of any time."""
    made = Event(**{"event": EventName.INVOCATION_FINISHED, "metadata": {}} | at(moment) | columns)
    made.digest = made.computed_digest()
    made.save()
    Unsealed.objects.create(event_id=made.pk)
    return made


def page_of(made: Event) -> str:
    return reverse("admin:audit_event_change", args=[made.pk])


def listed(client: Client, query: str = "") -> list[UUID]:
    """The events of a page, in its order."""
    answer = client.get(f"{LIST}{query}")
    assert answer.status_code == 200, answer.content
    return events_of(answer)


def events_of(answer: Any) -> list[UUID]:
    return [UUID(one) for one in re.findall(r"event/([0-9a-f-]{36})/change", told(answer))]


def told(answer: Any) -> str:
    return str(answer.content.decode())


def words(answer: Any) -> str:
    """What stands between the tags, blanks in one piece."""
    return " ".join(re.sub(r"<[^>]+>", " ", told(answer)).split())


# The list.


def test_the_list_has_the_newest_first_and_says_what_happened(
    agent: Agent, trace: Path, auditor: User
) -> None:
    approval = held(agent, trace)
    client = browser(auditor)
    newest_first = list(Event.objects.order_by("-id").values_list("pk", flat=True)[:ROWS])
    answer = client.get(LIST)
    assert listed(client) == newest_first
    (row,) = re.findall(r"<tr>\s*<th scope=\"row\".*?invocation:held.*?</tr>", told(answer), re.S)
    row = row[row.rindex("<tr>") :]
    for part in ("invocation:held", "agent", "guarded_trace", "requires_approval",
                 "approval_required", str(approval.invocation_id)):  # fmt: skip
        assert part in row


FILTERS = {
    "event": ("event", EventName.STOP_ENGAGED, "stop:engaged"),
    "actor": ("actor", "rare-bot", "rare-bot"),
    "tool": ("tool_name", "rare_tool", "rare_tool"),
    "status": ("status", "denied", "denied"),
    "request_id": ("request_id", "r-of-its-own", "r-of-its-own"),
    "invocation": ("invocation_id", UUID(int=7), str(UUID(int=7))),
}


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_shows_just_what_is_like_that(name: str, auditor: User) -> None:
    column, value, asked = FILTERS[name]
    rare = event(**{column: value})
    event(NOON + timedelta(hours=1), actor="another")
    client = browser(auditor)
    assert listed(client, f"?{name}={asked}") == [rare.pk]
    assert listed(client, f"?{name}={asked}&tool=nothing") == []
    assert f'value="{asked}"' in told(client.get(f"{LIST}?{name}={asked}"))


def test_a_span_of_time_has_its_first_moment_and_not_its_last(auditor: User) -> None:
    made = [event(NOON + timedelta(minutes=number)) for number in range(4)]
    client = browser(auditor)
    between = "?since=2026-03-01T12:01:00&until=2026-03-01T12:03:00"
    assert listed(client, between) == [made[2].pk, made[1].pk]
    assert listed(client, "?since=2026-03-01T13:03:00%2B01:00")[-1] == made[3].pk
    assert 'value="2026-03-01T12:03:00"' in told(
        client.get(f"{LIST}?since=2026-03-01T13:03:00%2B01:00")
    )


def test_an_id_that_is_older_than_its_event_hides_nothing(auditor: User) -> None:
    early = at(NOON - SLACK + timedelta(minutes=1))["id"]
    late = at(NOON + SLACK - timedelta(minutes=1))["id"]
    both = {event(id=early).pk, event(id=late).pk}
    found = listed(browser(auditor), "?since=2026-03-01T12:00:00&until=2026-03-01T12:00:01")
    assert set(found) == both


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("since=yesterday", "since", "valid date/time"),
        ("until=0001-01-01T00:00:00%2B14:00", "until", "valid date/time"),
        ("since=9999-12-31T23:59:59-14:00", "since", "valid date/time"),
        ("since=2026-03-01&until=2026-02-01", "until", "not after"),
        ("invocation=x", "invocation", "valid UUID"),
        ("event=nothing:happened", "event", "valid choice"),
        (f"actor={'a' * 201}", "actor", "at most 200"),
    ],
)
def test_what_is_no_filter_is_said_beside_its_field(
    query: str, field: str, said: str, auditor: User
) -> None:
    event()
    answer = browser(auditor).get(f"{LIST}?{query}")
    assert answer.status_code == 400
    (error,) = re.findall(rf'id="filter_{field}_error">(.*?)</ul>', told(answer), re.S)
    assert said in error
    assert "/change/" not in told(answer)


def test_going_through_the_pages_meets_every_event_once_both_ways(auditor: User) -> None:
    make_events(2 * ROWS + 7)
    client = browser(auditor)
    answer, there = followed(client, client.get(LIST), "next")
    assert list(chain(*there)) == list(Event.objects.order_by("-id").values_list("pk", flat=True))
    _, back = followed(client, answer, "prev")
    assert back[-1] == there[0]
    assert {len(shown) for shown in back[1:]} == {ROWS}
    assert set(chain(*back)) >= set(chain(*there[:-1]))


def followed(client: Client, answer: Any, which: str) -> tuple[Any, list[list[UUID]]]:
    """The last page that links of this kind lead to, and the events of all on the way."""
    shown = [events_of(answer)]
    while found := re.findall(rf'rel="{which}" href="\?([^"]+)"', told(answer)):
        answer = client.get(f"{LIST}?{found[0]}")
        shown.append(events_of(answer))
    return answer, shown


def test_an_event_that_comes_shifts_no_page(auditor: User) -> None:
    make_events(ROWS + 20)
    client = browser(auditor)
    older = re.findall(r'rel="next" href="(\?[^"]+)"', told(client.get(LIST)))[0]
    before = listed(client, older)
    make_events(3)
    assert listed(client, older) == before


@pytest.mark.parametrize("cursor", ["older=x", "newer=x", "older=%27"])
def test_a_place_that_was_not_given_out_is_refused(cursor: str, auditor: User) -> None:
    assert browser(auditor).get(f"{LIST}?{cursor}").status_code == 400


@pytest.mark.feature("V1")
def test_the_list_counts_nothing_and_asks_no_more_for_many(auditor: User) -> None:
    def asked() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            client.get(LIST)
        return [one["sql"] for one in queries.captured_queries]

    client = browser(auditor)
    make_events(3)
    few = asked()
    make_events(3 * ROWS)
    many = asked()
    assert len(many) == len(few) <= 9
    assert not [sql for sql in many if "COUNT(" in sql.upper()]
    assert not [sql for sql in many if '"audit_event"."arguments"' in sql]


@pytest.mark.postgres
@pytest.mark.feature("H3")
def test_every_filter_and_every_page_is_read_by_an_index(auditor: User) -> None:
    many = [
        Event(actor=f"agent-{number % 7}", event=EventName.TOOL_SYNCED, digest="0" * 64,
              metadata={}, **at(NOON + timedelta(seconds=20 * number)))
        for number in range(3000)
    ]  # fmt: skip
    deep = Event.objects.bulk_create(many)[700]
    for number, (column, value, _) in enumerate(FILTERS.values()):
        event(NOON + timedelta(hours=8, seconds=number), **{"actor": "other", column: value})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    queries = [f"?{name}={asked}" for name, (_, _, asked) in FILTERS.items()]
    queries += [
        "", f"?older={deep.pk}", f"?newer={deep.pk}",
        "?since=2026-03-02T04:30:00", "?until=2026-03-01T12:00:30",
        f"?actor=agent-1&older={deep.pk}",
    ]  # fmt: skip
    client = browser(auditor)
    for query in queries:
        with CaptureQueriesContext(connection) as done:
            listed(client, query)
        for one in done.captured_queries:
            assert looked_at(one["sql"]) <= 400, query


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("event__exact=stop:engaged", "event=stop%3Aengaged"),
        ("status__exact=denied&p=3", "status=denied"),
        ("e=1", ""),
        ("q=rare_tool", "tool=rare_tool"),
        ("q=r-of-its-own", "request_id=r-of-its-own"),
        (f"q={UUID(int=7)}", f"invocation={UUID(int=7)}"),
        ("q=somebody", "actor=somebody"),
    ],
)
def test_an_address_of_earlier_leads_to_its_like(old: str, new: str, auditor: User) -> None:
    event(tool_name="rare_tool", request_id="r-of-its-own", invocation_id=UUID(int=7))
    answer = browser(auditor).get(f"{LIST}?{old}")
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?{new}" if new else LIST)


def test_nothing_found_and_nothing_there_are_told_apart(auditor: User) -> None:
    client = Client()
    client.force_login(auditor)
    assert "No event is like that" in words(client.get(f"{LIST}?actor=nobody"))
    with the_ledger_open():
        run_sql("DELETE FROM audit_unsealed")
        run_sql("DELETE FROM audit_event")
    assert "The ledger is empty" in words(client.get(LIST))


@pytest.mark.feature("T21")
def test_a_strangers_text_stays_text(auditor: User) -> None:
    made = event(actor="\u202e<script>alert(1)</script>", tool_name="\u0440aypal")
    for answer in (browser(auditor).get(LIST), browser(auditor).get(page_of(made))):
        assert "<script>alert" not in told(answer)
        assert "U+202E" in told(answer) and "CYRILLIC" in told(answer)


# Nobody reaches in.


def test_even_a_superuser_only_looks(superuser: User) -> None:
    made, client = event(), browser(superuser)
    ids = {"action": "delete_selected", "_selected_action": [str(made.pk)], "post": "yes"}
    before = list(Event.objects.values_list("pk", "digest"))
    base = page_of(made).removesuffix("change/")
    for page in (f"{LIST}add/", f"{base}delete/", f"{base}history/"):
        assert client.get(page).status_code == 403, page
    for page in (LIST, f"{LIST}add/", page_of(made), f"{base}delete/", f"{base}history/"):
        assert client.post(page, ids | {"actor": "mallory"}).status_code == 403, page
        assert client.delete(page).status_code in (403, 405), page
    assert [pair for pair in Event.objects.values_list("pk", "digest") if pair in before] == before


def test_strangers_see_nothing_of_it(stranger: User) -> None:
    made = event()
    for page in (LIST, page_of(made), EXPORT, f"{LIST}verification/", f"{LIST}checkpoint/"):
        assert browser(stranger).get(page).status_code == 403, page
        assert browser().get(page).status_code == 302, page


def test_an_event_that_is_not_there_is_not_found(auditor: User) -> None:
    for one in ("nonsense", UUID(int=1)):
        assert browser(auditor).get(f"{LIST}{one}/change/").status_code == 404


# The page of one event.


def test_the_page_of_an_event_leads_to_all_that_it_is_about(
    agent: Agent, trace: Path, superuser: User
) -> None:
    approval = held(agent, trace, text="hello")
    line = Event.objects.get(event=EventName.INVOCATION_HELD)
    answer = browser(superuser).get(page_of(line))
    for row in (approval, approval.invocation):
        address = reverse(f"admin:approvals_{row._meta.model_name}_change", args=[row.pk])
        assert f'href="{address}"' in told(answer)
    for part in ("hello", line.digest, str(line.pk), line.request_id, "guarded_trace"):
        assert part in told(answer)


def test_the_other_lines_of_a_request_and_of_a_call_are_beside_it(auditor: User) -> None:
    first = event(request_id="r-1", invocation_id=UUID(int=7))
    same_request = event(NOON + timedelta(seconds=1), request_id="r-1")
    same_call = event(NOON + timedelta(seconds=2), request_id="r-2", invocation_id=UUID(int=7))
    other = event(NOON + timedelta(seconds=3), request_id="r-3", invocation_id=UUID(int=8))
    answer = browser(auditor).get(page_of(first))
    _, of_request, of_call = re.split("Of the same (?:request|call)", told(answer))
    assert page_of(same_request) in of_request and page_of(same_call) not in of_request
    assert page_of(same_call) in of_call and page_of(same_request) not in of_call
    assert page_of(other) not in told(answer)
    assert f'{LIST}?request_id=r-1"' in told(answer)


def change(before: Any, after: Any) -> list[tuple[str, str]]:
    metadata = {"before": before, "after": after}
    return [(one.name, one.verb) for one in changes_told(metadata)]


@pytest.mark.feature("U8")
@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("b", "changed")]),
        ({"a": 1}, {"a": 1, "b": None}, [("b", "added")]),
        ({"a": None}, {}, [("a", "removed")]),
        ({"a": None}, {"a": 0}, [("a", "changed")]),
        ({"a": 1}, {"a": True}, [("a", "changed")]),
        (None, {"a": 1}, [("a", "added")]),
        ({"a": 1}, None, [("a", "removed")]),
        ({"deep": {"x": 1, "y": 2}}, {"deep": {"x": 1, "y": 3}}, [("deep › y", "changed")]),
        ({"list": [1, 2]}, {"list": [2, 1]}, [("list", "changed")]),
        ("off", "on", [("value", "changed")]),
        ({"a": 1}, {"a": 1}, []),
    ],
)
def test_only_what_differs_is_a_change(before: Any, after: Any, shown: list[Any]) -> None:
    assert change(before, after) == shown


@pytest.mark.feature("U8")
def test_the_page_shows_what_was_before_and_what_is_after(agent: Agent, auditor: User) -> None:
    tool = Tool.objects.get(name="echo")
    catalogue.set_limits(tool, max_running=3, priority=0, by="test")
    catalogue.set_limits(tool, max_running=5, priority=0, by="test")
    line = Event.objects.filter(event=EventName.TOOL_LIMITED).order_by("id").last()
    assert line is not None
    page = told(browser(auditor).get(page_of(line)))
    table = page.split('<table class="changes">')[1].split("</section>")[0]
    shown = " ".join(re.sub(r"<[^>]+>", " ", table).split())
    assert "max_running changed before 3 after 5" in shown
    assert "priority" not in shown


@pytest.mark.feature("U8", "U4")
def test_a_change_is_shown_as_redacted_as_it_was_written(auditor: User) -> None:
    said = {"before": {"token": "tok-before"}, "after": {"token": "tok-after", "name": "x"}}
    line = ledger.record(EventName.ADMIN_EDITED, actor="ann", metadata=said)
    page = told(browser(auditor).get(page_of(line)))
    assert "tok-" not in page
    assert "name" in page


def altered(line: Event) -> None:
    run_sql("UPDATE audit_event SET actor = 'mallory' WHERE id = %s", stored_id(line.pk))


def altered_with_its_digest(line: Event) -> None:
    line.actor = "mallory"
    run_sql(
        "UPDATE audit_event SET actor = 'mallory', digest = %s WHERE id = %s",
        line.computed_digest(), stored_id(line.pk),
    )  # fmt: skip


def without_a_place(line: Event) -> None:
    run_sql("DELETE FROM audit_leaf WHERE event_id = %s", stored_id(line.pk))


def stored_id(one: UUID) -> UUID | str:
    return one if connection.vendor == "postgresql" else one.hex


def test_the_page_says_how_an_event_is_secured(auditor: User) -> None:
    client = browser(auditor)
    made = event()
    assert "waits for its place" in words(client.get(page_of(made)))
    sealing.seal()
    page = words(client.get(page_of(made)))
    leaf = Leaf.objects.get(event_id=made.pk)
    assert f"leaf {leaf.index}" in page and "covered by a signed checkpoint" in page
    assert "rampart/" in page and f"prove_audit --event {made.pk}" in page


@pytest.mark.feature("U2")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (altered, "do not match its digest"),
        (altered_with_its_digest, "not the one that was sealed"),
        (without_a_place, "did not come by"),
    ],
)
def test_the_page_says_what_is_wrong_with_an_event(
    how: Callable[[Event], None], said: str, auditor: User
) -> None:
    made = event(actor="ann")
    sealing.seal()
    with the_ledger_open():
        how(made)
    page = words(browser(auditor).get(page_of(made)))
    assert said in page
    assert "covered by a signed checkpoint" not in page


def test_an_event_that_cant_be_read_is_told_and_not_a_crash(auditor: User) -> None:
    made = event()
    with the_ledger_open():
        run_sql("UPDATE audit_event SET metadata = 'nonsense' WHERE id = %s", stored_id(made.pk))
    answer = browser(auditor).get(page_of(made))
    assert answer.status_code == 500
    assert "past the ledger" in words(answer)
    assert made.pk in listed(browser(auditor)), "the list needs none of that"


# Exports.


@pytest.fixture
def places() -> Iterator[None]:
    """What a test leaves on its way would keep the next one waiting."""
    yield
    free = 0
    while export_pages._places.acquire(blocking=False):
        free += 1
    for _ in range(free):
        export_pages._places.release()
    assert free == export_pages.AT_ONCE


def body(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def go_away(answer: Any) -> None:
    """Close the answer as the server does, and leave the test's connection open."""
    list(closing_iterator_wrapper([], answer.close))


@pytest.mark.feature("U5")
def test_an_export_is_downloaded_and_written_down_first(auditor: User, places: None) -> None:
    made = make_events(120)
    answer = browser(auditor).post(EXPORT, {"format": "jsonl"})
    line = Event.objects.get(event=EventName.LEDGER_EXPORTED)
    assert (line.actor, line.source, line.metadata["format"]) == ("auditor", "admin", "jsonl")
    assert answer["Content-Disposition"] == 'attachment; filename="ledger.jsonl"'
    lines = [json.loads(one) for one in body(answer).splitlines()]
    assert {str(one.pk) for one in made} < {one["id"] for one in lines}
    assert str(line.pk) in {one["id"] for one in lines}, "the copy tells of itself"
    assert [one["leaf_index"] for one in lines] == list(range(len(lines)))
    assert lines[-1]["proof"]["size"] == len(lines)


@pytest.mark.feature("U5")
def test_other_formats_are_there_too(auditor: User, places: None) -> None:
    make_events(3)
    table = body(browser(auditor).post(EXPORT, {"format": "csv"}))
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["tool_name"] for row in rows].count("pay") == 3
    ocsf = body(browser(auditor).post(EXPORT, {"format": "ocsf"})).splitlines()
    assert json.loads(ocsf[0])["metadata"]["product"]


def test_an_export_has_the_span_of_the_page(auditor: User, places: None) -> None:
    made = [event(NOON + timedelta(minutes=number)) for number in range(4)]
    span = {"since": "2026-03-01T12:01:00", "until": "2026-03-01T12:03:00"}
    client = browser(auditor)
    page = client.get(EXPORT, span)
    assert "2 events of this span of time" in words(page)
    assert f'name="since" value="{span["since"]}"' in told(page)
    given = body(client.post(EXPORT, {**span, "format": "jsonl"})).splitlines()
    assert [json.loads(one)["id"] for one in given] == [str(one.pk) for one in made[1:3]]


def test_the_page_before_takes_nothing_away(auditor: User) -> None:
    client, strict = browser(auditor), browser(auditor, strict=True)
    count = Event.objects.count()
    assert client.get(EXPORT).status_code == 200
    assert client.post(EXPORT, {"format": "xml"}).status_code == 400
    assert client.post(EXPORT, {"format": "csv", "since": "soon"}).status_code == 400
    assert strict.post(EXPORT, {"format": "jsonl"}).status_code == 403
    assert Event.objects.count() == count


def test_who_only_reads_takes_nothing_away(reviewer: User) -> None:
    client = browser(reviewer)
    assert EXPORT not in told(client.get(LIST))
    assert client.get(EXPORT).status_code == 403
    assert client.post(EXPORT, {"format": "jsonl"}).status_code == 403
    assert not Event.objects.filter(event=EventName.LEDGER_EXPORTED).exists()


def test_so_many_exports_at_once_and_no_more(auditor: User, places: None) -> None:
    make_events(10)
    client, given = browser(auditor), {"format": "jsonl"}
    first, second = client.post(EXPORT, given), client.post(EXPORT, given)
    busy = client.post(EXPORT, given)
    assert (busy.status_code, busy["Retry-After"]) == (503, "30")
    assert "Not now" in words(busy)
    assert Event.objects.filter(event=EventName.LEDGER_EXPORTED).count() == 2
    go_away(first)  # Before the first byte.
    third = client.post(EXPORT, given)
    assert third.status_code == 200
    body(third)
    next(iter(second.streaming_content))
    go_away(second)


def test_an_export_that_breaks_down_gives_its_place_back(auditor: User, places: None) -> None:
    with the_ledger_open():
        run_sql("ALTER TABLE audit_leaf RENAME TO gone")
        for _ in range(export_pages.AT_ONCE + 1):
            with pytest.raises(DatabaseError, match="audit_leaf"), transaction.atomic():
                browser(auditor).post(EXPORT, {"format": "jsonl"})
        run_sql("ALTER TABLE gone RENAME TO audit_leaf")
