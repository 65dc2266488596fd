"""Every committed event gets one place in the tree, whatever happens meanwhile."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from pytest import MonkeyPatch
from pytest_django import Settings

from audit import ledger, sealing
from audit.events import EventName
from audit.models import Checkpoint, Event, Leaf, Node, Tree, Unsealed, local_now, new_id
from audit.sealing import seal
from tests.audit.conftest import run_sql
from tests.audit.whole_tree import assert_all_is_sealed_once, tell, tell_many

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2")]


@pytest.fixture
def small_batches(monkeypatch: MonkeyPatch) -> None:
    """Seven events a batch."""
    monkeypatch.setattr(sealing, "BATCH", {connection.vendor: 7})
    monkeypatch.setattr(sealing, "BREATH", {connection.vendor: 0.0})


@pytest.fixture
def no_key(settings: Settings) -> None:
    """Nobody signs."""
    settings.RAMPART_CHECKPOINT_KEY = []


# What it does.


def test_events_are_sealed_in_the_order_of_their_ids() -> None:
    told = tell(5)
    sealed = seal()
    assert (sealed.events, sealed.size) == (6, 6), "and the line that announces the key"
    assert assert_all_is_sealed_once() == 6
    in_order = Leaf.objects.order_by("index").values_list("event_id", flat=True)
    assert list(in_order)[:5] == [event.pk for event in told]


def test_what_is_sealed_stays_where_it_is() -> None:
    tell(3)
    seal()
    before = list(Leaf.objects.order_by("index").values_list("event_id", "hash"))
    tell(2)
    assert seal().events == 2
    assert list(Leaf.objects.order_by("index").values_list("event_id", "hash"))[:4] == before
    assert assert_all_is_sealed_once() == 6


def test_where_nothing_is_new_nothing_is_written(django_assert_max_num_queries: Any) -> None:
    tell(2)
    seal()
    with django_assert_max_num_queries(14):
        sealed = seal()
    assert (sealed.events, sealed.checkpoint) == (0, None)
    assert Checkpoint.objects.count() == 1


def test_a_backlog_is_sealed_batch_by_batch(small_batches: None) -> None:
    tell_many(50)
    assert seal().events == 51
    assert assert_all_is_sealed_once() == 51


def test_a_backlog_that_ends_with_a_batch_is_sealed_whole(
    small_batches: None, no_key: None
) -> None:
    tell_many(14)
    assert seal().events == 14
    assert assert_all_is_sealed_once() == 14


def test_complete_subtrees_are_kept_whatever_the_batches(monkeypatch: MonkeyPatch) -> None:
    for batch, count in ((100, 250), (3, 20), (500, 600)):
        monkeypatch.setattr(sealing, "BATCH", {connection.vendor: batch})
        monkeypatch.setattr(sealing, "BREATH", {connection.vendor: 0.0})
        tell_many(count)
        seal()
    assert assert_all_is_sealed_once() == 871
    assert sorted(Node.objects.values_list("level", "index")) == [(8, 0), (8, 1), (8, 2)]


def test_an_empty_ledger_without_a_key_has_an_empty_tree(no_key: None) -> None:
    assert (seal().size, Checkpoint.objects.count()) == (0, 0)
    assert assert_all_is_sealed_once() == 0


def test_each_ledger_has_a_name_of_its_own() -> None:
    first = sealing.the_tree().origin
    Tree.objects.all().delete()
    assert sealing.the_tree().origin != first == str(first)


# Clocks, and transactions that take their time.


def told_with_id(event_id: UUID) -> Event:
    return ledger.record(EventName.TOOL_SYNCED, event_id=event_id, actor="somebody")


def test_events_of_a_clock_that_went_back_are_sealed_behind_the_others() -> None:
    earlier = [new_id() for _ in range(3)]
    tell(4)
    seal()
    for event_id in earlier:
        told_with_id(event_id)
    assert seal().events == 3
    assert assert_all_is_sealed_once() == 8
    places = dict(Leaf.objects.values_list("event_id", "index"))
    assert [places[event_id] for event_id in earlier] == [5, 6, 7]


def test_the_first_and_the_last_id_of_all_are_sealed_too() -> None:
    told_with_id(UUID(int=2**128 - 1))
    told_with_id(UUID(int=1))
    seal()
    assert assert_all_is_sealed_once() == 3


# Signing.


def test_a_checkpoint_is_due_after_so_many_events(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MOST_UNSIGNED", 3)
    tell()
    assert seal(sign_now=False).checkpoint, "the first"
    tell(2)
    assert seal(sign_now=False).checkpoint is None
    tell(1)
    made = seal(sign_now=False).checkpoint
    assert made and made.size == 5


@pytest.mark.parametrize("hours", [1, -1], ids=["later", "the clock went back"])
def test_a_checkpoint_is_due_after_so_long(monkeypatch: MonkeyPatch, hours: int) -> None:
    tell()
    seal()
    tell()
    assert seal(sign_now=False).checkpoint is None
    moment = local_now() + timedelta(hours=hours)
    monkeypatch.setattr(sealing, "local_now", lambda: moment)
    assert seal(sign_now=False).checkpoint
    assert seal(sign_now=False).checkpoint is None, "there is nothing new to say"


def test_a_tree_smaller_than_what_was_signed_is_not_signed() -> None:
    tell(3)
    seal()
    Checkpoint.objects.create(size=100, note="of more than there is")
    tell()
    assert seal().checkpoint is None


def test_without_a_key_the_ledger_is_sealed_and_nothing_is_signed(no_key: None) -> None:
    tell(3)
    assert seal().checkpoint is None
    assert assert_all_is_sealed_once() == 3


# What somebody with a database prompt can leave behind.


def test_an_entry_without_an_event_is_in_nobodys_way(small_batches: None) -> None:
    orphans = [new_id() for _ in range(20)]
    Unsealed.objects.bulk_create(Unsealed(event_id=pk) for pk in orphans)
    tell(10)
    assert seal().events == 11
    assert set(Unsealed.objects.values_list("pk", flat=True)) == set(orphans)
    Unsealed.objects.all().delete()
    assert assert_all_is_sealed_once() == 11


def test_an_event_that_is_sealed_is_not_sealed_again() -> None:
    (event,) = tell()
    seal()
    Unsealed.objects.create(event_id=event.pk)
    tell()
    assert seal().events == 1
    Unsealed.objects.all().delete()
    assert assert_all_is_sealed_once() == 3


@pytest.mark.parametrize("digest", ["", "nonsense", "00 11", "AB" * 32, "0" * 63])
def test_an_event_without_a_digest_is_in_nobodys_way(digest: str) -> None:
    now = local_now()
    forged = Event(event=EventName.TOOL_SYNCED, digest=digest, started_at=now, ended_at=now)
    forged.save()
    Unsealed.objects.create(event_id=forged.pk)
    tell()
    assert seal().events == 2
    assert not Leaf.objects.filter(event_id=forged.pk).exists()


def test_the_database_lets_no_event_have_two_places() -> None:
    (event,) = tell()
    seal()
    with pytest.raises(IntegrityError), transaction.atomic():
        Leaf.objects.create(index=99, event_id=event.pk, hash=bytes(32))


# A full disk.


@pytest.mark.django_db(transaction=True)
def test_on_a_full_disk_nothing_is_lost_and_nothing_half_done() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the test below is for PostgreSQL")
    tell(3)
    seal()
    tell_many(3000)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
    refusals = sum(_is_full_with(pages + spare) for spare in range(40))
    assert refusals > 30
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA max_page_count = {2**30}")
    seal()
    assert assert_all_is_sealed_once() == 3004


def _is_full_with(pages: int) -> bool:
    """Seal as far as it goes in so many pages, and see that what is there is whole."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    try:
        seal()
        is_full = False
    except OperationalError as error:
        is_full = "full" in str(error)
    sealed = Leaf.objects.count()
    assert sealed + Unsealed.objects.count() == Event.objects.count() == 3004
    assert sealed == Tree.objects.get().size
    return is_full


DISK_FULL = """
CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END
$$
"""


@pytest.mark.postgres
def test_where_postgresql_says_that_its_disk_is_full_nothing_is_half_done() -> None:
    """Said by a trigger, in the very words: a test can't fill the disk of its machine."""
    tell(3)
    seal()
    tell_many(300)
    run_sql(DISK_FULL)
    run_sql(
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit_node FOR EACH ROW"
        " EXECUTE FUNCTION disk_is_full()"
    )
    with pytest.raises(OperationalError, match="No space left"):
        seal()
    assert (Leaf.objects.count(), Tree.objects.get().size) == (4, 4)
    assert Unsealed.objects.count() == 300
    run_sql("DROP TRIGGER full_disk ON audit_node")
    seal()
    assert assert_all_is_sealed_once() == 304
