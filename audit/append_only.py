"""The triggers that make the ledger append only for everybody who speaks SQL.

Events and checkpoints may be deleted while they are in the door (`audit_door`), which retention
fills and empties within one transaction; leaves and nodes never. The door lets in only what can
still be proven when it is gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from audit.events import KEPT_FOR_EVER

REFUSED = "the ledger is append only"
NOT_THIS = "this may not leave the ledger"
BY_THE_DOOR = ("audit_event", "audit_checkpoint")
NEVER = ("audit_leaf", "audit_node")
IDENTITY = {
    "audit_event": "id = NEW.id", "audit_checkpoint": "id = NEW.id",
    "audit_leaf": '"index" = NEW."index" OR event_id = NEW.event_id',
    "audit_node": 'level = NEW.level AND "index" = NEW."index"',
}  # fmt: skip
_KEPT = ", ".join(f"'{name}'" for name in KEPT_FOR_EVER)


def _admitted(row_id: str, schema: str = "") -> str:
    """Whether the door admits this id: a sealed event that is not kept for ever, or a checkpoint
    that is not the newest.

    It counts to one, since PostgreSQL answers EXISTS, for thousands of ids at once, by going
    through the whole ledger.
    """
    return f"""
        0 < (
            SELECT count(*) FROM {schema}audit_leaf JOIN {schema}audit_event ON id = event_id
            WHERE event_id = {row_id} AND event NOT IN ({_KEPT})
        ) OR EXISTS (
            SELECT 1 FROM {schema}audit_checkpoint WHERE id = {row_id}
            AND size < (SELECT max(size) FROM {schema}audit_checkpoint)
        )
    """  # noqa: S608 - our own names


# PostgreSQL.

SEES = "pg_catalog, pg_temp"
"""The search path of the functions, so that none of them depends on the session's. Temporary
tables come last; they would come first if they weren't named.
"""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as PostgreSQL itself writes it down, and the function that it calls."""

    name: str
    when: str
    table: str
    rows: str
    function: str

    def definition(self, schema: str) -> str:
        return f"TRIGGER {self.name} {self.when} ON {schema}.{self.table} {self.rows}"


def _triggers() -> Iterator[Trigger]:
    """Deletions are judged by the statement, since retention deletes thousands in one."""
    each_row, once = "FOR EACH ROW", "FOR EACH STATEMENT"
    for table in BY_THE_DOOR + NEVER:
        events = "BEFORE UPDATE" if table in BY_THE_DOOR else "BEFORE DELETE OR UPDATE"
        yield Trigger(f"{table}_no_change", events, table, each_row, "audit_is_append_only")
        yield Trigger(
            f"{table}_no_truncate", "BEFORE TRUNCATE", table, once, "audit_is_append_only"
        )
    for table in BY_THE_DOOR:
        yield Trigger(
            f"{table}_by_the_door", "AFTER DELETE", table,
            f"REFERENCING OLD TABLE AS gone {once}", "audit_goes_by_the_door",
        )  # fmt: skip
    yield Trigger(
        "audit_door_admits", "AFTER INSERT", "audit_door",
        f"REFERENCING NEW TABLE AS entered {once}", "audit_door_admits",
    )  # fmt: skip
    yield Trigger(
        "audit_door_no_change", "BEFORE UPDATE", "audit_door", each_row, "audit_is_append_only"
    )


TRIGGERS = tuple(_triggers())


def _functions(schema: str) -> dict[str, str]:
    """The functions' texts, by their names."""
    refusing = f"RAISE EXCEPTION '{REFUSED}';"
    not_in_the_door = f"NOT EXISTS (SELECT 1 FROM {schema}.audit_door WHERE row_id = gone.id)"  # noqa: S608
    not_admitted = f"NOT ({_admitted('row_id', f'{schema}.')})"
    bodies = {
        "audit_is_append_only": refusing,
        "audit_goes_by_the_door": f"""
            IF EXISTS (SELECT 1 FROM gone WHERE {not_in_the_door}) THEN {refusing} END IF;
            RETURN NULL;
        """,  # noqa: S608 - our own names
        "audit_door_admits": f"""
            IF EXISTS (SELECT 1 FROM entered WHERE {not_admitted})
            THEN RAISE EXCEPTION '{NOT_THIS}'; END IF;
            RETURN NULL;
        """,  # noqa: S608 - our own names
    }
    return {name: f" BEGIN {body} END " for name, body in bodies.items()}


