"""Messages are JSON, and nothing of ours pickles."""

import ast

import pytest
from kombu.exceptions import ContentDisallowed
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
