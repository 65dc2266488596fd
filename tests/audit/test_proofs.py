"""Proofs by the API, checked as somebody would who has nothing of ours but the RFC."""

import base64
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest import MonkeyPatch
from pytest_django import Settings

from audit import checkpoints, notes, proofs, sealing
from audit.checkpoints import Statement
from audit.merkle import BadProof, check_consistency, check_inclusion, leaf_hash
from audit.models import Event, Leaf, Tree
from audit.sealing import seal
from tests.admin.test_queue import looked_at
from tests.audit import naive
from tests.audit.conftest import run_sql
from tests.audit.whole_tree import assert_all_is_sealed_once, tell, tell_many
from tests.conftest import Agent, MakeAgent, as_person

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2")]


@pytest.fixture
def auditor(make_agent: MakeAgent) -> Agent:
    """A key that reads everything."""
    return make_agent("auditor", scopes=("audit.read_all",))


def stated(note: str) -> Statement:
    """What the note says, if a key that the ledger has announced signed it."""
    return Statement.from_text(notes.read(note, checkpoints.announced()).text)


def unpacked(hashes: list[str]) -> list[bytes]:
    return [base64.b64decode(one) for one in hashes]


def check(proof: dict[str, Any]) -> None:
    """Check the proof of an event with nothing but what it says and the announced keys."""
    signed = stated(proof["checkpoint"])
    leaf = leaf_hash(bytes.fromhex(proof["digest"]))
    assert [base64.b64encode(one).decode() for one in (leaf, signed.root)] == [
        proof["leaf_hash"], proof["root"],
    ]  # fmt: skip
    assert proof["tree_size"] == signed.size
    path = unpacked(proof["path"])
    check_inclusion(leaf, proof["leaf_index"], signed.size, path, signed.root)


# From the stored tree.


