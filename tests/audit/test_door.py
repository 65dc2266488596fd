"""What no session can do to the ledger with SQL, and what retention's door lets through."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from audit import append_only, ledger, sealing
from audit.checks import ledger_is_guarded
from audit.events import KEPT_FOR_EVER, EventName
from audit.models import Checkpoint, Door, Event, Leaf, Node, new_id
from tests.audit.conftest import run_sql
from tests.stack import Stack

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2", "K2", "T30")]
LEDGER = ("audit_event", "audit_checkpoint", "audit_leaf", "audit_node")
APPEND_ONLY = "the ledger is append only"
NOT_OUT = "this may not leave the ledger"


def told(event: EventName = EventName.INVOCATION_FINISHED) -> Event:
    return ledger.record(event, actor="ann", tool_name="pay", invocation_id=uuid4())


@pytest.fixture
def ledger_of_two_checkpoints(db: None) -> None:
    """Four sealed events, one of them for ever; two checkpoints; a node."""
    told(), told()
    sealing.seal()
    told()
    sealing.seal()
    Node.objects.create(level=8, index=0, hash=bytes(32))


def everything() -> list[list[Any]]:
    """The whole ledger as it is stored."""
    models = (Event, Checkpoint, Leaf, Node, Door)
    return [sorted(map(str, model._default_manager.values_list())) for model in models]


def refused(*statements: str, saying: str = APPEND_ONLY) -> None:
    """The last of these statements is refused, and all is as it was."""
    before = everything()
    with transaction.atomic():
        for statement in statements[:-1]:
            run_sql(statement)
        with pytest.raises(DatabaseError, match=saying), transaction.atomic():
            run_sql(statements[-1])
        transaction.set_rollback(True)
    assert everything() == before


# On every database.


@pytest.mark.parametrize("table", LEDGER)
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {}",
        "UPDATE {} SET {} = {}",
        "WITH every AS (SELECT * FROM {}) DELETE FROM {}",
        "INSERT INTO {} SELECT * FROM {} WHERE true ON CONFLICT ({}) DO UPDATE SET {} = {}.{}",
    ],
)
def test_no_row_is_changed_or_deleted(
    ledger_of_two_checkpoints: None, table: str, statement: str
) -> None:
    key = {"audit_leaf": '"index"', "audit_node": 'level, "index"'}.get(table, "id")
    column = "hash" if table in ("audit_leaf", "audit_node") else "id"
    names = {
        "DELETE FROM {}": (table,),
        "UPDATE {} SET {} = {}": (table, column, column),
        "WITH every AS (SELECT * FROM {}) DELETE FROM {}": (table, table),
    }
    refused(statement.format(*names.get(statement, (table, table, key, column, table, column))))


@pytest.mark.parametrize("table", LEDGER)
def test_a_view_is_no_way_around(ledger_of_two_checkpoints: None, table: str) -> None:
    if connection.vendor == "sqlite":
        refused(
            f"CREATE VIEW way_around AS SELECT * FROM {table}",
            "CREATE TRIGGER through INSTEAD OF DELETE ON way_around"
            f" BEGIN DELETE FROM {table}; END",
            "DELETE FROM way_around",
        )
    else:
        refused(f"CREATE VIEW way_around AS SELECT * FROM {table}", "DELETE FROM way_around")


@pytest.mark.parametrize("name", KEPT_FOR_EVER)
def test_what_is_kept_for_ever_never_gets_through_the_door(
    ledger_of_two_checkpoints: None, name: EventName
) -> None:
    kept = told(name)
    sealing.seal()
    refused(f"INSERT INTO audit_door SELECT id FROM audit_event WHERE id = {literal(kept.pk)}",
            saying=NOT_OUT)  # fmt: skip


def test_an_event_that_is_not_sealed_does_not_get_through(ledger_of_two_checkpoints: None) -> None:
    fresh = told()
    refused(f"INSERT INTO audit_door (row_id) VALUES ({literal(fresh.pk)})", saying=NOT_OUT)


def test_the_newest_checkpoint_does_not_get_through(ledger_of_two_checkpoints: None) -> None:
    newest = Checkpoint.objects.latest()
    refused(f"INSERT INTO audit_door (row_id) VALUES ({literal(newest.pk)})", saying=NOT_OUT)


def test_what_is_not_in_the_ledger_does_not_get_through(ledger_of_two_checkpoints: None) -> None:
    refused(f"INSERT INTO audit_door (row_id) VALUES ({literal(new_id())})", saying=NOT_OUT)
    leaf = Leaf.objects.latest("index")
    refused(f"INSERT INTO audit_door (row_id) VALUES ('{leaf.index:032d}')", saying=NOT_OUT)


def test_nobody_swaps_what_is_in_the_door(ledger_of_two_checkpoints: None) -> None:
    """Once something is in the doorway it does not become something else."""
    fresh, sealed = told(), sealed_event()
    refused(
        f"INSERT INTO audit_door (row_id) VALUES ({literal(sealed.pk)})",
        f"UPDATE audit_door SET row_id = {literal(fresh.pk)}",
        saying=f"{APPEND_ONLY}|{NOT_OUT}",
    )


def test_the_door_lets_through_what_is_in_it_and_nothing_beside(
    ledger_of_two_checkpoints: None,
) -> None:
    going, events = sealed_event(), Event.objects.count()
    enter = f"INSERT INTO audit_door (row_id) VALUES ({literal(going.pk)})"
    refused(enter, "DELETE FROM audit_event")
    refused(enter, f"UPDATE audit_event SET actor = 'x' WHERE id = {literal(going.pk)}")
    refused(enter, "DELETE FROM audit_leaf")
    run_sql(enter)
    run_sql(f"DELETE FROM audit_event WHERE id = {literal(going.pk)}")
    assert Event.objects.count() == events - 1
    assert Leaf.objects.filter(event_id=going.pk).exists()


def test_an_old_checkpoint_goes_by_the_door(ledger_of_two_checkpoints: None) -> None:
    old = Checkpoint.objects.earliest()
    run_sql(f"INSERT INTO audit_door (row_id) VALUES ({literal(old.pk)})")
    run_sql("DELETE FROM audit_checkpoint WHERE id IN (SELECT row_id FROM audit_door)")
    assert Checkpoint.objects.count() == 1


def sealed_event() -> Event:
    sealed = Event.objects.filter(pk__in=Leaf.objects.values("event_id"))
    return sealed.exclude(event__in=KEPT_FOR_EVER).earliest("pk")


def literal(row_id: UUID) -> str:
    return f"'{row_id}'" if connection.vendor == "postgresql" else f"'{row_id.hex}'"


# PostgreSQL. The tests' own role owns the tables: what it can't do nobody else can.

EVIL = [
    "CREATE SCHEMA evil",
    "CREATE TABLE evil.audit_door AS SELECT id AS row_id FROM audit_event",
]
ALWAYS = "CREATE FUNCTION evil.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
OPERATOR = "CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.yes)"
THE_DOOR = "INSERT INTO public.audit_door SELECT id FROM public.audit_event"
WAYS_AROUND: dict[str, tuple[str, ...]] = {
    "a temporary door": (
        "CREATE TEMP TABLE audit_door AS SELECT id AS row_id FROM audit_event",
        "DELETE FROM public.audit_event",
    ),
    "a temporary ledger": (
        "CREATE TEMP TABLE gone (id uuid)",
        "CREATE TEMP TABLE audit_event (id uuid)",
        "DELETE FROM public.audit_event",
    ),
    "a door in a schema that is looked at first": (
        *EVIL, "SET LOCAL search_path = evil, public", "DELETE FROM audit_event",
    ),
    "an operator for which all ids are equal": (
        *EVIL, ALWAYS, OPERATOR, f"{THE_DOOR} WHERE event = 'invocation:finished' LIMIT 1",
        "SET LOCAL search_path = evil, pg_catalog, public", "DELETE FROM public.audit_event",
    ),
    "settings": (
        "SET LOCAL row_security = off", "SET LOCAL rampart.may_prune = 'on'",
        "SET LOCAL check_function_bodies = off", "SET CONSTRAINTS ALL DEFERRED",
        "DELETE FROM audit_event",
    ),
    "a merge that deletes": (
        "MERGE INTO audit_event e USING audit_leaf l ON l.event_id = e.id"
        " WHEN MATCHED THEN DELETE",
    ),
    "a merge that updates": (
        "MERGE INTO audit_event e USING audit_leaf l ON l.event_id = e.id"
        " WHEN MATCHED THEN UPDATE SET actor = 'x'",
    ),
    "a rule of another table": (
        "CREATE TABLE other (id int)", "INSERT INTO other VALUES (1)",
        "CREATE RULE instead AS ON DELETE TO other DO INSTEAD DELETE FROM audit_event",
        "DELETE FROM other",
    ),
    "a prepared statement": ("PREPARE away AS DELETE FROM audit_event", "EXECUTE away"),
    "a function of the owner's": (
        "CREATE FUNCTION away() RETURNS void LANGUAGE sql SECURITY DEFINER"
        " AS 'DELETE FROM public.audit_event'",
        "SELECT away()",
    ),
    "truncate": ("TRUNCATE audit_event",),
    "truncate with others": ("TRUNCATE audit_unsealed, audit_leaf CASCADE",),
    "truncate of the checkpoints": ("TRUNCATE audit_checkpoint",),
    "truncate of the nodes": ("TRUNCATE audit_node RESTART IDENTITY",),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("way", WAYS_AROUND)
def test_there_is_no_way_around_the_triggers(ledger_of_two_checkpoints: None, way: str) -> None:
    refused(*WAYS_AROUND[way])


@pytest.mark.postgres
@pytest.mark.parametrize(
    "statement",
    [
        "WITH gone AS (DELETE FROM audit_event RETURNING id)"
        " INSERT INTO audit_door SELECT id FROM gone",
        "WITH entered AS (INSERT INTO audit_door SELECT id FROM audit_event RETURNING row_id)"
        " DELETE FROM audit_event",
        "WITH entered AS (INSERT INTO audit_door SELECT id FROM audit_checkpoint RETURNING row_id)"
        " DELETE FROM audit_checkpoint",
    ],
)
def test_nobody_enters_and_leaves_in_one_statement(
    ledger_of_two_checkpoints: None, statement: str
) -> None:
    """The door is to be shut while one looks who is in it."""
    refused(statement, saying=f"{APPEND_ONLY}|{NOT_OUT}")


@pytest.mark.postgres
@pytest.mark.parametrize("shadow", ["audit_leaf", "audit_event", "audit_checkpoint", "entered"])
def test_the_door_asks_the_real_ledger(ledger_of_two_checkpoints: None, shadow: str) -> None:
    fresh = told()
    refused(
        f"CREATE TEMP TABLE {shadow} AS SELECT '{fresh.pk}'::uuid AS id, '{fresh.pk}'::uuid AS"
        f" event_id, '{fresh.pk}'::uuid AS row_id, 0::bigint AS size, 'x'::text AS event",
        f"INSERT INTO public.audit_door VALUES ('{fresh.pk}')",
        saying=NOT_OUT,
    )


@pytest.mark.postgres
def test_a_copy_into_the_door_is_judged_as_well(ledger_of_two_checkpoints: None) -> None:
    fresh, before = told(), everything()
    with pytest.raises(Exception, match=NOT_OUT), transaction.atomic():
        cursor = connection.cursor()
        with cursor.copy("COPY audit_door FROM STDIN") as copy:
            copy.write_row([fresh.pk])
    assert everything()[-1] == before[-1]


@pytest.mark.postgres
def test_a_refusal_that_is_swallowed_has_deleted_nothing(ledger_of_two_checkpoints: None) -> None:
    before = everything()
    run_sql("DO $$ BEGIN DELETE FROM audit_event; EXCEPTION WHEN OTHERS THEN NULL; END $$")
    assert everything() == before


TAMPERINGS = {
    "a function that does nothing": (
        "CREATE OR REPLACE FUNCTION audit_goes_by_the_door() RETURNS trigger LANGUAGE plpgsql"
        " SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN NULL; END $$",
        {"audit_event_by_the_door", "audit_checkpoint_by_the_door"},
    ),
    "a function that sees what the session sees": (
        "ALTER FUNCTION audit_door_admits() RESET search_path",
        {"audit_door_admits"},
    ),
    "a function that sees another schema": (
        "ALTER FUNCTION audit_door_admits() SET search_path = evil, pg_catalog",
        {"audit_door_admits"},
    ),
    "a function with its owner's rights": (
        "ALTER FUNCTION audit_goes_by_the_door() SECURITY DEFINER",
        {"audit_event_by_the_door", "audit_checkpoint_by_the_door"},
    ),
    "a trigger that calls another function": (
        "CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE ON audit_event"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        {"audit_event_no_change"},
    ),
    "a trigger under a condition": (
        "CREATE OR REPLACE TRIGGER audit_leaf_no_change BEFORE DELETE OR UPDATE ON audit_leaf"
        " FOR EACH ROW WHEN (false) EXECUTE FUNCTION audit_is_append_only()",
        {"audit_leaf_no_change"},
    ),
    "a trigger of one column": (
        "CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OF reason ON audit_event"
        " FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()",
        {"audit_event_no_change"},
    ),
    "a trigger that is off": (
        "ALTER TABLE audit_door DISABLE TRIGGER audit_door_admits", {"audit_door_admits"},
    ),
    "a trigger for replicas": (
        "ALTER TABLE audit_event ENABLE REPLICA TRIGGER audit_event_by_the_door",
        {"audit_event_by_the_door"},
    ),
    "a trigger that is gone": (
        "DROP TRIGGER audit_checkpoint_no_truncate ON audit_checkpoint",
        {"audit_checkpoint_no_truncate"},
    ),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_the_check_finds_triggers_that_were_made_harmless(tampering: str) -> None:
    statement, harmed = TAMPERINGS[tampering]
    run_sql(statement)
    assert set(append_only.missing(connection)) == harmed
    (found,) = ledger_is_guarded(databases=["default"])
    assert found.id == "audit.E001" and all(name in found.msg for name in harmed)


@pytest.mark.postgres
def test_installing_again_mends_what_was_made_harmless() -> None:
    for statement, _ in TAMPERINGS.values():
        run_sql(statement)
    assert append_only.missing(connection)
    append_only.install(connection)
    for table in ("audit_door", *LEDGER):
        run_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    assert append_only.missing(connection) == []


@pytest.mark.postgres
def test_a_ledger_in_a_schema_of_another_name_is_guarded_as_well() -> None:
    """The functions name the schema that the tables are in, whatever it is called."""
    run_sql('CREATE SCHEMA "Big ""Books"""')
    run_sql('SET LOCAL search_path = "Big ""Books"""')
    for table in ("audit_door", *LEDGER):
        run_sql(f"CREATE TABLE {table} (LIKE public.{table} INCLUDING ALL)")
    assert len(append_only.missing(connection)) == len(append_only.TRIGGERS)
    append_only.install(connection)
    assert append_only.missing(connection) == []
    run_sql("INSERT INTO audit_node VALUES (8, 0, '')")
    with pytest.raises(DatabaseError, match=APPEND_ONLY), transaction.atomic():
        run_sql("DELETE FROM audit_node")


