"""One slot to write through, and nothing is ever changed."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder

from audit import append_only, ledger
from audit.checks import ledger_is_guarded
from audit.errors import LedgerIsAppendOnly
from audit.events import EventName
from audit.models import Event, local_now, new_id
from audit.verification import verify
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.tampering import told
from tools.models import EmergencyStop, RateWindow

pytestmark = pytest.mark.django_db


# Writing.


def test_an_event_is_read_back_as_it_was_written() -> None:
    written = told()
    read = Event.objects.get()
    for field in Event._meta.concrete_fields:
        assert getattr(read, field.attname) == getattr(written, field.attname), field.attname
    assert read.started_at <= read.ended_at


def test_labels_are_cut_to_their_columns() -> None:
    event = told(actor="a" * 500, tool_name="t" * 500, reason="r" * 500, request_id="q" * 500)
    event.refresh_from_db()
    lengths = [len(text) for text in (event.actor, event.tool_name, event.reason, event.request_id)]
    assert lengths == [200, 200, 64, 128]


def test_what_an_event_tells_of_is_written_beside_it() -> None:
    row = RateWindow(bucket="b", expires_at=local_now(), hits=[1.5])
    other = EmergencyStop(reason="drill", engaged_by="ann")
    written = told(beside=[row, other])
    assert Event.objects.get().pk == written.pk
    assert RateWindow.objects.get().hits == [1.5] and EmergencyStop.objects.get() == other
    assert not row._state.adding and not written._state.adding


@pytest.mark.feature("U1")
@pytest.mark.parametrize("spoiled", ["the event", "the row beside it"])
@pytest.mark.django_db(transaction=True)
def test_the_event_and_what_stands_beside_it_are_all_or_nothing(spoiled: str) -> None:
    told_id, bucket = new_id(), "b"
    if spoiled == "the event":
        told(event_id=told_id)
    else:
        RateWindow.objects.create(bucket=bucket, expires_at=local_now())
    before = (Event.objects.count(), RateWindow.objects.count())
    with pytest.raises(DatabaseError):
        told(event_id=told_id, beside=[RateWindow(bucket=bucket, expires_at=local_now())])
    assert (Event.objects.count(), RateWindow.objects.count()) == before


@pytest.mark.feature("U1")
@pytest.mark.django_db(transaction=True)
def test_an_event_of_what_was_rolled_back_is_not_told() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        told()
        raise RuntimeError
    assert not Event.objects.exists()


@pytest.mark.postgres
def test_everything_is_written_in_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        stop = EmergencyStop(reason="drill", engaged_by="ann")
        told(beside=[stop, RateWindow(bucket="b", expires_at=local_now())])


def test_ids_are_in_the_order_of_writing() -> None:
    ids = [told().pk for _ in range(50)]
    assert ids == sorted(ids)
    assert [event.pk for event in Event.objects.newest_first()] == ids[::-1]


# Never changing.


@pytest.mark.feature("U4")
def test_the_model_refuses_to_change_or_delete() -> None:
    event = told()
    event.actor = "somebody else"
    changes: list[Any] = [
        lambda: event.save(),
        lambda: event.save(force_update=True),
        lambda: event.delete(),
        lambda: Event.objects.update(actor="x"),
        lambda: Event.objects.filter(pk=event.pk).update(actor="x"),
        lambda: Event.objects.all().delete(),
        lambda: Event.objects.bulk_update([event], ["actor"]),
        lambda: Event.objects.update_or_create(pk=event.pk, defaults={"actor": "x"}),
    ]
    for change in changes:
        with pytest.raises(LedgerIsAppendOnly):
            change()
    assert Event.objects.get().actor == "ann"


STATEMENTS = [
    "UPDATE audit_event SET actor = 'x'",
    "DELETE FROM audit_event",
    "INSERT INTO audit_event SELECT * FROM audit_event ON CONFLICT (id) DO UPDATE SET actor = 'x'",
]


@pytest.mark.feature("U4", "K5")
@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_database_refuses_it_in_sql_too(statement: str) -> None:
    told()
    if connection.vendor == "sqlite":
        statement = statement.replace("audit_event ON", "audit_event WHERE true ON")
    with pytest.raises(DatabaseError, match="the ledger is append only"), transaction.atomic():
        run_sql(statement)
    assert Event.objects.get().actor == "ann"


@pytest.mark.feature("U4", "K5")
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE"])
def test_sqlites_own_ways_to_replace_a_row_are_refused(verb: str) -> None:
    """They delete what is in their way without asking the trigger for DELETE."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no such statement")
    told()
    with pytest.raises(DatabaseError, match="the ledger is append only"), transaction.atomic():
        run_sql(f"{verb} INTO audit_event SELECT * FROM audit_event")
    assert verify().finding is None


@pytest.mark.feature("U4", "K5")
@pytest.mark.postgres
@pytest.mark.parametrize("how", ["", " CASCADE", " RESTART IDENTITY"])
def test_the_database_refuses_truncate(how: str) -> None:
    told()
    with pytest.raises(DatabaseError, match="the ledger is append only"), transaction.atomic():
        run_sql(f"TRUNCATE audit_event{how}")
    assert Event.objects.count() == 1


@pytest.mark.feature("U4", "K5")
def test_missing_triggers_are_an_error_of_the_check() -> None:
    assert ledger_is_guarded(databases=["default"]) == []
    with the_ledger_open():
        (found,) = ledger_is_guarded(databases=["default"])
    assert found.id == "audit.E001"
    assert found.msg.count("audit_event_no_") == (2 if connection.vendor == "postgresql" else 3)
    assert ledger_is_guarded(databases=["default"]) == []


