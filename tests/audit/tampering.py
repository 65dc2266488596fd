"""Somebody who owns the tables, and all that they can do to the ledger."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, models

from audit import ledger, notes, prunings, sealing
from audit.checkpoints import Statement
from audit.events import EventName
from audit.merkle import Frontier, leaf_hash
from audit.models import Checkpoint, Event, Leaf, Tree, Unsealed, new_id
from audit.notes import Signer, Verifier
from audit.records import digest_of, stored
from tests.audit.conftest import run_sql, the_ledger_open

SEED, OTHER_SEED = b"\x01" * 32, b"\x02" * 32


def told(**options: Any) -> Event:
    """One event, with every column filled."""
    everything: dict[str, Any] = {
        "actor": "ann", "tool_name": "pay", "status": "success", "reason": "why",
        "arguments": {"amount": 1e22, "deep": [1, {"ä": None}]}, "result": [0.1, "x"],
        "error": "oops", "metadata": {"k": "v"}, "invocation_id": uuid4(),
        "approval_id": uuid4(), "session_id": uuid4(), "request_id": "r-1", "source": "rest",
        "key_prefix": "rmp_abc",
    }  # fmt: skip
    return ledger.record(EventName.INVOCATION_FINISHED, **everything | options)


def told_and_sealed(count: int) -> list[Event]:
    """Some events, then a seal and a checkpoint over them."""
    events = [told() for _ in range(count)]
    sealing.seal()
    return events


def many_sealed(count: int) -> None:
    """As many events in one go, sealed and signed."""
    pattern = told()
    events = []
    for _ in range(count - 1):
        one = Event(**{field.attname: getattr(pattern, field.attname) for field in _columns()})
        one.id = new_id()
        one.digest = one.computed_digest()
        events.append(one)
    Event.objects.bulk_create(events)
    Unsealed.objects.bulk_create([Unsealed(event_id=one.id) for one in events])
    sealing.seal()


def _columns() -> "list[models.Field[Any, Any]]":
    return list(Event._meta.concrete_fields)


@contextmanager
def signing_with(*seeds: bytes) -> Iterator[None]:
    """These are the deployment's keys, the newest first."""
    before, settings.RAMPART_CHECKPOINT_KEY = settings.RAMPART_CHECKPOINT_KEY, list(seeds)
    try:
        yield
    finally:
        settings.RAMPART_CHECKPOINT_KEY = before


def signer(seed: bytes = SEED) -> Signer:
    return Signer.from_seed(sealing.the_tree().origin, seed)


def verifier(seed: bytes = SEED) -> Verifier:
    return signer(seed).verifier


def event_at(leaf: int) -> UUID:
    """The id of the event that has this leaf."""
    return Leaf.objects.get(index=leaf).event_id


def as_stored(model: type[models.Model], column: str, value: Any) -> Any:
    """The value as the database keeps it; JSON is given as its text."""
    if column in ("arguments", "result", "metadata") and isinstance(value, str):
        return value
    return model._meta.get_field(column).get_db_prep_value(value, connection)


def change(model: type[models.Model], key: Any, **values: Any) -> None:
    """Change columns of a row, past the triggers."""
    assigned = ", ".join(f'"{name}" = %s' for name in values)
    prepared = [as_stored(model, name, value) for name, value in values.items()]
    _past_the_triggers(model, f"UPDATE {{table}} SET {assigned} WHERE {{pk}} = %s", *prepared, key)


def delete(model: type[models.Model], key: Any) -> None:
    """Delete a row, past the triggers."""
    _past_the_triggers(model, "DELETE FROM {table} WHERE {pk} = %s", key)


def _past_the_triggers(model: type[models.Model], statement: str, *params: Any) -> None:
    *values, key = params
    pk = model._meta.pk
    statement = statement.format(table=model._meta.db_table, pk=f'"{pk.column}"')
    with the_ledger_open():
        run_sql(statement, *values, pk.get_db_prep_value(key, connection))


def rewritten(leaf: int, **values: Any) -> None:
    """Change an event, its digest and its leaf: all but the hashes above."""
    event_id = event_at(leaf)
    change(Event, event_id, **values)
    (row,) = stored(Event.objects.filter(pk=event_id))
    digest = digest_of(row.text())
    change(Event, event_id, digest=digest)
    change(Leaf, leaf, hash=leaf_hash(bytes.fromhex(digest)))


def swap_leaves(one: int, other: int) -> None:
    """Two events change places in the tree."""
    first, second = Leaf.objects.get(index=one), Leaf.objects.get(index=other)
    change(Leaf, one, event_id=new_id())
    change(Leaf, other, event_id=first.event_id, hash=bytes(first.hash))
    change(Leaf, one, event_id=second.event_id, hash=bytes(second.hash))


def swap_events(one: int, other: int) -> None:
    """Two events change their ids."""
    first, second, other_id = event_at(one), event_at(other), new_id()
    change(Event, first, id=other_id)
    change(Event, second, id=first)
    change(Event, other_id, id=second)


def rebuilt(leaves: Iterable[Leaf]) -> None:
    """The tree's row, made to fit these leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(bytes(leaf.hash))
    Tree.objects.update(size=frontier.size, frontier=frontier.to_bytes())


def cut_off(count: int) -> None:
    """The last leaves and their events go, and the tree says that it never had more."""
    for leaf in Leaf.objects.order_by("-index")[:count]:
        delete(Event, leaf.event_id)
        delete(Leaf, leaf.index)
    rebuilt(Leaf.objects.order_by("index"))


def root_at(size: int) -> bytes:
    """The root over the first leaves, from the leaves themselves."""
    frontier = Frontier()
    for hashed in Leaf.objects.filter(index__lt=size).order_by("index").values_list("hash"):
        frontier.append(bytes(hashed[0]))
    return frontier.root()


def note_over(size: int, *seeds: bytes, root: bytes | None = None, origin: str = "") -> str:
    """A checkpoint over the first leaves, signed with these keys."""
    named = origin or sealing.the_tree().origin
    statement = Statement(named, size, root or root_at(size))
    return notes.sign(str(statement), [Signer.from_seed(named, seed) for seed in seeds])


def signed_over(size: int, *seeds: bytes, **what: Any) -> Checkpoint:
    """Such a checkpoint, put among the others."""
    return Checkpoint.objects.create(size=size, note=note_over(size, *seeds, **what))


def pruned(*leaves: int, seeds: tuple[bytes, ...] = (SEED,)) -> Event:
    """The events of these leaves are gone, and a line says so, signed with these keys."""
    runs = prunings.runs(leaves)
    for leaf in leaves:
        delete(Event, event_at(leaf))
    text = prunings.statement(sealing.the_tree().origin, runs)
    note = notes.sign(text, [signer(seed) for seed in seeds])
    metadata = {"leaves": runs, "note": note, "count": len(leaves), "before": ""}
    return ledger.record(EventName.LEDGER_PRUNED, actor="ledger", metadata=metadata)
