"""Sealers that meet, transactions that come late, processes and servers that are killed."""

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from django.db import connection, transaction
from pytest import MonkeyPatch

from audit import checkpoints, ledger, sealing
from audit.events import EventName
from audit.models import Event, Leaf, Tree, Unsealed, new_id
from audit.sealing import SomebodyElseSeals, hold_tree, seal, the_tree
from tests import servers
from tests.audit.whole_tree import assert_all_is_sealed_once, tell, tell_many
from tests.conftest import at_once
from tests.stack import Stack, until

pytestmark = [pytest.mark.feature("U2")]


# In one process, each thread with a connection of its own.


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_with_an_early_id_is_sealed_once() -> None:
    """On SQLite nobody else can write meanwhile, so nothing comes late."""
    early, told, may_commit = new_id(), threading.Event(), threading.Event()

    def take_long() -> None:
        with transaction.atomic():
            ledger.record(EventName.TOOL_SYNCED, event_id=early, actor="slow")
            told.set()
            assert may_commit.wait(30)

    def meanwhile() -> None:
        assert told.wait(30)
        tell(5)
        seal()
        assert not Leaf.objects.filter(event_id=early).exists()
        may_commit.set()

    at_once(2, lambda number: (take_long, meanwhile)[number]())
    assert Leaf.objects.filter(event_id__gt=early).count() == 6
    assert seal().events == 1
    assert Leaf.objects.get(event_id=early).index == 6
    assert assert_all_is_sealed_once() == 7


@pytest.mark.django_db(transaction=True)
def test_sealers_that_meet_seal_each_event_once_while_others_write() -> None:
    tell_many(300)

    def act(number: int) -> None:
        if number >= 6:
            tell(20)
        with suppress(SomebodyElseSeals):
            seal(wait=number % 2 == 0)

    at_once(8, act)
    seal()
    assert len(checkpoints.announced()) == 1
    assert assert_all_is_sealed_once() == 341


@pytest.mark.django_db(transaction=True)
def test_sealers_that_begin_to_use_a_key_at_once_announce_it_once(monkeypatch: MonkeyPatch) -> None:
    the_tree()
    announce, all_have_looked = sealing._announce_new_keys, threading.Barrier(4)

    def announce_together(wait: bool) -> None:
        all_have_looked.wait(30)
        announce(wait)

    monkeypatch.setattr(sealing, "_announce_new_keys", announce_together)
    at_once(4, lambda _: seal())
    assert len(checkpoints.announced()) == 1
    assert assert_all_is_sealed_once() == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_who_does_not_want_to_wait_for_another_sealer_does_not() -> None:
    tell()
    the_tree()
    holds, is_done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            hold_tree()
            holds.set()
            assert is_done.wait(30)

    def pass_by() -> None:
        assert holds.wait(30)
        try:
            with pytest.raises(SomebodyElseSeals):
                seal(wait=False)
            tell()
        finally:
            is_done.set()

    at_once(2, lambda number: (hold, pass_by)[number]())
    seal()
    assert assert_all_is_sealed_once() == 3


@pytest.mark.django_db(transaction=True)
def test_a_seal_that_is_rolled_back_leaves_everything_as_it_was() -> None:
    tell(3)
    with pytest.raises(RuntimeError), transaction.atomic():
        seal()
        raise RuntimeError
    assert (Leaf.objects.count(), Unsealed.objects.count()) == (0, 3)
    seal()
    assert assert_all_is_sealed_once() == 4


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_no_caller_waits_for_a_sealer() -> None:
    """Whoever writes an event needs no lock that sealing holds."""
    tell()
    the_tree()

    def write() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        tell(3)

    with transaction.atomic():
        hold_tree()
        Unsealed.objects.select_for_update().count()
        Tree.objects.update(size=0)
        at_once(1, lambda _: write())
    assert Event.objects.count() == 4


# Processes.

FILL = "from tests.audit.whole_tree import tell_many; tell_many({})"
LOOK = "from tests.audit.whole_tree import assert_all_is_sealed_once as all; print(all())"
HOW_FAR = "from audit.models import Tree; print(sum(Tree.objects.values_list('size', flat=True)))"
HANGS = "SELECT 1 FROM pg_locks WHERE relation = 'audit_node'::regclass AND NOT granted"
DIE = """
import os, signal
from django.db import connection
from audit import sealing
sealing.BATCH, sealing.BREATH = ({{connection.vendor: 7}}, {{connection.vendor: 0}})
left = [{}]
def die(execute, *arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(*arguments)
with connection.execute_wrapper(die):
    sealing.seal()
"""
"""Ends the process before its n-th statement; a few events a batch, so that there are several."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledger_of_its_own(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A deployment of which no process runs, but those that a test starts."""
    with tempfile.TemporaryDirectory(prefix="rampart-seal-") as folder:
        if request.param == "sqlite":
            yield from _prepared(Stack(Path(folder)))
            return
        with servers.postgres() as (_, url):
            yield from _prepared(Stack(Path(folder), DATABASE_URL=url))


def _prepared(stack: Stack) -> Iterator[Stack]:
    stack.commands["sealer"] = [*stack.commands["web"][:2], "seal_audit"]
    stack.commands["other"] = stack.commands["sealer"]
    try:
        stack.prepare()
        yield stack
    finally:
        stack.end()


def test_a_sealer_that_is_killed_before_any_of_its_statements_loses_nothing(
    ledger_of_its_own: Stack,
) -> None:
    stack = ledger_of_its_own
    ends = []
    for statement in range(1, 100):
        stack.python(FILL.format(20))
        done = stack.console.manage("shell", "--verbosity", "0", "--command", DIE.format(statement))
        ends.append(done.returncode)
        if done.returncode == 0:
            break
    assert set(ends[:-1]) == {-signal.SIGKILL} and ends[-1] == 0, done.stderr
    assert len(ends) > 20
    stack.manage("seal_audit")
    assert int(stack.python(LOOK)) > 20 * len(ends)


def test_sealers_that_are_killed_at_work_leave_a_whole_tree(ledger_of_its_own: Stack) -> None:
    """SIGKILL to real processes, two at a time, once they have begun."""
    stack = ledger_of_its_own
    for _ in range(2):
        stack.python(FILL.format(3000))
        before = int(stack.python(HOW_FAR))
        stack.launch("sealer")
        stack.launch("other")
        until(lambda: int(stack.python(HOW_FAR)) > before, 60, lambda: stack.log("sealer"))
        stack.kill("sealer")
        stack.kill("other")
    stack.manage("seal_audit")
    assert int(stack.python(LOOK)) > 6000


@pytest.mark.postgres
def test_a_database_that_is_killed_while_it_seals_has_a_whole_tree() -> None:
    with servers.postgres() as (server, url), tempfile.TemporaryDirectory() as folder:
        for stack in _prepared(Stack(Path(folder), DATABASE_URL=url)):
            stack.python(FILL.format(300))
            with closing(psycopg.connect(url)) as in_its_way:
                in_its_way.execute("LOCK TABLE audit_node IN SHARE MODE")
                stack.launch("sealer")
                until(lambda: in_its_way.execute(HANGS).fetchone(), 60, lambda: stack.log("sealer"))
                server.crash()
            assert stack.processes["sealer"].wait(60) == 1, stack.log("sealer")
            assert "the database:" in stack.log("sealer")
            server.start()
            assert int(stack.python(HOW_FAR)) == 0
            stack.manage("seal_audit")
            assert int(stack.python(LOOK)) > 300
