"""Whatever is done to the ledger past its slot is found, and the first row is named."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from audit import ledger as slot
from audit import notes, sealing
from audit.checkpoints import Statement
from audit.events import EventName
from audit.merkle import EMPTY_ROOT
from audit.models import Checkpoint, Event, Leaf, Node, Tree, Unsealed, local_now, new_id
from audit.verification import CouldNotVerify, Finding, database, verify
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.tampering import (
    OTHER_SEED,
    SEED,
    change,
    cut_off,
    delete,
    event_at,
    many_sealed,
    note_over,
    pruned,
    rebuilt,
    rewritten,
    root_at,
    signed_over,
    signer,
    signing_with,
    swap_events,
    swap_leaves,
    told,
    told_and_sealed,
    verifier,
)

pytestmark = pytest.mark.django_db
LATER = local_now() + timedelta(days=1)
OTHERWISE: dict[str, Any] = {
    "id": new_id(), "event": "key:created", "actor": "anm", "tool_name": "paz",
    "status": "denied", "reason": "whz", "arguments": '{"amount":2}', "result": "null",
    "error": None, "started_at": LATER, "ended_at": LATER, "metadata": "{}",
    "invocation_id": uuid4(), "approval_id": None, "session_id": uuid4(), "request_id": "r-2",
    "source": "resu", "key_prefix": "rmp_abd", "digest": "0" * 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _key() -> Iterator[None]:
    with signing_with(SEED):
        yield


@pytest.fixture
def ledger() -> None:
    """Nine leaves under checkpoints over 5 and 9; the fifth leaf announces the key."""
    told_and_sealed(4)
    told_and_sealed(4)


def found() -> Finding:
    """What a verification finds."""
    finding = verify().finding
    assert finding is not None
    return finding


# All is well.


def test_an_empty_ledger_is_in_order() -> None:
    report = verify()
    assert (report.events, report.size, report.finding, report.checkpoint) == (0, 0, None, None)


@pytest.mark.feature("U2", "K5")
def test_an_honest_ledger_is_in_order(ledger: None) -> None:
    told()
    report = verify()
    assert report.finding is None
    assert (report.events, report.size, report.unsealed, report.pruned) == (10, 9, 1, 0)
    assert report.checkpoint == Checkpoint.objects.order_by("size").last().note
    assert report.signed_by == (verifier(),)


def test_a_ledger_without_a_key_is_in_order_and_unsigned() -> None:
    with signing_with():
        told_and_sealed(3)
        report = verify()
    assert (report.finding, report.checkpoint, report.size) == (None, None, 3)


def test_verifying_writes_nothing_not_even_the_trees_row() -> None:
    verify()
    assert not Tree.objects.exists()


def test_whole_batches_and_stored_nodes_are_in_order() -> None:
    many_sealed(600)
    heard: list[tuple[int, int]] = []
    assert verify(lambda seen, total: heard.append((seen, total))).finding is None
    assert heard[-1] == (601, 601) and Node.objects.count() == 2


# Events.


def test_every_column_is_changed_below() -> None:
    assert set(OTHERWISE) == {field.column for field in Event._meta.concrete_fields}


@pytest.mark.feature("U2", "T30", "K5")
@pytest.mark.parametrize("column", OTHERWISE)
def test_a_changed_column_is_found_and_its_event_named(ledger: None, column: str) -> None:
    changed = event_at(2)
    change(Event, changed, **{column: OTHERWISE[column]})
    finding = found()
    assert (finding.event_id, finding.leaf) == (str(changed), 2)


def deleted() -> None:
    delete(Event, event_at(2))


def changed_with_its_digest() -> None:
    kept = Leaf.objects.get(index=2)
    rewritten(2, actor="ben")
    change(Leaf, 2, hash=bytes(kept.hash))


def two_events_swapped() -> None:
    swap_events(2, 6)


def two_leaves_swapped() -> None:
    swap_leaves(2, 3)


FAULTS: dict[Callable[[], None], int] = {
    deleted: 2, changed_with_its_digest: 2, two_events_swapped: 2, two_leaves_swapped: 2,
}  # fmt: skip


@pytest.mark.feature("U2", "T30", "K5")
@pytest.mark.parametrize("happens", FAULTS, ids=lambda fault: fault.__name__)
def test_the_first_event_that_does_not_fit_is_named(
    ledger: None, happens: Callable[[], None]
) -> None:
    happens()
    finding = found()
    assert (finding.leaf, finding.event_id) == (FAULTS[happens], str(event_at(FAULTS[happens])))


@pytest.mark.feature("U2", "T30", "K5")
def test_an_event_that_came_past_the_slot_is_named(ledger: None) -> None:
    stranger = told()
    delete(Unsealed, stranger.pk)
    assert found().event_id == str(stranger.pk)


@pytest.mark.feature("U2", "K5")
def test_an_event_taken_away_with_its_leaf_is_missed(ledger: None) -> None:
    delete(Event, event_at(2))
    delete(Leaf, 2)
    assert found().leaf == 2 and "leaf 2 is missing" in found().fault


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize("leaf", [2, 7])
def test_an_event_rewritten_with_its_leaf_is_found_between_two_checkpoints(
    ledger: None, leaf: int
) -> None:
    rewritten(leaf, actor="ben")
    rebuilt(Leaf.objects.order_by("index"))
    finding = found()
    first, last = (0, 4) if leaf == 2 else (5, 8)
    assert finding.fault.startswith(f"leaves {first} to {last} were changed")
    assert finding.event_id == str(event_at(first))


@pytest.mark.feature("U2", "K5")
def test_an_event_rewritten_below_a_stored_node_is_found_there() -> None:
    many_sealed(600)
    rewritten(300, actor="ben")
    assert found().fault.startswith("leaves 256 to 511 were changed")
    assert "the stored node" in found().fault


@pytest.mark.feature("U2", "K5")
def test_events_that_wait_for_their_leaf_are_judged_too(ledger: None) -> None:
    waiting = told()
    change(Event, waiting.pk, actor="ben")
    assert found().event_id == str(waiting.pk) and found().leaf is None


@pytest.mark.feature("U2", "K5")
def test_an_event_taken_away_before_it_had_a_leaf_is_missed(ledger: None) -> None:
    waiting = told()
    delete(Event, waiting.pk)
    assert found().event_id == str(waiting.pk) and "is gone" in found().fault


@pytest.mark.feature("K5")
@pytest.mark.parametrize("column", ["started_at", "invocation_id", "actor"])
def test_a_sealed_event_that_cannot_even_be_read_is_named(ledger: None, column: str) -> None:
    """SQLite takes any bytes in any column."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL takes no nonsense")
    changed = event_at(2)
    with the_ledger_open():
        run_sql(f"UPDATE audit_event SET {column} = x'ff' WHERE id = %s", changed.hex)
    assert found() == Finding(str(changed), "a column of it cannot be read", 2)


