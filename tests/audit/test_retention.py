"""Events and checkpoints whose time is over: what goes, what stays, and that all stays provable."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest import FixtureRequest, MonkeyPatch
from pytest_django import Settings

from audit import checkpoints, holds, ledger, merkle, prunings, retention, sealing
from audit.checkpoints import Statement
from audit.events import KEPT_FOR_EVER, EventName
from audit.models import Checkpoint, Door, Event, Leaf, LegalHold, Unsealed
from audit.notes import unverified_text
from audit.proofs import inclusion_path
from audit.prunings import NoKey
from audit.retention import Checkpoints, Events
from audit.verification import verify
from tests import servers
from tests.audit.ageing import CUTOFF, DAY, NOW, SEEDS, a_key, events_at, old, taken, there
from tests.audit.conftest import the_ledger_open
from tests.conftest import at_once
from tests.console import ROOT
from tests.past import id_at
from tests.stack import Stack, until

__all__ = ["a_key"]
pytestmark = pytest.mark.usefixtures("a_key")


def told() -> list[Any]:
    """What the ledger says of prunings."""
    lines = Event.objects.filter(event=EventName.LEDGER_PRUNED).order_by("id")
    return [line.metadata for line in lines]


def is_in_order() -> bool:
    """Sealed and verified."""
    sealing.seal()
    return verify().finding is None


# What goes.


@pytest.mark.feature("U3", "K2", "T24")
@pytest.mark.django_db
def test_old_events_go_and_the_ledger_verifies_before_and_after() -> None:
    going, staying = old(5), events_at(CUTOFF + DAY, 3)
    assert is_in_order()
    leaves = Leaf.objects.count()
    assert taken(Events()) == 5
    assert there().isdisjoint(event.pk for event in going)
    assert there().issuperset(event.pk for event in staying)
    assert Leaf.objects.count() == leaves and not Door.objects.exists()
    assert is_in_order() and verify().pruned == 5


@pytest.mark.feature("U3", "T24")
@pytest.mark.django_db
def test_a_signed_line_says_which_leaves_have_no_event_any_more() -> None:
    first, _, last = old(), events_at(CUTOFF + DAY), old(2)
    sealing.seal()
    gone = sorted(Leaf.objects.filter(event_id__in=[one.pk for one in first + last])
                  .values_list("index", flat=True))  # fmt: skip
    taken(Events())
    (line,) = told()
    origin, known = sealing.the_tree().origin, checkpoints.announced()
    assert prunings.pruned_leaves(origin, line, known) == prunings.runs(gone) == line["leaves"]
    assert line["count"] == 3 and line["before"] == f"{CUTOFF:%Y-%m-%dT%H:%M:%S.%fZ}"


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_what_stays_is_proven_by_the_checkpoint_from_before() -> None:
    old(4)
    (kept,) = events_at(CUTOFF + DAY)
    sealing.seal()
    before = Checkpoint.objects.latest()
    taken(Events())
    leaf = Leaf.objects.get(event_id=kept.pk)
    statement = Statement.from_text(unverified_text(before.note))
    path = inclusion_path(leaf.index, statement.size)
    hashed = merkle.leaf_hash(bytes.fromhex(kept.digest))
    merkle.check_inclusion(hashed, leaf.index, statement.size, path, statement.root)


@pytest.mark.feature("U3", "K2")
@pytest.mark.django_db
@pytest.mark.parametrize("name", KEPT_FOR_EVER)
def test_what_proves_the_rest_is_kept_for_ever(name: EventName) -> None:
    (kept,) = old(event=name)
    sealing.seal()
    assert (Events().due(CUTOFF), taken(Events())) == (0, 0)
    assert kept.pk in there()


@pytest.mark.feature("K2")
@pytest.mark.django_db
def test_an_event_goes_only_if_it_was_made_and_ended_long_ago() -> None:
    moment = CUTOFF - DAY
    ended_lately = events_at(moment, ended_at=NOW)
    made_lately = events_at(moment, id=id_at(NOW))
    sealing.seal()
    assert Events().due(CUTOFF) == taken(Events()) == 0
    assert there().issuperset(event.pk for event in ended_lately + made_lately)


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_an_event_that_is_not_sealed_stays_until_it_is() -> None:
    old(3)
    assert taken(Events()) == 0
    sealing.seal()
    assert taken(Events()) == 3


@pytest.mark.feature("K2")
@pytest.mark.django_db
def test_events_of_a_call_that_is_not_over_stay(monkeypatch: MonkeyPatch) -> None:
    open_call, closed = uuid4(), uuid4()
    asked: list[set[UUID]] = []

    def still_open(calls: Any) -> set[UUID]:
        asked.append(set(calls))
        return {open_call} & set(calls)

    monkeypatch.setattr(retention, "still_open", [still_open])
    kept = old(3, invocation_id=open_call)
    old(2, invocation_id=closed), old(2, invocation_id=None)
    sealing.seal()
    assert Events().due(CUTOFF) == taken(Events()) == 4
    assert there().issuperset(event.pk for event in kept)
    assert {open_call, closed} in asked and None not in set().union(*asked)


@pytest.mark.feature("K2")
@pytest.mark.django_db
def test_what_stays_is_looked_at_once_in_a_run(monkeypatch: MonkeyPatch) -> None:
    open_call = uuid4()
    monkeypatch.setattr(retention, "still_open", [lambda calls: {open_call} & set(calls)])
    events_at(CUTOFF - 2 * DAY, 40, invocation_id=open_call)
    old(10)
    sealing.seal()
    events, looks = Events(), []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert events.take(CUTOFF, 5) == 5
        looks.append(sum(query["sql"].startswith('SELECT "audit_event"') for query in seen))
    assert looks == [9, 1]


@pytest.mark.feature("K2")
@pytest.mark.django_db
def test_the_next_run_begins_at_the_beginning(monkeypatch: MonkeyPatch) -> None:
    """What was open then may be over now."""
    open_call = uuid4()
    monkeypatch.setattr(retention, "still_open", [lambda calls: {open_call} & set(calls)])
    events_at(CUTOFF - 2 * DAY, 2, invocation_id=open_call)
    old(2)
    sealing.seal()
    events = Events()
    assert taken(events) == 2
    monkeypatch.setattr(retention, "still_open", [])
    assert taken(events) == 2


@pytest.mark.feature("K2")
@pytest.mark.django_db
def test_a_run_goes_in_batches_of_the_size_that_was_asked_for() -> None:
    old(7)
    sealing.seal()
    events = Events()
    assert [events.take(CUTOFF, 3) for _ in range(5)] == [3, 3, 1, 0, 0]
    assert [line["count"] for line in told()] == [3, 3, 1]


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_a_batch_that_cannot_be_told_of_takes_nothing(monkeypatch: MonkeyPatch) -> None:
    old(3)
    sealing.seal()
    before = there()
    monkeypatch.setattr(ledger, "record", lambda *args, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Events().take(CUTOFF, 10)
    assert there() == before and not Door.objects.exists()


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_without_a_key_nothing_goes(settings: Settings) -> None:
    old(3)
    sealing.seal()
    settings.RAMPART_CHECKPOINT_KEY = []
    before = there()
    for kind in (Events(), Checkpoints()):
        with pytest.raises(NoKey):
            kind.take(CUTOFF, 10)
    assert there() == before


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_what_somebody_left_in_the_door_does_not_go_along() -> None:
    """It would be gone, and no line would say so."""
    (left,) = events_at(CUTOFF + DAY)
    old()
    sealing.seal()
    Door.objects.create(row_id=left.pk)
    assert taken(Events()) == 1
    assert left.pk in there() and not Door.objects.exists()


@pytest.mark.feature("E35", "K2")
@pytest.mark.django_db
def test_the_dry_run_counts_what_the_real_run_takes(monkeypatch: MonkeyPatch) -> None:
    open_call = uuid4()
    monkeypatch.setattr(retention, "still_open", [lambda calls: {open_call} & set(calls)])
    old(11), old(2, invocation_id=open_call), old(3, actor="ben")
    old(2, event=EventName.LEDGER_PRUNED), events_at(CUTOFF + DAY, 4)
    holds.place(LegalHold(reason="case 7", actor="ben"), by="root")
    sealing.seal()
    old(5)  # These are sealed when the real run begins.
    (slipped_in,) = old()
    Unsealed.objects.filter(pk=slipped_in.pk).delete()  # As by a database prompt.
    foreseen, before = Events().due(CUTOFF), there()
    assert there() == before
    sealing.seal()
    assert taken(Events(), 4) == foreseen == 16


# Checkpoints.


def signed_at(moment: datetime, *seeds: bytes, settings: Settings) -> Checkpoint:
    """A checkpoint over one more event, signed then and with these keys."""
    settings.RAMPART_CHECKPOINT_KEY = list(seeds)
    events_at(NOW)
    made = sealing.seal().checkpoint
    assert made is not None
    with the_ledger_open():
        Checkpoint.objects.filter(pk=made.pk).update(signed_at=moment)
    return made


@pytest.mark.feature("U3", "E35")
@pytest.mark.django_db
def test_of_old_checkpoints_the_days_last_stay_and_those_that_vouch_for_a_key(
    settings: Settings,
) -> None:
    midnight = CUTOFF.replace(hour=0, minute=0, second=0, microsecond=0) - 9 * DAY
    one, other = SEEDS[:2]
    plan = [
        (0, 1, [one], "the first of all"), (0, 2, [one], ""), (0, 3, [one], "its day's last"),
        (1, 1, [one], ""), (1, 2, [other, one], "a new key"), (1, 3, [other, one], ""),
        (1, 4, [other, one], "its day's last"), (2, 1, [other], "an old key is gone"),
        (2, 2, [other], ""), (2, 23, [other], "its day's last"), (3, 1, [other], "its day's last"),
    ]  # fmt: skip
    made = [
        (signed_at(midnight + day * DAY + timedelta(hours=hour), *keys, settings=settings), why)
        for day, hour, keys, why in plan
    ]
    made.append((signed_at(CUTOFF + DAY, other, settings=settings), "young"))
    made.append((signed_at(CUTOFF + DAY, other, settings=settings), "the newest"))
    assert is_in_order()
    due = Checkpoints().due(CUTOFF)
    assert taken(Checkpoints(), 2) == due == sum(not why for _, why in made)
    staying = set(Checkpoint.objects.values_list("pk", flat=True))
    assert staying.issuperset(row.pk for row, why in made if why)
    assert taken(Checkpoints()) == 0
    assert is_in_order()


@pytest.mark.feature("U3")
@pytest.mark.django_db
def test_the_newest_checkpoint_stays_however_old_it_is(settings: Settings) -> None:
    *_, newest = [signed_at(CUTOFF - DAY, SEEDS[0], settings=settings) for _ in range(4)]
    assert Checkpoints().due(CUTOFF) == taken(Checkpoints()) == 1
    assert Checkpoint.objects.latest() == newest


# At once.


@pytest.mark.feature("K2", "U3")
@pytest.mark.django_db(transaction=True)
def test_two_prunings_at_once_take_each_event_once() -> None:
    old(60)
    sealing.seal()
    counts = at_once(2, lambda number: taken(Events(), 7))
    assert sum(counts) == 60
    leaves = sorted(itertools.chain.from_iterable(
        range(first, last + 1) for line in told() for first, last in line["leaves"]
    ))  # fmt: skip
    assert len(leaves) == len(set(leaves)) == 60
    assert is_in_order()


@pytest.mark.feature("U3", "K2")
@pytest.mark.django_db(transaction=True)
def test_after_a_hold_is_placed_nothing_goes_that_it_names(monkeypatch: MonkeyPatch) -> None:
    """It is placed while a batch is under way that has chosen such events: it waits for that."""
    old(20)
    sealing.seal()
    in_a_batch, placing, placed = threading.Event(), threading.Event(), threading.Event()
    signed = prunings.signed
    seen: list[int] = []

    def slowly(*args: Any) -> str:
        in_a_batch.set()
        assert placing.wait(30)
        placed.wait(0.5)  # In vain: the batch has not been committed.
        return signed(*args)

    def act(number: int) -> None:
        if number == 0:
            events = Events()
            assert events.take(CUTOFF, 5) == 5
            assert placed.wait(30)
            assert events.take(CUTOFF, 5) == 0
        else:
            assert in_a_batch.wait(30)
            placing.set()
            holds.place(LegalHold(reason="case 7", actor="ann"), by="root")
            seen.append(Event.objects.filter(actor="ann").count())
            placed.set()

    monkeypatch.setattr(prunings, "signed", slowly)
    at_once(2, act)
    assert seen == [15] == [Event.objects.filter(actor="ann").count()]
    assert is_in_order()


@pytest.mark.feature("U3")
@pytest.mark.django_db(transaction=True)
def test_pruning_and_sealing_at_once_do_each_other_no_harm() -> None:
    old(40)
    sealing.seal()

    def act(number: int) -> int:
        if number == 0:
            return taken(Events(), 5)
        for _ in range(10):
            events_at(NOW, 3)
            sealing.seal()
        return 0

    assert sum(at_once(3, act)) == 40
    assert is_in_order()
    sealed = set(Leaf.objects.values_list("event_id", flat=True))
    assert there() <= sealed and len(sealed) - len(there()) == 40


# Killed.


@contextmanager
def a_deployment(folder: Path, **settings: str) -> Iterator[Stack]:
    """Its tables, its tools, and a thousand sealed events; nothing runs."""
    stack = Stack(folder, **settings)
    try:
        stack.prepare()
        stack.python(
            "from audit import sealing; from tests.audit.ledgers import make_events\n"
            "make_events(1000); sealing.seal()"
        )
        yield stack
    finally:
        stack.end()


@pytest.fixture(params=["sqlite", "postgresql"])
def deployment(request: FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """One on each kind of database."""
    if request.param == "sqlite":
        with a_deployment(tmp_path) as stack:
            yield stack
    else:
        with (
            servers.postgres(durable=False) as (_, url),
            a_deployment(tmp_path, DATABASE_URL=url) as stack,
        ):
            yield stack


FIGURES = """
import json
from audit.models import *
told = Event.objects.filter(event='ledger:pruned')
gone = Leaf.objects.exclude(event_id__in=Event.objects.values('pk')).count()
print(json.dumps({'gone': gone, 'told': sum(line.metadata['count'] for line in told),
                  'door': Door.objects.count(),
                  'made': Event.objects.filter(tool_name='pay').count()}))
