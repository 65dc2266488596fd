"""An export holds every sealed event as it was written, and proves it against a signed root."""

import base64
import json
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from pytest import MonkeyPatch
from pytest_django import Settings

from audit import checkpoints, export, ledger, notes, sealing
from audit.checkpoints import Statement
from audit.events import EventName
from audit.export import CSV, FORMATS, JSONL, OCSF, Extent, Format, Selection, reading
from audit.merkle import Frontier, leaf_hash, subtrees
from audit.models import Checkpoint, Event, Leaf
from audit.records import digest_of, stored
from audit.redaction import Redactor
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.ledgers import FIRST_MOMENT, make_events

pytestmark = pytest.mark.django_db
EVERYTHING = Selection()


def exported(form: Format = JSONL, selection: Selection = EVERYTHING) -> list[str]:
    """What somebody is given who asks for an export now."""
    extent = export.begin(form, selection, by="ann", source="test")
    return list(export.lines(form, selection, extent))


def events_in(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def written(line: str) -> str:
    """The canonical text of the event that a line holds: what its digest was taken over."""
    return line.rstrip("\n").partition(',"leaf_index":')[0] + "}"


class LineMissing(Exception):
    """A line does not begin where the one before it ends."""


def rebuilt(lines: Iterable[str]) -> Iterator[Frontier]:
    """The tree after each line, built from nothing but what the lines say."""
    tree = Frontier()
    for line in lines:
        event = json.loads(line)
        proof = event.get("proof", {})
        if proof.get("from", tree.size) != tree.size:
            raise LineMissing
        if "from" in proof:
            _append(tree, event["leaf_index"], proof["roots"])
        if event["leaf_index"] != tree.size:
            raise LineMissing
        tree.append(leaf_hash(bytes.fromhex(digest_of(written(line)))))
        if "size" in proof:
            _append(tree, proof["size"], proof["rest"])
        yield tree


def _append(tree: Frontier, end: int, roots: list[str]) -> None:
    for (level, _), root in zip(subtrees(tree.size, end), roots, strict=True):
        tree.append_subtree(level, base64.b64decode(root))


def is_proven(lines: list[str]) -> bool:
    """Whether the lines lead to the root that the last of them says was signed."""
    *_, tree = rebuilt(lines)
    note = json.loads(lines[-1])["proof"]["checkpoint"]
    signed = Statement.from_text(notes.read(note, checkpoints.announced()).text)
    return (signed.size, signed.root) == (tree.size, tree.root())


def leads_anywhere(lines: list[str]) -> bool:
    try:
        return is_proven(lines)
    except LineMissing:
        return False


# What is in it.


@pytest.mark.feature("U5")
def test_each_line_holds_an_event_exactly_as_it_was_written() -> None:
    made = make_events(30, lambda number: {"error": 'a "quoted"\nline ☃', "result": [1e22, 0.1]})
    lines = exported()
    digests = dict(Event.objects.values_list("pk", "digest"))
    assert [str(event.pk) for event in made] == [line["id"] for line in events_in(lines)][:30]
    assert len(lines) == len(digests)
    for line in lines:
        assert digest_of(written(line)) in digests.values()


@pytest.mark.feature("U5")
def test_lines_have_the_members_of_the_api_and_a_place_in_the_tree() -> None:
    make_events(3)
    first, *_ = events_in(exported())
    assert set(first) == {
        "id", "tool_name", "actor", "status", "arguments", "result", "error", "started_at",
        "ended_at", "metadata", "event", "reason", "invocation_id", "approval_id", "session_id",
        "request_id", "source", "key_prefix", "leaf_index", "digest",
    }  # fmt: skip
    assert first["arguments"] == {"amount": 0, "to": "Ann"} and first["leaf_index"] == 0


@pytest.mark.feature("U5")
def test_more_than_ten_thousand_events_are_exported_in_order_and_proven() -> None:
    make_events(10_500)
    lines = exported()
    assert [line["leaf_index"] for line in events_in(lines)] == list(range(len(lines)))
    assert len(lines) > 10_500 and is_proven(lines)


@pytest.mark.feature("U2", "U5")
def test_lines_are_in_the_order_of_leaves_in_whatever_order_rows_are_read(
    monkeypatch: MonkeyPatch,
) -> None:
    make_events(30)
    monkeypatch.setattr(
        reading, "stored", lambda *given, **more: reversed([*stored(*given, **more)])
    )
    lines = exported()
    assert [line["leaf_index"] for line in events_in(lines)] == list(range(len(lines)))
    assert is_proven(lines)


@pytest.mark.feature("U5", "U3")
def test_an_export_is_in_the_ledger_before_it_is_anywhere_else() -> None:
    make_events(2)
    selection = Selection(since=FIRST_MOMENT, after=0)
    extent = export.begin(CSV, selection, by="ann", source="admin", request_id="r-9")
    event = Event.objects.get(event=EventName.LEDGER_EXPORTED)
    assert (event.actor, event.source, event.request_id) == ("ann", "admin", "r-9")
    assert event.metadata == {
        "format": "csv", "since": "2026-01-01T00:00:00.000000Z", "until": None, "after": 0,
        "follows": False,
    }  # fmt: skip
    assert Leaf.objects.get(event_id=event.pk).index < extent.size
    lines = events_in(export.lines(JSONL, EVERYTHING, extent))
    assert str(event.pk) in {line["id"] for line in lines}


@pytest.mark.feature("U5", "U1")
def test_an_export_that_cannot_be_recorded_does_not_happen(monkeypatch: MonkeyPatch) -> None:
    make_events(2)

    def fails(rows: Any) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(ledger, "_insert", fails)
    with pytest.raises(DatabaseError):
        exported()
    assert not Leaf.objects.exists()


def test_events_that_are_not_sealed_yet_are_not_exported() -> None:
    make_events(3)
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    late = make_events(2)
    sealing.seal()
    ids = {line["id"] for line in events_in(export.lines(JSONL, EVERYTHING, extent))}
    assert len(ids) == extent.size and not ids & {str(event.pk) for event in late}


@pytest.mark.feature("U1", "U5")
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_no_format_shows_what_was_redacted(form: Format) -> None:
    secret = "hunter2-planted"
    given = {"password": secret, "note": f"it is {secret}"}
    ledger.record(
        EventName.INVOCATION_FINISHED, arguments=given, result=[secret], error=f"bad {secret}",
        metadata={"caller": {"token": secret}}, redactor=Redactor.over(given),
    )  # fmt: skip
    text = "".join(exported(form))
    assert secret not in text and text.count("[REDACTED]") >= 4


# Which part of it.


@pytest.mark.feature("U5")
def test_since_is_included_and_until_is_not() -> None:
    make_events(20)
    since, until = (FIRST_MOMENT + timedelta(seconds=number) for number in (5, 9))
    lines = exported(selection=Selection(since=since, until=until))
    assert [line["metadata"]["number"] for line in events_in(lines)] == [5, 6, 7, 8]
    assert is_proven(lines)


@pytest.mark.feature("U5")
@pytest.mark.parametrize("after", [0, 6, 7, 255, 256, 299])
def test_an_export_goes_on_after_any_leaf_and_is_proven(after: int) -> None:
    make_events(300)
    lines = exported(selection=Selection(after=after))
    assert json.loads(lines[0])["leaf_index"] == after + 1
    assert json.loads(lines[0])["proof"]["from"] == 0
    assert is_proven(lines)


def test_an_export_after_the_last_leaf_is_empty() -> None:
    make_events(3)
    assert exported(selection=Selection(after=10**6)) == []


# What proves it.


@pytest.mark.feature("U2", "U5")
def test_events_that_were_pruned_leave_a_gap_that_is_proven() -> None:
    made = make_events(40)
    sealing.seal()
    gone = [0, 1, 7, 8, 9, 10, 11, 12, 30, 39]
    with the_ledger_open():
        for number in gone:
            run_sql("DELETE FROM audit_event WHERE id = %s", _id(made[number]))
    lines = exported()
    shown = [line["leaf_index"] for line in events_in(lines)]
    assert set(range(40)) - set(shown) == set(gone) and is_proven(lines)


@pytest.mark.feature("U2", "U5")
def test_events_that_go_while_they_are_exported_are_a_gap_too() -> None:
    made = make_events(3000)
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    lines = export.lines(JSONL, EVERYTHING, extent)
    seen = [next(lines)]
    with the_ledger_open():
        for event in made[2500:2600]:
            run_sql("DELETE FROM audit_event WHERE id = %s", _id(event))
    seen += lines
    assert len(seen) == extent.size - 100 and is_proven(seen)


@pytest.mark.feature("U2", "U5")
def test_each_line_leads_to_every_checkpoint_that_was_signed_on_the_way() -> None:
    for _ in range(3):
        make_events(50)
        sealing.seal()
    roots = {tree.size: tree.root() for tree in rebuilt(exported())}
    signed = [Statement.from_text(notes.unverified_text(one.note)) for one in
              Checkpoint.objects.all()]  # fmt: skip
    assert len(signed) == 4
    assert all(roots[one.size] == one.root for one in signed)


@pytest.mark.feature("U2", "U5")
@pytest.mark.parametrize("spoil", ["changed", "left out", "moved", "added"])
def test_a_line_that_was_tampered_with_leads_elsewhere(spoil: str) -> None:
    make_events(20)
    lines = exported()
    match spoil:
        case "changed":
            lines[5] = lines[5].replace('"amount":5', '"amount":6')
        case "left out":
            del lines[5]
        case "moved":
            lines[5], lines[6] = lines[6], lines[5]
        case "added":
            lines.insert(5, lines[4])
    assert not leads_anywhere(lines)


def test_where_nothing_was_ever_signed_everything_is_exported(settings: Settings) -> None:
    settings.RAMPART_CHECKPOINT_KEY = []
    make_events(5)
    lines = exported()
    assert len(lines) == 6 and not any("proof" in line for line in events_in(lines))


@pytest.mark.feature("U2", "U5")
def test_a_process_without_a_key_exports_up_to_the_newest_checkpoint(settings: Settings) -> None:
    make_events(5)
    signed = sealing.seal().checkpoint
    assert signed is not None
    settings.RAMPART_CHECKPOINT_KEY = []
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    assert extent == Extent(6, signed.note, unsigned=1)
    *_, last = events_in(list(export.lines(JSONL, EVERYTHING, extent)))
    assert last["proof"] == {"size": 6, "rest": [], "checkpoint": signed.note}


# How much it takes.


@pytest.mark.feature("U5")
def test_memory_does_not_grow_with_the_ledger() -> None:
    make_events(12_500)
    sealing.seal()
    few, many = (_peak(Extent(size)) for size in (5000, 12_500))
    assert many < 1.2 * few


@pytest.mark.feature("U5")
def test_large_events_are_not_all_in_memory_at_once() -> None:
    make_events(24, lambda number: {"result": "x" * 2**20})
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    assert _peak(extent) < 12 * 2**20


@pytest.mark.feature("U5")
@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_between_two_lines() -> None:
    make_events(10)
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    lines = export.lines(JSONL, EVERYTHING, extent)
    next(lines)
    assert connection.get_autocommit() and not connection.in_atomic_block
    if connection.vendor == "postgresql":
        assert connection.connection.info.transaction_status.name == "IDLE"
    assert len(list(lines)) == extent.size - 1


def _peak(extent: Extent) -> int:
    """Bytes that were in use at most while an export was read through."""
    tracemalloc.start()
    try:
        for _ in export.lines(JSONL, EVERYTHING, extent):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# As it grows.


@pytest.mark.feature("U5")
def test_a_stream_goes_on_where_it_is_and_bridges_what_is_not_wanted() -> None:
    make_events(5)
    sealing.seal()
    rounds: list[Callable[[], Any]] = [
        lambda: make_events(4, lambda number: {"ended_at": FIRST_MOMENT - timedelta(days=1)}),
        lambda: make_events(3),
    ]

    def pause() -> bool:
        if not rounds:
            return False
        rounds.pop(0)()
        sealing.seal()
        return True

    wanted = Selection(since=FIRST_MOMENT)
    lines = list(export.follow(JSONL, wanted, told=0, pause=pause))
    shown = [line["leaf_index"] for line in events_in(lines)]
    named = Leaf.objects.get(event_id=_key_announced()).index
    assert shown == [number for number in range(13) if not 6 <= number <= 9]
    assert named in shown
    *_, tree = rebuilt(lines)
    assert (
        tree.root()
        == Statement.from_text(
            notes.unverified_text(checkpoints.latest().note)  # type: ignore[union-attr]
        ).root
    )


def test_a_stream_of_what_was_told_begins_without_a_proof_of_it() -> None:
    make_events(5)
    sealing.seal()
    lines = list(export.follow(JSONL, Selection(after=2), told=3, pause=lambda: False))
    first = json.loads(lines[0])
    assert first["leaf_index"] == 3 and "proof" not in first


# As others read it.


@pytest.mark.feature("U5")
@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not on this machine")
def test_jq_reads_every_line_and_finds_the_line_of_json_in_that_of_ocsf(tmp_path: Path) -> None:
    make_events(50, lambda number: {"error": "a\tb\n\u2028 ☃", "result": {"é": [None, 1e-7]}})
    extent = export.begin(JSONL, EVERYTHING, by="ann", source="test")
    for form in (JSONL, OCSF):
        lines = export.lines(form, EVERYTHING, extent)
        (tmp_path / form.name).write_text("".join(lines))
    plain, under = _jq(".", tmp_path / "jsonl"), _jq(".unmapped", tmp_path / "ocsf")
    assert plain == under and len(plain) == extent.size
    errors = _jq("select(.error) | .error", tmp_path / "jsonl")
    assert {json.loads(line) for line in errors} == {"a\tb\n\u2028 ☃"}


def _jq(program: str, file: Path) -> list[str]:
    command = ["jq", "--compact-output", "--sort-keys", program, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.removesuffix("\n").split("\n")


def _id(event: Event) -> Any:
    return event.pk if connection.vendor == "postgresql" else event.pk.hex


def _key_announced() -> Any:
    return Event.objects.get(event=EventName.CHECKPOINT_KEY_ANNOUNCED).pk
