"""ToolRampart's defects on PostgreSQL, tried on real processes: one connection, and moments."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import requests

from tests.peers.conftest import Moved, decide, reviewer_of
from tests.stack import Answer, until

pytestmark = [pytest.mark.stack, pytest.mark.feature("T26")]

AT_ONCE = 8
BROKEN_CONSTRAINT = "duplicate key value violates unique constraint"
HALL = {"room": "hall", "begin": "2026-03-29T03:30:00+02:00"}


@pytest.fixture(scope="module")
def key(moved: Moved) -> str:
    """An agent's key."""
    return moved.stack.new_key("secretary")


@pytest.fixture(scope="module")
def person(moved: Moved) -> requests.Session:
    """A person who may decide."""
    return reviewer_of(moved.stack)


def book(moved: Moved, key: str, prefer: str = "", **body: Any) -> Answer:
    """Book a small room, for which nobody has to be asked."""
    call = {"arguments": {"room": "small", "begin": "2026-01-02T03:04:05Z"}, **body}
    headers = {"Prefer": prefer} if prefer else {}
    return moved.stack.post("tools/book/invoke", call, key, **headers)


def many(moved: Moved, key: str, prefer: str = "", **body: Any) -> list[int]:
    """The same call so often at once; the codes."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        calls = [threads.submit(book, moved, key, prefer, **body) for _ in range(AT_ONCE)]
        return [call.result().status_code for call in calls]


def test_races_for_a_unique_value_leave_every_connection_usable(moved: Moved, key: str) -> None:
    """Raced until PostgreSQL itself says that the constraint was broken."""
    rounds = iter(range(10_000))

    def raced() -> bool:
        codes = many(moved, key, "respond-async", idempotency_key=f"race-{next(rounds)}")
        assert set(codes) <= {202, 200, 409}, codes
        return BROKEN_CONSTRAINT in moved.postgres.log.read_text()

    until(raced, 60)
    for _ in range(4):
        assert many(moved, key, "respond-async") == [202] * AT_ONCE
    assert book(moved, key).json()["status"] == "success"


def test_connections_that_were_ended_are_opened_again_by_whoever_needs_them(
    moved: Moved, key: str
) -> None:
    many(moved, key)
    with psycopg.connect(moved.database_url, autocommit=True) as operator:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        rows = operator.execute(
            f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        ).fetchall()
        ended = [pid for pid, _ in rows]
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY(%s))"
        until(lambda: operator.execute(gone, [ended]).fetchone() == (True,))
    assert len(ended) > 1
    assert set(many(moved, key)) <= {200, 202}
    until(lambda: not _pending(moved, key), 30, lambda: moved.stack.log("worker"))


def _pending(moved: Moved, key: str) -> list[Any]:
    """The calls that have not ended yet."""
    answer = moved.stack.get("invocations?status=pending", key)
    rows: list[Any] = answer.json()["invocations"]
    return rows


def test_a_moment_among_the_arguments_is_held_shown_run_and_redeemed(
    moved: Moved, key: str, person: requests.Session
) -> None:
    stack = moved.stack
    held = stack.invoke("book", key, **HALL)
    assert (held.status_code, held.json()["message"]) == (202, "room matched 'hall'")
    approval_id = held.json()["approval_id"]
    for reader in (
        stack.get(f"approvals/{approval_id}", key),
        person.get(f"{stack.base_url}/api/v1/approvals/{approval_id}", timeout=30),
    ):
        assert reader.json()["arguments"] == {**HALL, "end": None}
    page = person.get(f"{stack.base_url}/admin/approvals/approval/{approval_id}/change/")
    assert HALL["begin"] in page.text

    decide(stack, person, approval_id)
    body = {"arguments": HALL, "approval_id": approval_id}
    for _ in range(2):
        ran = stack.post("tools/book/invoke", body, key)
        assert (ran.status_code, ran.json()["data"]) == (200, {**HALL, "kind": "datetime"})
    events = stack.get(f"audit?invocation={held.json()['invocation_id']}", key).json()["events"]
    results = [event["result"] for event in events if event["event"] == "invocation:finished"]
    assert results == [{**HALL, "kind": "datetime"}]


def test_a_moment_under_an_idempotency_key_is_the_same_call_again(moved: Moved, key: str) -> None:
    answers = [book(moved, key, idempotency_key="standup").json() for _ in range(2)]
    assert [answer["replayed"] for answer in answers] == [False, True]
    assert answers[0]["data"] == answers[1]["data"]
    assert answers[0]["data"]["begin"] == "2026-01-02T03:04:05Z"


def test_what_is_no_moment_is_named_by_its_path(moved: Moved, key: str) -> None:
    answer = moved.stack.invoke("book", key, room="hall", begin="tomorrow")
    assert answer.status_code == 422
    assert [fault["path"] for fault in answer.json()["fields"]] == ["begin"]
