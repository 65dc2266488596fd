"""Every error of the API has one shape, and none shows what happened inside."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.test import Client
from pytest import MonkeyPatch
from pytest_django import Settings
from rest_framework.test import APIClient

from audit import ledger
from audit.models import Event
from rampart import problems
from tests.conftest import Agent, MakeAgent, as_person
from tests.processes import ROOT
from tools import keys, views
from tools.models import ApiKey

pytestmark = pytest.mark.django_db

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}
INVOKE = "/api/v1/tools/echo/invoke"


def check(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Assert that the answer is this problem; returns its members."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    assert set(body) == MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"].endswith(f"/problems/{code}") and code in problems.CODES
    assert body["title"] and body["detail"]
    assert body["request_id"] == answer["X-Request-ID"]
    assert "Traceback" not in answer.content.decode()
    return body


# Each status.


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v2/tools", "/api/", "/api/v1/tools/", "/api/v1/approvals/12"]
)
def test_an_unknown_path_is_404(path: str) -> None:
    check(APIClient().get(path), 404, "not_found")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_tool_is_404(agent: Agent, method: str) -> None:
    path = "/api/v1/tools/nothing" + ("/invoke" if method == "post" else "")
    check(getattr(agent.client, method)(path, {}, format="json"), 404, "unknown_tool")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("path", ["invocations", "approvals"])
def test_what_is_not_there_is_404(agent: Agent, path: str) -> None:
    check(agent.get(f"{path}/01890000-0000-7000-8000-000000000000"), 404, "not_found")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", INVOKE), ("put", INVOKE), ("delete", "/api/v1/tools"), ("post", "/api/v1/audit"),
        ("patch", "/api/v1/invocations"), ("post", "/api/v1/health"), ("put", "/api/v1/ready"),
    ],
)  # fmt: skip
def test_another_method_is_405(agent: Agent, method: str, path: str) -> None:
    answer = getattr(agent.client, method)(path)
    check(answer, 405, "method_not_allowed")
    assert answer["Allow"]


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "json"]
)
def test_a_body_that_is_not_json_by_its_type_is_415(agent: Agent, media_type: str) -> None:
    answer = agent.client.generic("POST", INVOKE, b'{"arguments":{}}', content_type=media_type)
    check(answer, 415, "unsupported_media_type")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml"])
def test_json_is_taken_and_given_whatever_accept_says(
    agent: Agent, media_type: str, accept: str
) -> None:
    answer = agent.client.generic(
        "POST", INVOKE, b'{"arguments":{"value":1}}', content_type=media_type, HTTP_ACCEPT=accept
    )
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


@pytest.mark.feature("H2", "E27")
def test_a_body_in_chunks_is_411_and_never_a_call_without_arguments(agent: Agent) -> None:
    answer = agent.client.post(
        INVOKE, {"arguments": {}}, format="json", headers={"Transfer-Encoding": "chunked"}
    )
    check(answer, 411, "length_required")


@pytest.mark.feature("H2", "E27")
def test_no_credentials_and_bad_ones_are_401(db: None) -> None:
    check(APIClient().get("/api/v1/tools"), 401, "not_authenticated")
    headers = {"X-Rampart-Key": keys.new_key().text}
    check(APIClient().get("/api/v1/tools", headers=headers), 401, "invalid_credentials")


@pytest.mark.feature("H2", "E27")
def test_what_one_may_not_do_is_403(agent: Agent, owner: User) -> None:
    check(agent.get("audit"), 403, "scope_denied")
    check(as_person(owner).post(INVOKE, {}, format="json"), 403, "key_required")
    path = "/api/v1/approvals/01890000-0000-7000-8000-000000000000/approve"
    check(agent.client.post(path), 403, "machine_cannot_approve")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("path", [INVOKE, "/api/v1/approvals/x/approve"])
def test_a_session_without_its_csrf_token_is_403(reviewer: User, path: str) -> None:
    path = path.replace("/x/", "/01890000-0000-7000-8000-000000000000/")
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(reviewer)
    check(client.post(path, {}, format="json"), 403, "csrf_failed")


@pytest.mark.feature("H2", "E27")
def test_another_host_is_400(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["rampart.example"]
    check(APIClient().get("/api/v1/tools", headers={"Host": "evil.example"}), 400, "bad_request")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('{"arguments": 5}', "arguments"),
        ('{"session_id": "x"}', "session_id"),
        ('{"idempotency_key": 5}', "idempotency_key"),
        ('["hush"]', "object"),
        ('"hush"', "object"),
        ("5", "object"),
        ("0", "object"),
        ("null", "object"),
        ("[]", "object"),
        ('""', "object"),
    ],
)
def test_a_body_of_another_form_is_400(agent: Agent, body: str, what: str) -> None:
    answer = agent.client.generic("POST", INVOKE, body, content_type="application/json")
    detail = check(answer, 400, "invalid_request")["detail"]
    assert what in detail and "hush" not in detail


@pytest.fixture
def _broken_view(monkeypatch: MonkeyPatch) -> None:
    def callable_tools(user: Any) -> Any:
        raise RuntimeError("the vault's combination is 12345")

    monkeypatch.setattr(views, "callable_tools", callable_tools)


@pytest.mark.feature("H2", "E27")
@pytest.mark.usefixtures("_broken_view")
def test_a_bug_is_500_and_says_nothing_of_itself(agent: Agent) -> None:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {agent.key}")
    answer = client.get("/api/v1/tools", headers={"X-Request-ID": "abc"})
    assert "12345" not in answer.content.decode()
    assert check(answer, 500, "internal_error")["request_id"] == "abc"
    assert "Content-Security-Policy" in answer


@pytest.fixture
def dead_database(monkeypatch: MonkeyPatch) -> None:
    """Every statement fails as on a lost connection; a real loss would end the test's own."""

    def execute(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        raise OperationalError("server closed the connection: host=10.9.8.7 password=hunter2")

    monkeypatch.setattr(CursorWrapper, "execute", execute)
    monkeypatch.setattr(CursorWrapper, "executemany", execute)


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/tools"), ("get", "/api/v1/audit"), ("get", "/api/v1/invocations"),
        ("post", INVOKE),
    ],
)  # fmt: skip
def test_a_database_that_is_down_is_503(
    agent: Agent, method: str, path: str, dead_database: None
) -> None:
    answer = getattr(agent.client, method)(path, {}, format="json")
    assert "hunter2" not in answer.content.decode()
    check(answer, 503, "database_unavailable")