# SQLite.

OTHER_ID = "lower(hex(randomblob(16)))"
SQLITES_WAYS: dict[str, tuple[str, ...]] = {
    "replace": ("REPLACE INTO audit_event SELECT * FROM audit_event",),
    "insert or replace": ("INSERT OR REPLACE INTO audit_leaf SELECT * FROM audit_leaf",),
    "insert or replace with other triggers' rules": (
        "PRAGMA recursive_triggers = OFF",
        "INSERT OR REPLACE INTO audit_checkpoint SELECT * FROM audit_checkpoint",
    ),
    "update or replace": ("UPDATE OR REPLACE audit_leaf SET event_id = 'x'",),
    "update or ignore": ("UPDATE OR IGNORE audit_event SET actor = 'x'",),
    "update of the row's number": ("UPDATE audit_event SET rowid = rowid + 1000",),
    "a leaf for an event that has one": (
        'INSERT OR REPLACE INTO audit_leaf ("index", event_id, hash)'
        " SELECT 99, event_id, hash FROM audit_leaf",
    ),
    "a temporary door": (
        "CREATE TEMP TABLE audit_door (row_id)",
        "INSERT INTO temp.audit_door SELECT id FROM audit_event",
        "DELETE FROM main.audit_event",
    ),
    "a temporary trigger": (
        "CREATE TEMP TRIGGER first BEFORE DELETE ON main.audit_event"
        " BEGIN SELECT RAISE(IGNORE) WHERE 0; END",
        "DELETE FROM audit_event",
    ),
    "pragmas": (
        "PRAGMA recursive_triggers = OFF", "PRAGMA foreign_keys = OFF",
        "PRAGMA defer_foreign_keys = ON", "DELETE FROM audit_event",
    ),
    "a trigger of another table": (
        "CREATE TABLE other (id)", "INSERT INTO other VALUES (1)",
        "CREATE TRIGGER through AFTER DELETE ON other BEGIN DELETE FROM audit_event; END",
        "DELETE FROM other",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", SQLITES_WAYS)
def test_sqlites_own_ways_are_shut(ledger_of_two_checkpoints: None, way: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has no such statement")
    refused(*SQLITES_WAYS[way])


def test_a_trigger_of_sqlites_that_says_something_else_is_found() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's triggers call functions")
    run_sql("DROP TRIGGER audit_event_no_delete")
    run_sql("CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN SELECT 1; END")
    assert append_only.missing(connection) == ["audit_event_no_delete"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The database file of a deployment, with sealed events."""
    stack = Stack(tmp_path)
    try:
        stack.prepare()
        stack.python("from audit import sealing; sealing.seal()")
        yield tmp_path / "rampart.sqlite3"
    finally:
        stack.end()


@pytest.mark.stack
def test_another_program_on_the_database_file_is_refused(file: Path) -> None:
    """It attaches the file under another name, too, beside a door of its own."""
    with closing(sqlite3.connect(":memory:")) as own:
        own.execute("CREATE TABLE audit_door (row_id)")
        own.execute("ATTACH ? AS other", [str(file)])
        count = own.execute("SELECT count(*) FROM other.audit_event").fetchone()
        own.execute("INSERT INTO main.audit_door SELECT id FROM other.audit_event")
        for statement in ("DELETE FROM other.audit_event", "UPDATE other.audit_leaf SET hash = ''"):
            with pytest.raises(sqlite3.IntegrityError, match=APPEND_ONLY):
                own.execute(statement)
        assert count == own.execute("SELECT count(*) FROM other.audit_event").fetchone()
        assert count[0] > 1
