"""Messages are JSON, and nothing of ours pickles."""

import ast
import socket
from contextlib import suppress
from threading import Thread

import pytest
from kombu.exceptions import ContentDisallowed, OperationalError
from kombu.serialization import dumps, loads
from pytest_django import Settings

from rampart.celery import app
from rampart.checks import messages_are_json
from tests.processes import ROOT

FIRST_PARTY = ("rampart", "approvals", "audit", "tools", "sandbox")
CODE_IN_DISGUISE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


@pytest.mark.feature("S7")
def test_celery_reads_and_writes_json_alone() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == app.conf.result_serializer == "json"
    content_type, encoding, body = dumps({"a": 1}, serializer="pickle")
    with pytest.raises(ContentDisallowed):
        loads(body, content_type, encoding, accept=app.conf.accept_content)


@pytest.mark.feature("S7")
def test_the_settings_pass_the_check() -> None:
    assert messages_are_json() == []


@pytest.mark.feature("S7")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CELERY_ACCEPT_CONTENT", ["json", "pickle"]),
        ("CELERY_ACCEPT_CONTENT", ["application/x-python-serialize"]),
        ("CELERY_ACCEPT_CONTENT", ["yaml"]),
        ("CELERY_RESULT_ACCEPT_CONTENT", ["pickle"]),
        ("CELERY_TASK_SERIALIZER", "pickle"),
        ("CELERY_RESULT_SERIALIZER", "yaml"),
        ("CELERY_EVENT_SERIALIZER", "msgpack"),
    ],
)
def test_anything_else_is_rampart_e001(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    (found,) = messages_are_json()
    assert found.id == "rampart.E001" and name in found.msg


@pytest.mark.postgres
@pytest.mark.feature("K5")
def test_a_redis_that_hangs_up_is_asked_once_for_each_message() -> None:
    """The caller is waiting, and the queued row has the message sent again."""
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked.append(connection)
                    connection.close()

        thread = Thread(target=hang_up)
        thread.start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with app.connection_for_write(url) as connection, pytest.raises(OperationalError):
            app.send_task("approvals.run", args=["an id"], connection=connection, retry=False)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert 1 <= len(asked) <= 2  # Of which one may be a reconnection by the client itself.


@pytest.mark.feature("S7")
def test_nothing_of_ours_imports_or_asks_for_a_pickle() -> None:
    for room in FIRST_PARTY:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names: set[str] = set()
                if isinstance(node, ast.Import):
                    names = {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names = {(node.module or "").partition(".")[0]}
                elif isinstance(node, ast.keyword) and node.arg == "serializer":
                    names = {ast.unparse(node.value).strip("'\"")}
                assert not names & CODE_IN_DISGUISE, path
