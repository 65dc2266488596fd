"""The triggers that make the ledger append only for everybody who speaks SQL.

Events and checkpoints may be deleted while they are in the door (`audit_door`), which retention
fills and empties within one transaction; leaves and nodes never. The door lets in only what can
still be proven when it is gone.
"""

from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

from audit.events import KEPT_FOR_EVER

REFUSED = "the ledger is append only"
BY_THE_DOOR = ("audit_event", "audit_checkpoint")
NEVER = ("audit_leaf", "audit_node")
IDENTITY = {
    "audit_event": "id = NEW.id", "audit_checkpoint": "id = NEW.id",
    "audit_leaf": '"index" = NEW."index" OR event_id = NEW.event_id',
    "audit_node": 'level = NEW.level AND "index" = NEW."index"',
}  # fmt: skip
_KEPT = ", ".join(f"'{name}'" for name in KEPT_FOR_EVER)
ADMITTED = f"""
    EXISTS (
        SELECT 1 FROM {{schema}}audit_leaf JOIN {{schema}}audit_event ON id = event_id
        WHERE event_id = NEW.row_id AND event NOT IN ({_KEPT})
    ) OR EXISTS (
        SELECT 1 FROM {{schema}}audit_checkpoint WHERE id = NEW.row_id
        AND size < (SELECT max(size) FROM {{schema}}audit_checkpoint)
    )
"""  # noqa: S608 - our own names


def _postgresql(schema: str) -> Iterator[str]:
    """Functions see the ledger's schema whatever a session's search path says."""
    yield _function("audit_is_append_only", f"RAISE EXCEPTION '{REFUSED}';")
    yield _function(
        "audit_goes_by_the_door",
        f"""
        IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM {schema}audit_door WHERE row_id = OLD.id)
        THEN RETURN OLD; END IF;
        RAISE EXCEPTION '{REFUSED}';
        """,  # noqa: S608 - our own names
    )
    yield _function(
        "audit_door_admits",
        f"""
        IF TG_OP = 'INSERT' AND ({ADMITTED.format(schema=schema)}) THEN RETURN NEW; END IF;
        RAISE EXCEPTION 'this may not leave the ledger';
        """,
    )
    for table in BY_THE_DOOR + NEVER:
        guard = "audit_goes_by_the_door" if table in BY_THE_DOOR else "audit_is_append_only"
        yield f"""
            CREATE OR REPLACE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {guard}()
        """
        yield f"""
            CREATE OR REPLACE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
        """
    yield """
        CREATE OR REPLACE TRIGGER audit_door_admits BEFORE INSERT OR UPDATE ON audit_door
        FOR EACH ROW EXECUTE FUNCTION audit_door_admits()
    """


def _function(name: str, body: str) -> str:
    return f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
        SET search_path = pg_catalog AS $$ BEGIN {body} END $$
    """


POSTGRESQL_NAMES = {
    **{f"{table}_no_{what}": table for table in BY_THE_DOOR + NEVER
       for what in ("change", "truncate")},
    "audit_door_admits": "audit_door",
}  # fmt: skip


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
            f"BEFORE {verb.upper()} ON audit_door WHEN NOT ({ADMITTED.format(schema='')})"
            " BEGIN SELECT RAISE(ABORT, 'this may not leave the ledger'); END"
        )
    return {name: f"CREATE TRIGGER {name} {statement}" for name, statement in made.items()}


SQLITE_STATEMENTS = _sqlite_statements()


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; harmless where they exist."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT quote_ident(current_schema())")
            for statement in _postgresql(f"{cursor.fetchone()[0]}."):
                cursor.execute(statement)
            return
        for name, statement in SQLITE_STATEMENTS.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers: for undoing the migration, by the table's owner."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        for name in POSTGRESQL_NAMES if is_postgresql else SQLITE_STATEMENTS:
            on_table = f" ON {POSTGRESQL_NAMES[name]}" if is_postgresql else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on_table}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that should exist and do not, are switched off, or say something else."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Replica and disabled triggers don't fire for ordinary sessions.
            cursor.execute(
                "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
                " WHERE relname = ANY(%s) AND tgenabled IN ('O', 'A')"
                " AND pg_table_is_visible(tgrelid)",
                [list(set(POSTGRESQL_NAMES.values()))],
            )
            present = {row[0] for row in cursor.fetchall()}
            return [name for name in POSTGRESQL_NAMES if name not in present]
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        said = {name: _words(sql) for name, sql in cursor.fetchall()}
    return [name for name, sql in SQLITE_STATEMENTS.items() if said.get(name) != _words(sql)]


def _words(sql: str) -> list[str]:
    return sql.split()
