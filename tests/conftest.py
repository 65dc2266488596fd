"""One cast for all tests: an owner whose agent calls, a reviewer, a stranger; and their tools."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from django.db import connection, connections, models, transaction
from django.test import TransactionTestCase
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient
from whitenoise.middleware import WhiteNoiseMiddleware

from approvals import execution, rulebook
from approvals.models import Approval, Invocation
from approvals.notices import routes
from audit import append_only
from audit.models import Event, Unsealed
from tools import catalogue, identity, registry
from tools.key_cabinet import create_key
from tools.models import ApiKey, Tool, ToolVersion

pytest_plugins = ["tests.stack", "tests.desk_cast"]

# A busy machine is slow, not wrong.
hypothesis.settings.register_profile(
    "rampart", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("rampart")

REVIEWER_PERMISSIONS = (
    "decide_approval", "view_approval", "view_invocation", "view_event", "view_tool",
    "change_tool", "view_apikey", "add_apikey", "rotate_apikey",
)  # fmt: skip

_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def _flush_with_the_ledger_open(self: TransactionTestCase) -> None:
    """Emptying the tables between tests is what the ledger's triggers are there to stop."""
    append_only.remove(connection)
    _flush(self)
    append_only.install(connection)


TransactionTestCase._fixture_teardown = _flush_with_the_ledger_open  # type: ignore[attr-defined]


_look_for_files = WhiteNoiseMiddleware.add_files_from_finders
_static_files: dict[str, Any] = {}


def _look_for_files_once(self: WhiteNoiseMiddleware) -> None:
    """Each test's client is a server of its own, and each would list the same files anew."""
    if not _static_files:
        _look_for_files(self)
        _static_files.update(self.files)
    self.files.update(_static_files)


WhiteNoiseMiddleware.add_files_from_finders = _look_for_files_once


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests use the database; those marked `postgres` are left out on SQLite."""
    on_sqlite = "postgresql" not in django_settings.DATABASES["default"]["ENGINE"]
    skip = pytest.mark.skip(reason="needs PostgreSQL")
    for item in items:
        if item.get_closest_marker("django_db") or "db" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
        if on_sqlite and "postgres" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """No test sees another's keys, switches or counted calls."""
    identity.forget_all()
    catalogue.forget()
    rulebook.forget()
    routes.forget()
    if django_settings.REDIS_URL:
        with redis.Redis.from_url(django_settings.REDIS_URL) as client:
            client.flushdb()
    yield
    identity.forget_all()
    catalogue.forget()
    rulebook.forget()
    routes.forget()


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Settings) -> None:
    """A slow hash is for people who sign in; here it would only take time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(params=["redis", "row"])
def store(request: pytest.FixtureRequest, settings: Settings) -> str:
    """Both stores of limits: Redis where the tests have one, and the row on every database."""
    if request.param == "row":
        settings.REDIS_URL = ""
    elif not settings.REDIS_URL:
        pytest.skip("no Redis here")
    return str(request.param)


RECORDED = (Tool, ToolVersion, Event, Unsealed)
_records: dict[frozenset[tuple[str, str]], list[list[models.Model]]] = {}
"""What `sync` writes into empty tables, for each set of tools that a process has had."""


@pytest.fixture
def tools_synced(db: None) -> None:
    """The tools of this process are on record: synced once, and copied from then on."""
    defined = frozenset((name, tool.schema_hash) for name, tool in registry.loaded().items())
    if Tool.objects.exists() or Event.objects.exists():
        catalogue.sync(by="test")
    elif defined in _records:
        with transaction.atomic():
            for rows in _records[defined]:
                type(rows[0])._default_manager.bulk_create(rows)
    else:
        catalogue.sync(by="test")
        _records[defined] = [list(kind.objects.all()) for kind in RECORDED]


@pytest.fixture
def owner(db: None) -> User:
    """The person who answers for the agent's key."""
    return person("owner")


@pytest.fixture
def reviewer(db: None) -> User:
    """A person who may decide."""
    return person("reviewer", *REVIEWER_PERMISSIONS)


@pytest.fixture
def stranger(db: None) -> User:
    """A person who may sign in and do nothing."""
    return person("stranger")


def person(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, password=f"{name}-password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return User.objects.get(pk=user.pk)


def as_person(user: User) -> APIClient:
    """The API as a signed-in person, whose browser sends the CSRF token where it must."""
    client = APIClient()
    client.force_login(user)
    return client


@dataclass
class Agent:
    """A service with a key."""

    row: ApiKey
    key: str

    @property
    def client(self) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.key}")
        return client

    def invoke(
        self, tool: str, /, *, headers: dict[str, str] | None = None, **arguments: Any
    ) -> Response:
        """Call a tool and don't wait for a worker."""
        return self.post(tool, {"arguments": arguments}, headers=headers)

    def post(self, tool: str, body: Any, *, headers: dict[str, str] | None = None) -> Response:
        """Post a body to a tool."""
        given = {"Prefer": "respond-async", **(headers or {})}
        answer: Response = self.client.post(
            f"/api/v1/tools/{tool}/invoke", body, format="json", headers=given
        )
        return answer

    def get(self, path: str) -> Response:
        answer: Response = self.client.get(f"/api/v1/{path}")
        return answer


MakeAgent = Callable[..., Agent]


@pytest.fixture
def make_agent(tools_synced: None, owner: User) -> MakeAgent:
    """Makes agents; by default they belong to the owner and may do everything in the kit."""

    def make(actor: str = "agent", scopes: tuple[str, ...] = ("kit.*",), **options: Any) -> Agent:
        row, key = create_key(
            actor=actor, scopes=scopes, owner=options.pop("owner", owner), by="test", **options
        )
        return Agent(row, key)

    return make


@pytest.fixture
def agent(make_agent: MakeAgent) -> Agent:
    """The agent."""
    return make_agent()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file in which tools leave a line for each effect."""
    path = tmp_path / "trace"
    path.touch()
    return path


def effects(trace: Path) -> list[str]:
    """The lines that tools have left."""
    return trace.read_text().splitlines()


def work() -> None:
    """What the workers would do now: run everything that is queued."""
    for row in Invocation.objects.filter(status="queued").order_by("id"):
        execution.run(row.pk)


def held(agent: Agent, trace: Path, **arguments: Any) -> Approval:
    """A call of `guarded_trace` that waits for a person."""
    answer = agent.invoke("guarded_trace", path=str(trace), **arguments)
    assert answer.status_code == 202, answer.content
    return Approval.objects.with_everything().get(pk=answer.json()["approval_id"])


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Do something in so many threads at the same instant, each with a database connection."""
    barrier, results = threading.Barrier(count), [None] * count

    def body(number: int) -> None:
        try:
            barrier.wait(30)
            results[number] = act(number)
        except BaseException as error:
            results[number] = error  # type: ignore[call-overload]
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert not failures, failures[:3]
    return results