"""


def figures(stack: Stack) -> dict[str, int]:
    found: dict[str, int] = json.loads(stack.python(FIGURES))
    return found


def prune(stack: Stack) -> subprocess.Popen[bytes]:
    """A process that prunes everything, in small batches."""
    command = [sys.executable, "manage.py", "prune", "--older-than", "0d", "--batch-size", "10"]
    return subprocess.Popen(
        command, cwd=ROOT, env=stack.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.stack
@pytest.mark.feature("U3", "K2")
def test_a_pruning_that_is_killed_has_told_of_all_that_is_gone(deployment: Stack) -> None:
    left = figures(deployment)["made"]
    for _ in range(2):
        process = prune(deployment)
        until(lambda: process.poll() is not None or figures(deployment)["made"] < left, 60)
        kill(process)
        now = figures(deployment)
        assert now["gone"] == now["told"] and now["door"] == 0
        left = now["made"]
        deployment.manage("verify_audit")
    deployment.manage("prune", "--older-than", "0d")
    now = figures(deployment)
    assert now["made"] == 0 and now["gone"] == now["told"] >= 1000
    deployment.manage("verify_audit")


@pytest.mark.stack
@pytest.mark.feature("U3", "K2")
def test_a_pruning_that_is_killed_inside_a_batch_has_done_nothing_of_it(tmp_path: Path) -> None:
    """It waits for a table that somebody holds: before the events go, or when they are gone."""
    with (
        servers.postgres(durable=False) as (_, url),
        a_deployment(tmp_path, DATABASE_URL=url) as stack,
        closing(psycopg.connect(url)) as holder,
        closing(psycopg.connect(url, autocommit=True)) as watcher,
    ):
        before = figures(stack)
        for table in ("audit_door", "audit_unsealed"):
            holder.execute(f"LOCK TABLE {table} IN SHARE MODE")
            process = prune(stack)
            until(lambda: watcher.execute(WAITING).fetchone() == (1,), 60)
            kill(process)
            holder.rollback()
            until(lambda: watcher.execute(AT_WORK).fetchone() == (0,), 30)
            assert figures(stack) == before
        stack.manage("verify_audit")


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
AT_WORK = (
    "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'"
    " AND pid <> pg_backend_pid() AND datname = current_database()"
)
