"""The stored tree, looked at from outside: computed anew from the events, the slow way."""

from audit import checkpoints, notes
from audit.events import EventName
from audit.ledger import record
from audit.merkle import Frontier, leaf_hash
from audit.models import Checkpoint, Event, Leaf, Node, Tree, Unsealed, local_now, new_id
from tests.audit import naive


def tell(count: int = 1) -> list[Event]:
    """So many events, told one after the other."""
    return [record(EventName.TOOL_SYNCED, actor="somebody") for _ in range(count)]


def tell_many(count: int) -> None:
    """So many events at once, as the statements of many callers would leave them."""
    now = local_now()
    events = [
        Event(id=new_id(), event=EventName.TOOL_SYNCED, started_at=now, ended_at=now)
        for _ in range(count)
    ]
    for event in events:
        event.digest = event.computed_digest()
    Event.objects.bulk_create(events)
    Unsealed.objects.bulk_create(Unsealed(event_id=event.pk) for event in events)


def assert_all_is_sealed_once() -> int:
    """No event without a leaf, none with two, no gap, every hash as defined; returns the size."""
    assert not Unsealed.objects.exists()
    leaves = list(Leaf.objects.order_by("index"))
    assert [leaf.index for leaf in leaves] == list(range(len(leaves)))
    digests = dict(Event.objects.values_list("pk", "digest"))
    assert sorted(leaf.event_id for leaf in leaves) == sorted(digests)
    hashes = [leaf_hash(bytes.fromhex(digests[leaf.event_id])) for leaf in leaves]
    assert [bytes(leaf.hash) for leaf in leaves] == hashes
    _assert_that_the_tree_is_theirs(hashes)
    return len(leaves)


def _assert_that_the_tree_is_theirs(hashes: list[bytes]) -> None:
    tree = Tree.objects.get()
    assert tree.size == len(hashes)
    assert Frontier.from_bytes(tree.size, bytes(tree.frontier)).root() == naive.root(hashes)
    nodes = {(node.level, node.index): bytes(node.hash) for node in Node.objects.all()}
    complete = {
        (level, index): naive.root(hashes[index << level : (index + 1) << level])
        for level in (8, 16)
        for index in range(len(hashes) >> level)
    }
    assert nodes == complete
    for checkpoint in Checkpoint.objects.all():
        stated = checkpoints.Statement.from_text(
            notes.read(checkpoint.note, checkpoints.announced()).text
        )
        assert (stated.origin, stated.size) == (tree.origin, checkpoint.size)
        assert stated.root == naive.root(hashes[: stated.size])