@pytest.mark.feature("K5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_leaf SET hash = 'nonsense' WHERE \"index\" = 2",
        "UPDATE audit_leaf SET event_id = 'nonsense' WHERE \"index\" = 2",
        "UPDATE audit_checkpoint SET id = 'nonsense' WHERE size = 5",
        "UPDATE audit_tree SET frontier = 'nonsense'",
        "INSERT INTO audit_unsealed VALUES ('nonsense')",
        "INSERT INTO audit_node VALUES (4611686018427387904, 3, x'00')",
    ],
)
def test_nonsense_beside_the_events_is_a_finding(ledger: None, statement: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL takes no nonsense")
    with the_ledger_open():
        run_sql(statement)
    assert verify().finding is not None


# The tree.


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize("checkpoints_go_too", [False, True])
def test_a_truncated_tail_is_found(ledger: None, checkpoints_go_too: bool) -> None:
    kept = Checkpoint.objects.get(size=9)
    cut_off(3)
    if checkpoints_go_too:
        delete(Checkpoint, kept.pk)
        assert verify().finding is None, "nothing is left that knows of more"
    finding = verify(checkpoints=[kept.note]).finding
    assert finding is not None and finding.leaf == 6
    assert "cut off, or an older backup" in finding.fault
    assert "covers 9 leaves, and there are 6" in finding.fault


def a_leaf_beyond_the_tree() -> None:
    Leaf.objects.create(index=9, event_id=told().pk, hash=bytes(32))


def a_leaf_before_the_tree() -> None:
    Leaf.objects.create(index=-1, event_id=told().pk, hash=bytes(32))


def a_node_of_no_leaves() -> None:
    Node.objects.create(level=8, index=0, hash=bytes(32))


def an_entry_of_a_sealed_event() -> None:
    Unsealed.objects.create(event_id=event_at(2))


def a_row_with_other_hashes() -> None:
    Tree.objects.update(frontier=bytes(64))


def no_row() -> None:
    Tree.objects.all().delete()


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize(
    "happens",
    [a_leaf_beyond_the_tree, a_leaf_before_the_tree, a_node_of_no_leaves,
     an_entry_of_a_sealed_event, a_row_with_other_hashes, no_row],
    ids=lambda happens: happens.__name__,
)  # fmt: skip
def test_what_does_not_belong_to_the_tree_is_found(
    ledger: None, happens: Callable[[], None]
) -> None:
    happens()
    assert verify().finding is not None


@pytest.mark.feature("U2")
def test_an_event_with_two_leaves_is_found(ledger: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite can't drop the constraint")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'audit_leaf'::regclass"
            " AND contype = 'u'"
        )
        (name,) = cursor.fetchone()
    run_sql(f"ALTER TABLE audit_leaf DROP CONSTRAINT {name}")
    twice = Leaf.objects.get(index=2)
    with the_ledger_open():
        Leaf.objects.create(index=9, event_id=twice.event_id, hash=bytes(twice.hash))
        rebuilt(Leaf.objects.order_by("index"))
    assert found().event_id == str(twice.event_id) and "two leaves" in found().fault


# Checkpoints and keys.


@pytest.mark.feature("U2", "K5")
def test_a_checkpoint_signed_with_a_strangers_key_is_found(ledger: None) -> None:
    row = Checkpoint.objects.get(size=5)
    change(Checkpoint, row.pk, note=note_over(5, OTHER_SEED))
    assert "is forged" in found().fault and str(row.pk) in found().fault


@pytest.mark.feature("U2", "K5")
def test_a_checkpoint_whose_text_was_changed_is_found(ledger: None) -> None:
    row = Checkpoint.objects.get(size=5)
    text = note_over(5, SEED, root=bytes(32)).partition("\n\n")[0]
    signatures = row.note.partition("\n\n")[2]
    change(Checkpoint, row.pk, note=f"{text}\n\n{signatures}")
    assert "the signature" in found().fault and str(row.pk) in found().fault


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize("values", [{"size": 4}, {"size": 0}, {"size": -3}, {"note": "nonsense"}])
def test_a_checkpoint_with_other_columns_is_found(ledger: None, values: dict[str, Any]) -> None:
    row = Checkpoint.objects.get(size=5)
    change(Checkpoint, row.pk, **values)
    assert str(row.pk) in found().fault


@pytest.mark.feature("U2", "K5")
def test_a_key_that_changed_unannounced_is_found(ledger: None) -> None:
    told_and_sealed(1)
    newest = Checkpoint.objects.order_by("size").last()
    change(Checkpoint, newest.pk, note=note_over(newest.size, OTHER_SEED))
    with signing_with(OTHER_SEED):
        assert "its key was not announced" in found().fault


@pytest.mark.feature("U2", "K5")
def test_a_key_that_was_announced_and_vouched_for_by_nobody_is_found(ledger: None) -> None:
    with signing_with(OTHER_SEED):
        told_and_sealed(1)
    with signing_with():
        assert "no known key vouches for" in found().fault


def announced_by_hand(metadata: dict[str, Any]) -> None:
    """Somebody with a database prompt writes a line as the slot would."""
    slot.record(EventName.CHECKPOINT_KEY_ANNOUNCED, metadata=metadata)


def key_note(*seeds: bytes, of: bytes = OTHER_SEED) -> str:
    text = f"{sealing.the_tree().origin}/key\n{verifier(of)}\n"
    return notes.sign(text, [signer(seed) for seed in seeds])


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize(
    "note",
    [lambda: None, lambda: key_note(OTHER_SEED), lambda: key_note(SEED, of=SEED),
     lambda: note_over(5, SEED)],
    ids=["nobody's", "its own", "another key's", "a checkpoint"],
)  # fmt: skip
@pytest.mark.parametrize("own", [(), (SEED,)], ids=["without a key", "with a key"])
def test_to_sign_beside_a_known_key_makes_no_key_known(
    ledger: None, note: Callable[[], str | None], own: tuple[bytes, ...]
) -> None:
    """Whoever can write to the database adds their line to a checkpoint, then signs alone."""
    announced_by_hand({"key": str(verifier(OTHER_SEED)), "note": note()})
    told_and_sealed(1)
    beside = Checkpoint.objects.order_by("size").last()
    stranger = note_over(beside.size, OTHER_SEED).splitlines()[-1]
    change(Checkpoint, beside.pk, note=f"{beside.note}{stranger}\n")
    with signing_with(*own):
        assert verify().finding is None, "a known key has signed all that is there"
        told()
        with signing_with():
            sealing.seal()
        signed_over(sealing.the_tree().size, OTHER_SEED)
        assert "no known key vouches for" in found().fault


@pytest.mark.feature("U2", "K5")
def test_a_line_that_only_names_a_key_does_not_stand_in_the_way_of_its_announcement(
    ledger: None,
) -> None:
    announced_by_hand({"key": str(verifier(OTHER_SEED)), "note": key_note(OTHER_SEED)})
    with signing_with(OTHER_SEED, SEED):
        told_and_sealed(1)
    with signing_with(OTHER_SEED):
        told_and_sealed(1)
    with signing_with():
        assert verify(keys=[verifier()]).finding is None


@pytest.mark.feature("U2", "K5")
def test_a_process_that_still_has_the_old_key_is_no_fault_while_the_new_one_comes(
    ledger: None,
) -> None:
    for seeds in ((OTHER_SEED, SEED), (SEED,), (OTHER_SEED,)):
        with signing_with(*seeds):
            told_and_sealed(1)
    for key in (SEED, OTHER_SEED):
        with signing_with():
            assert verify(keys=[verifier(key)]).finding is None
    with signing_with(OTHER_SEED):
        assert verify().finding is None


@pytest.mark.feature("U2", "K5")
def test_a_key_is_known_through_all_the_keys_between(ledger: None) -> None:
    third = b"\x03" * 32
    line = pruned(1)
    for seeds in ((OTHER_SEED, SEED), (OTHER_SEED,), (third, OTHER_SEED)):
        with signing_with(*seeds):
            told_and_sealed(1)
    for key in (SEED, third):
        with signing_with():
            assert verify(keys=[verifier(key)]).finding is None
    delete(Event, line.pk)
    with signing_with(third):
        assert verify().finding is not None


@pytest.mark.feature("U2", "K5")
def test_a_key_that_an_earlier_one_has_vouched_for_is_good(ledger: None) -> None:
    with signing_with(OTHER_SEED, SEED):
        told_and_sealed(1)
        assert verify().finding is None
    with signing_with(OTHER_SEED):
        told_and_sealed(1)
        assert verify().finding is None and verify().signed_by == (verifier(OTHER_SEED),)
    with signing_with():
        assert verify().finding is None
        for seed in (SEED, OTHER_SEED):
            assert verify(keys=[verifier(seed)]).finding is None
        assert verify(keys=[verifier(b"\x03" * 32)]).finding is not None


def without_checkpoints() -> None:
    for key in list(Checkpoint.objects.values_list("pk", flat=True)):
        delete(Checkpoint, key)


@pytest.mark.feature("U2", "K5")
def test_a_ledger_whose_checkpoints_are_all_gone_is_not_in_order(
    ledger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever takes them away could change what they like."""
    without_checkpoints()
    assert verify().finding is None, "in the moment before a new key first signs"
    finding = verify(keys=[verifier()]).finding
    assert finding is not None and "there is no checkpoint" in finding.fault
    monkeypatch.setattr(database, "SIGNED_WITHIN", timedelta(0))
    assert found() == finding
    with signing_with():
        assert found() == finding
        delete(Event, event_at(2))
        assert found().leaf == 2


@pytest.mark.feature("U2", "K5")
def test_another_deployments_key_is_found(ledger: None) -> None:
    with signing_with(OTHER_SEED):
        assert found().fault == "no checkpoint is signed by a key that is trusted"


@pytest.mark.feature("U2", "K5")
def test_a_ledger_written_anew_is_found_by_its_key(ledger: None) -> None:
    """Whoever owns the tables writes all of it anew, under a key of their own."""
    trusted = verifier()
    for model in (Event, Leaf, Checkpoint, Unsealed):
        for key in list(model.objects.values_list("pk", flat=True)):
            delete(model, key)
    rebuilt([])
    with signing_with(OTHER_SEED):
        told_and_sealed(4)
        assert verify().finding is None
        finding = verify(keys=[trusted]).finding
    assert finding is not None and "a key that is trusted" in finding.fault


# Checkpoints that were kept elsewhere.


@pytest.mark.feature("U2", "K5")
def test_a_kept_checkpoint_of_this_ledger_is_good(ledger: None) -> None:
    kept = [row.note for row in Checkpoint.objects.all()]
    told_and_sealed(2)
    assert verify(checkpoints=kept).finding is None


@pytest.mark.feature("U2", "K5")
def test_a_kept_checkpoint_knows_a_ledger_that_was_written_anew(ledger: None) -> None:
    """With the deployment's own key: only what was kept elsewhere tells of it."""
    kept = Checkpoint.objects.get(size=5).note
    rewritten(2, actor="ben")
    rebuilt(Leaf.objects.order_by("index"))
    for size in (5, 9):
        row = Checkpoint.objects.get(size=size)
        change(Checkpoint, row.pk, note=note_over(size, SEED, root=root_at(size)))
    assert verify().finding is None
    finding = verify(checkpoints=[kept]).finding
    assert finding is not None and "the given checkpoint over 5 leaves" in finding.fault


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize(
    "forged",
    [
        lambda: note_over(5, OTHER_SEED),
        lambda: note_over(5, SEED, origin="rampart/other"),
        lambda: notes.sign(str(Statement("rampart/other", 5, root_at(5))), [signer()]),
        lambda: note_over(5, SEED, root=bytes(32)),
        lambda: note_over(100, OTHER_SEED, root=bytes(32)),
    ],
    ids=[
        "a stranger's",
        "another ledger's",
        "about another ledger",
        "another tree's",
        "too large and a stranger's",
    ],
)
def test_a_kept_checkpoint_that_does_not_fit_is_found(
    ledger: None, forged: Callable[[], str]
) -> None:
    assert verify(checkpoints=[forged()]).finding is not None


NOTHING = Statement("rampart/x", 0, EMPTY_ROOT)


@pytest.mark.parametrize(
    "note", ["", "nonsense", "a\n1\nb\n\n— a AAAAAAAA\n", "\ud800", f"{NOTHING}\n— a AAAAAAAA\n"]
)
def test_what_is_no_checkpoint_cannot_be_compared_with(ledger: None, note: str) -> None:
    with pytest.raises(CouldNotVerify):
        verify(checkpoints=[note])


# Retention.


@pytest.mark.feature("U2", "U3", "K5")
def test_what_was_pruned_under_a_signature_is_no_fault(ledger: None) -> None:
    assert verify().finding is None
    line = pruned(1, 2, 6)
    assert verify().finding is None, "while the line waits for its leaf"
    sealing.seal()
    report = verify()
    assert report.finding is None
    assert (report.events, report.size, report.pruned) == (7, 10, 3)
    delete(Event, line.pk)
    assert (found().leaf, found().event_id) == (1, str(event_at(1)))


@pytest.mark.feature("U2", "U3", "K5")
def test_a_pruning_that_a_stranger_has_signed_is_a_theft(ledger: None) -> None:
    pruned(2, seeds=(OTHER_SEED,))
    assert found().leaf == 2


@pytest.mark.feature("U2", "U3", "K5")
def test_a_pruning_signed_with_a_key_that_is_only_announced_is_a_theft(ledger: None) -> None:
    slot.record(EventName.CHECKPOINT_KEY_ANNOUNCED, metadata={"key": str(verifier(OTHER_SEED))})
    line = pruned(2, seeds=(OTHER_SEED,))
    assert found().event_id == str(line.pk)


@pytest.mark.feature("U2", "U3", "K5")
def test_a_theft_beside_what_was_pruned_is_found(ledger: None) -> None:
    pruned(1, 3)
    delete(Event, event_at(2))
    assert found().leaf == 2


def test_a_tree_of_many_sizes_is_in_order() -> None:
    """Each size from one to a few has a frontier of its own."""
    for size in range(1, 9):
        told_and_sealed(1)
        assert verify().finding is None, size