def test_stored_proofs_are_the_defined_ones_at_any_size(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", {connection.vendor: 190})
    tell_many(800)
    seal()
    assert_all_is_sealed_once()
    leaves = [bytes(one) for one in Leaf.objects.order_by("index").values_list("hash", flat=True)]
    for size in (1, 2, 255, 256, 257, 511, 700, 801):
        assert proofs.frontier_at(size).root() == naive.root(leaves[:size])
        for index in {0, size // 3, size - 1}:
            assert proofs.inclusion_path(index, size) == naive.path(index, leaves[:size])
        for old in {1, size // 2 or 1, size}:
            assert proofs.consistency_path(old, size) == naive.proof(old, leaves[:size])


def test_a_proof_reads_few_rows_however_large_the_tree() -> None:
    tell_many(1500)
    seal()
    with CaptureQueriesContext(connection) as done:
        event_id = Leaf.objects.get(index=700).event_id
        proofs.inclusion(event_id)
    assert len(done) < 25


def test_a_tree_that_lacks_a_leaf_gives_no_proof() -> None:
    with pytest.raises(proofs.TreeIsIncomplete):
        proofs.covering_hashes(0, 4)


# GET /audit/checkpoint


def test_the_newest_checkpoint_is_handed_out_as_it_was_signed(auditor: Agent) -> None:
    seal()
    tell()
    made = seal().checkpoint
    answer = auditor.get("audit/checkpoint")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert made and answer.content.decode() == made.note
    assert stated(made.note).size == Leaf.objects.count()


def test_before_the_first_checkpoint_there_is_none(auditor: Agent) -> None:
    (event, *_) = tell()
    for path in ("checkpoint", f"{event.pk}/proof", "consistency?from=1"):
        answer = auditor.get(f"audit/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_checkpoint"), path


# GET /audit/{id}/proof


def test_each_sealed_event_is_proven(auditor: Agent) -> None:
    tell(9)
    seal()
    for event in Event.objects.all():
        answer = auditor.get(f"audit/{event.pk}/proof").json()
        assert answer["event_id"] == str(event.pk)
        check(answer)


def test_a_proof_is_of_this_event_alone(auditor: Agent) -> None:
    first, second = tell(2)
    seal()
    proof, other = (auditor.get(f"audit/{event.pk}/proof").json() for event in (first, second))
    with pytest.raises(AssertionError):
        check(proof | {"digest": second.digest})
    forged = proof | {"digest": second.digest, "leaf_hash": other["leaf_hash"]}
    with pytest.raises(BadProof):
        check(forged)


def test_an_event_that_is_not_sealed_or_not_signed_yet_is_asked_for_again(
    auditor: Agent, settings: Settings
) -> None:
    tell()
    seal()
    (event,) = tell()
    keys, settings.RAMPART_CHECKPOINT_KEY = settings.RAMPART_CHECKPOINT_KEY, []
    for act in (lambda: None, seal):
        act()
        answer = auditor.get(f"audit/{event.pk}/proof")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
        assert answer["Retry-After"] == "10"
    settings.RAMPART_CHECKPOINT_KEY = keys
    tell()
    seal()
    check(auditor.get(f"audit/{event.pk}/proof").json())


def test_what_nobody_has_told_has_no_proof(auditor: Agent) -> None:
    seal()
    answer = auditor.get(f"audit/{uuid4()}/proof")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert auditor.get("audit/12/proof").status_code == 404


def test_an_event_that_is_gone_is_proven_to_who_reads_all(
    auditor: Agent, make_agent: MakeAgent
) -> None:
    """Only the leaf is left of it, as after retention."""
    own = make_agent("ann", scopes=("audit.read",))
    seal()
    gone = uuid4()
    Leaf.objects.create(index=Leaf.objects.count(), event_id=gone, hash=leaf_hash(bytes(32)))
    frontier = proofs.frontier_at(Leaf.objects.count())
    Tree.objects.update(size=frontier.size, frontier=frontier.to_bytes())
    tell()
    seal()
    proof = auditor.get(f"audit/{gone}/proof").json()
    assert proof["digest"] is None
    check(proof | {"digest": "00" * 32})
    assert own.get(f"audit/{gone}/proof").status_code == 404


# GET /audit/consistency


def test_a_checkpoint_that_was_kept_is_the_beginning_of_each_later_one(auditor: Agent) -> None:
    kept = []
    for count in (1, 3, 4, 7):
        tell(count)
        seal()
        kept.append(stated(auditor.get("audit/checkpoint").content.decode()))
    for older in kept:
        answer = auditor.get(f"audit/consistency?from={older.size}").json()
        newer = stated(answer["checkpoint"])
        assert (answer["from"], answer["to"]) == (older.size, newer.size)
        check_consistency(older.size, newer.size, older.root, newer.root, unpacked(answer["path"]))
    older, newer = kept[1:3]
    answer = auditor.get(f"audit/consistency?from={older.size}&to={newer.size}").json()
    check_consistency(older.size, newer.size, older.root, newer.root, unpacked(answer["path"]))


@pytest.mark.parametrize(
    "query",
    ["", "?to=2", "?from=", "?from=0", "?from=-1", "?from=x", "?from=²", "?from=3&to=2",
     "?from=1&to=99", "?from=99", "?from=1&to=", f"?from={'9' * 30}", "?from=1.0"],
)  # fmt: skip
def test_sizes_that_no_checkpoint_covers_are_400(auditor: Agent, query: str) -> None:
    tell(2)
    seal()
    answer = auditor.get(f"audit/consistency{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")


# Who.


def test_a_key_proves_its_own_events_and_no_others(make_agent: MakeAgent) -> None:
    ann = make_agent("ann", scopes=("audit.read", "kit.*"))
    ann.invoke("echo", value=1)
    make_agent("ben").invoke("echo", value=2)
    seal()
    own, others = (
        Event.objects.get(event="invocation:finished", actor=name) for name in ("ann", "ben")
    )
    check(ann.get(f"audit/{own.pk}/proof").json())
    answer = ann.get(f"audit/{others.pk}/proof")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ann.get("audit/checkpoint").status_code == 200
    assert ann.get("audit/consistency?from=1").status_code == 200


def test_who_may_not_read_the_ledger_gets_no_proof(
    agent: Agent, reviewer: User, stranger: User
) -> None:
    (event,) = tell()
    seal()
    for path in ("checkpoint", f"{event.pk}/proof", "consistency?from=1"):
        address = f"/api/v1/audit/{path}"
        for client in (agent.client, as_person(stranger)):
            answer = client.get(address)
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_denied")
        assert as_person(reviewer).get(address).status_code == 200


# GET /audit


def test_an_event_says_its_place_once_it_has_one(auditor: Agent) -> None:
    (first,) = tell()
    seal()
    (second,) = tell()
    places = {one["id"]: one["leaf_index"] for one in auditor.get("audit").json()["events"]}
    assert places[str(first.pk)] == Leaf.objects.get(event_id=first.pk).index
    assert places[str(second.pk)] is None


@pytest.mark.feature("H3", "T30")
@pytest.mark.postgres
def test_every_filter_is_read_by_an_index(auditor: Agent, agent: Agent) -> None:
    """So that a page takes as long among a million events as among thousands."""
    add_old_events()
    for query in (
        "", "tool=rare_tool", "actor=rare", "actor=nobody", "status=denied", "status=unknown",
        "event=stop:engaged", "event=key:revoked", "request_id=r-77", f"invocation={uuid4()}",
        "since=2999-01-01T00:00:00Z", "until=2001-01-01T06:00:00Z", "until=1990-01-01T00:00:00Z",
        "since=2001-01-01T01:00:00Z&until=2001-01-01T02:00:00Z",
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as done:
            assert auditor.get(f"audit?{query}").status_code == 200
        reads = [
            one["sql"] for one in done.captured_queries if '"audit_event"."digest"' in one["sql"]
        ]
        assert reads, query
        assert max(map(looked_at, reads)) <= 900, query


def add_old_events() -> None:
    """Six thousand of them, four seconds between two, on the first day of 2001."""
    run_sql(
        """
        INSERT INTO audit_event (id, event, actor, tool_name, status, reason, started_at, ended_at,
            metadata, request_id, source, key_prefix, digest)
        SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
                || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid,
            CASE WHEN n = 7 THEN 'stop:engaged' ELSE 'invocation:finished' END,
            CASE WHEN n = 8 THEN 'rare' ELSE 'agent-' || mod(n, 5) END,
            CASE WHEN n = 9 THEN 'rare_tool' ELSE 'tool_' || mod(n, 7) END,
            CASE WHEN mod(n, 1000) = 10 THEN 'denied' ELSE 'success' END, '', moment, moment, '{}',
            'r-' || n, 'rest', '', repeat('0', 64)
        FROM (SELECT n, timestamptz '2001-01-01 00:00Z' + n * interval '4 seconds' AS moment
              FROM generate_series(1, 6000) n) AS moments
        """
    )
    run_sql("ANALYZE audit_event")


@pytest.mark.feature("H3")
@pytest.mark.postgres
def test_a_list_that_is_read_often_is_planned_for_each_value_anew(auditor: Agent) -> None:
    """Else the plan for what is frequent is taken for what is rare, and reads the whole table."""
    add_old_events()
    for _ in range(12):
        auditor.get("audit?actor=agent-1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        prepared = [statement for (statement,) in cursor.fetchall()]
    assert not any('"audit_event"."digest"' in statement for statement in prepared)
    assert connection.connection.prepare_threshold == 2, "elsewhere they are prepared as before"