@pytest.mark.feature("H2", "E27")
def test_a_session_while_the_database_is_down_is_503(reviewer: User, request: Any) -> None:
    client = as_person(reviewer)
    request.getfixturevalue("dead_database")
    check(client.get("/api/v1/approvals"), 503, "database_unavailable")


@pytest.mark.feature("H2", "E27")
def test_a_refusal_stands_though_it_cannot_be_written_down(monkeypatch: MonkeyPatch) -> None:
    def record(*args: Any, **options: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(ledger, "record", record)
    check(APIClient().get("/api/v1/tools"), 401, "not_authenticated")


@pytest.mark.feature("H2", "E27")
@pytest.mark.parametrize("query", ["tool=%00", "since=%00", "cursor=%00", "limit=1%00", "x=a%00b"])
@pytest.mark.parametrize("path", ["invocations", "approvals", "audit"])
def test_nul_in_a_query_is_never_a_failure_of_ours(
    make_agent: MakeAgent, path: str, query: str
) -> None:
    """No text in PostgreSQL holds NUL: it is found nowhere, or it is refused."""
    answer = make_agent(scopes=("*",)).get(f"{path}?{query}")
    if answer.status_code != 200:
        check(answer, 400, answer.json()["code"])


# The same in words.


def _codes(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.keyword) and found.arg == "code":
            if isinstance(found.value, ast.Constant) and isinstance(found.value.value, str):
                yield found.value.value
        elif (
            isinstance(found, ast.Assign)
            and any(getattr(target, "id", "") == "default_code" for target in found.targets)
            and isinstance(found.value, ast.Constant)
        ):
            yield str(found.value.value)


@pytest.mark.feature("H2")
def test_every_code_that_our_code_uses_is_explained() -> None:
    used = {
        code
        for room in ("rampart", "approvals", "tools", "audit")
        for path in (ROOT / room).rglob("*.py")
        if path.name not in ("admin.py", "forms.py")
        for code in _codes(ast.parse(path.read_text()))
    }
    assert len(used) > 12
    assert used <= set(problems.CODES)
    assert {code for _, code in problems.PLAIN_EXCEPTIONS.values()} <= set(problems.CODES)
    assert set(problems.REST_FRAMEWORK_NAMES.values()) <= set(problems.CODES)


@pytest.mark.feature("E27")
def test_a_type_is_below_the_public_url(settings: Settings) -> None:
    settings.RAMPART_PUBLIC_URL = "https://rampart.example"
    body = check(APIClient().get("/api/v1/tools"), 401, "not_authenticated")
    assert body["type"] == "https://rampart.example/problems/not_authenticated"


def test_errors_outside_the_api_are_pages(reviewer: User) -> None:
    answer = Client().get("/nothing")
    assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (404, "text/html")
    strict = Client(enforce_csrf_checks=True)
    refused = strict.post("/admin/login/", {"username": "x", "password": "y"})
    assert (refused.status_code, refused["Content-Type"].partition(";")[0]) == (403, "text/html")


def test_nothing_was_stored_of_a_request_that_was_refused(agent: Agent) -> None:
    before = (Event.objects.count(), ApiKey.objects.count())
    agent.client.generic("POST", INVOKE, b"{", content_type="application/json")
    assert (Event.objects.count(), ApiKey.objects.count()) == before
    assert connection.is_usable()