def _postgresql(schema: str) -> Iterator[str]:
    for name, body in _functions(schema).items():
        yield (
            f"CREATE OR REPLACE FUNCTION {schema}.{name}() RETURNS trigger LANGUAGE plpgsql"
            f" SET search_path = {SEES} AS $${body}$$"
        )
    for trigger in TRIGGERS:
        definition = trigger.definition(schema)
        yield f"CREATE OR REPLACE {definition} EXECUTE FUNCTION {schema}.{trigger.function}()"


def _wrong_in_postgresql(connection: BaseDatabaseWrapper) -> list[str]:
    """By what each trigger does: when it fires, for whom, and the text of what it calls."""
    schema = _schema(connection)
    bodies = _functions(schema)
    with connection.cursor() as cursor:
        # Replica and disabled triggers don't fire for ordinary sessions.
        cursor.execute(
            "SELECT tgname, pg_get_triggerdef(pg_trigger.oid), prosrc FROM pg_trigger"
            " JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid"
            " JOIN pg_language ON pg_language.oid = prolang AND lanname = 'plpgsql'"
            " WHERE pg_table_is_visible(tgrelid) AND tgenabled IN ('O', 'A') AND NOT prosecdef"
            " AND proconfig = ARRAY[%s] AND relname = ANY(%s)",
            [f"search_path={SEES}", list({trigger.table for trigger in TRIGGERS})],
        )
        found = {name: (text.partition(" EXECUTE ")[0], body) for name, text, body in cursor}
    return [
        one.name for one in TRIGGERS
        if found.get(one.name) != (f"CREATE {one.definition(schema)}", bodies[one.function])
    ]  # fmt: skip


def _schema(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        return str(cursor.fetchone()[0])


# SQLite.


def _sqlite_statements() -> dict[str, str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END"
    in_the_door = "WHEN NOT EXISTS (SELECT 1 FROM audit_door WHERE row_id = OLD.id)"
    made = {}
    for table in BY_THE_DOOR + NEVER:
        condition = in_the_door if table in BY_THE_DOOR else ""
        made[f"{table}_no_update"] = f"BEFORE UPDATE ON {table} {refuse}"
        made[f"{table}_no_delete"] = f"BEFORE DELETE ON {table} {condition} {refuse}"
        # INSERT OR REPLACE deletes what is in its way without asking the DELETE trigger.
        made[f"{table}_no_replace"] = (
            f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table}"  # noqa: S608
            f" WHERE {IDENTITY[table]} OR rowid = NEW.rowid) {refuse}"
        )
    for verb in ("insert", "update"):
        made[f"audit_door_admits_{verb}"] = (
            f"BEFORE {verb.upper()} ON audit_door WHEN NOT ({_admitted('NEW.row_id')})"
            f" BEGIN SELECT RAISE(ABORT, '{NOT_THIS}'); END"
        )
    return {name: f"CREATE TRIGGER {name} {statement}" for name, statement in made.items()}


SQLITE_STATEMENTS = _sqlite_statements()


def _wrong_in_sqlite(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        said = {name: sql.split() for name, sql in cursor.fetchall()}
    return [name for name, sql in SQLITE_STATEMENTS.items() if said.get(name) != sql.split()]


# Both.


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; harmless where they exist."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for statement in _postgresql(_schema(connection)):
                cursor.execute(statement)
            return
        for name, statement in SQLITE_STATEMENTS.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers: for undoing the migration, by the table's owner."""
    if connection.vendor == "postgresql":
        named = [f"{trigger.name} ON {trigger.table}" for trigger in TRIGGERS]
    else:
        named = list(SQLITE_STATEMENTS)
    with connection.cursor() as cursor:
        for name in named:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that should exist and do not, are switched off, or do something else."""
    wrong = _wrong_in_postgresql if connection.vendor == "postgresql" else _wrong_in_sqlite
    return wrong(connection)
