"""The triggers that make the ledger append only for everybody who speaks SQL."""

from django.db.backends.base.base import BaseDatabaseWrapper

POSTGRESQL = [
    """
    CREATE OR REPLACE FUNCTION audit_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the ledger is append only'; END $$
    """,
    """
    CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_is_append_only()
    """,
    """
    CREATE OR REPLACE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_event_is_append_only()
    """,
]
SQLITE_STATEMENTS = {
    **{
        f"audit_event_no_{verb}": f"""
        CREATE TRIGGER audit_event_no_{verb} BEFORE {verb.upper()} ON audit_event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END
        """
        for verb in ("update", "delete")
    },
    # INSERT OR REPLACE deletes what is in its way without asking the DELETE trigger.
    "audit_event_no_replace": """
        CREATE TRIGGER audit_event_no_replace BEFORE INSERT ON audit_event
        WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id OR rowid = NEW.rowid)
        BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END
        """,
}
POSTGRESQL_NAMES = ("audit_event_no_change", "audit_event_no_truncate")


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; harmless where they exist."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for statement in POSTGRESQL:
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
            on_table = " ON audit_event" if is_postgresql else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on_table}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that should exist and do not, are switched off, or say something else."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Replica and disabled triggers don't fire for ordinary sessions.
            cursor.execute(
                "SELECT tgname FROM pg_trigger"
                " WHERE tgrelid = 'audit_event'::regclass AND tgenabled IN ('O', 'A')"
            )
            present = {row[0] for row in cursor.fetchall()}
            return [name for name in POSTGRESQL_NAMES if name not in present]
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        said = {name: _words(sql) for name, sql in cursor.fetchall()}
    return [name for name, sql in SQLITE_STATEMENTS.items() if said.get(name) != _words(sql)]


def _words(sql: str) -> list[str]:
    return sql.split()