@pytest.mark.postgres
def test_a_trigger_that_is_switched_off_is_an_error_too() -> None:
    run_sql("ALTER TABLE audit_event DISABLE TRIGGER audit_event_no_truncate")
    (found,) = ledger_is_guarded(databases=["default"])
    assert "audit_event_no_truncate" in found.msg and "no_change" not in found.msg


def test_a_database_that_waits_for_its_migration_is_not_complained_of() -> None:
    """What brings the triggers must be let run without them."""
    MigrationRecorder(connection).record_unapplied("audit", "0007_seal_what_is_there")
    with the_ledger_open():
        assert ledger_is_guarded(databases=["default"]) == []
    assert ledger_is_guarded(databases=None) == []


# Verifying.

LATER = local_now() + timedelta(days=1)
ALTERED: dict[str, Any] = {
    "id": new_id(), "event": "key:created", "actor": "ben", "tool_name": "refund",
    "status": "denied", "reason": "because", "arguments": '{"amount":2}', "result": "null",
    "error": "fine", "started_at": LATER, "ended_at": LATER, "metadata": "{}",
    "invocation_id": uuid4(), "approval_id": None, "session_id": uuid4(), "request_id": "r-2",
    "source": "mcp", "key_prefix": "rmp_xyz", "digest": "0" * 64,
}  # fmt: skip


def alter(column: str, value: Any) -> None:
    """Change one column of the second of three events, past the triggers."""
    target = Event.objects.order_by("id")[1].pk
    with the_ledger_open():
        prepared = Event._meta.get_field(column).get_db_prep_value
        if column not in ("arguments", "result", "metadata"):
            value = prepared(value, connection)
        run_sql(
            f"UPDATE audit_event SET {column} = %s WHERE id = %s",
            value,
            Event._meta.pk.get_db_prep_value(target, connection),
        )


@pytest.fixture
def three_events() -> None:
    """Three events."""
    for _ in range(3):
        told()


def test_every_column_is_altered_below() -> None:
    assert set(ALTERED) == {field.column for field in Event._meta.concrete_fields}


@pytest.mark.feature("U4", "K5", "T30")
@pytest.mark.parametrize("column", ALTERED)
def test_a_change_of_any_column_is_found(three_events: None, column: str) -> None:
    assert verify().finding is None
    altered = Event.objects.order_by("id")[1].pk
    alter(column, ALTERED[column])
    finding = verify().finding
    assert finding is not None
    assert finding.event_id == str(ALTERED["id"] if column == "id" else altered)


@pytest.mark.feature("U4", "K5")
@pytest.mark.parametrize(
    "text",
    [
        '{"amount": 1}',
        '{"amount":2,"amount":1}',
        '{"amount":1.0}',
        "not JSON",
        "",
        "NaN",
        "[" * 5000,
    ],
)
def test_json_that_is_not_the_very_text_written_is_found(text: str) -> None:
    told()
    told(arguments={"amount": 1})
    assert verify().finding is None
    alter("arguments", text)
    assert verify().finding is not None


@pytest.mark.feature("K5")
@pytest.mark.parametrize("column", ["id", "started_at", "invocation_id"])
def test_a_column_that_cannot_even_be_read_is_found(three_events: None, column: str) -> None:
    """SQLite takes any text in any column."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL takes no nonsense")
    target = Event._meta.pk.get_db_prep_value(Event.objects.order_by("id")[1].pk, connection)
    with the_ledger_open():
        run_sql(f"UPDATE audit_event SET {column} = 'nonsense' WHERE id = %s", target)
    finding = verify().finding
    assert finding is not None
    assert finding.event_id.replace("-", "") == ("nonsense" if column == "id" else target)


def test_an_empty_ledger_is_in_order() -> None:
    assert verify().events == 0 and verify().finding is None


def test_verifying_says_how_much_it_saw(three_events: None) -> None:
    assert verify().events == 3


def test_the_digest_is_taken_over_every_column_but_itself() -> None:
    sealed = {field.attname for field in Event._sealed_fields()}
    everything = {field.attname for field in Event._meta.concrete_fields}
    assert everything - sealed == {"digest"}


def test_no_model_points_at_events() -> None:
    """The ledger outlives what it tells of, and nothing may hang on a line of it."""
    pointing = [
        field for field in Event._meta.get_fields() if isinstance(field, models.ForeignObjectRel)
    ]
    assert pointing == []
    assert not any(isinstance(field, models.ForeignKey) for field in Event._meta.get_fields())


@pytest.mark.feature("U1")
@pytest.mark.django_db
@pytest.mark.parametrize("column", ["id", "rowid"])
def test_sqlite_refuses_to_replace_a_line(column: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no such statement")
    event = ledger.record(EventName.KEY_CREATED, actor="somebody")
    columns = [field.column for field in Event._meta.concrete_fields]
    other = {"id": f"'{new_id().hex}'"} if column == "rowid" else {}
    chosen = ", ".join(other.get(name, "'forged'" if name == "actor" else name) for name in columns)
    names, values = ", ".join(columns), chosen
    if column == "rowid":
        names, values = f"rowid, {names}", f"rowid, {values}"
    with (
        pytest.raises(DatabaseError, match="append only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            f"INSERT OR REPLACE INTO audit_event ({names}) SELECT {values} FROM audit_event"
            f" WHERE id = '{event.pk.hex}'"
        )
    assert Event.objects.get().actor == "somebody"


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_trigger_that_fires_only_for_replicas_is_missed() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such trigger")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event ENABLE REPLICA TRIGGER audit_event_no_change")
    assert append_only.missing(connection) == ["audit_event_no_change"]
