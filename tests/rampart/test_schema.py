"""The API says of itself what it does: the document, its page, and real answers held against it."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from rest_framework.test import APIClient

from approvals import examples
from approvals.models import Approval
from approvals.results import HTTP_STATUS
from rampart.operations import OPERATIONS
from rampart.problems import CODES, MEDIA_TYPE
from tests.conftest import Agent, MakeAgent, as_person, held, work

pytestmark = pytest.mark.django_db

JSON = "application/json"
BASE = "/api/v1"
INVOKE = "POST /tools/{name}/invoke"
AN_ID = "01890000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as the command draws it, which fails on any warning."""
    out = StringIO()
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=out
    )
    drawn: dict[str, Any] = json.loads(out.getvalue())
    return drawn


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation by its method and its path below the base."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path.removeprefix(BASE)}", operation


def against(document: dict[str, Any], *pointer: str | int) -> Draft202012Validator:
    """The validator of what stands at this place in the document."""
    steps = (quote(str(step).replace("~", "~0").replace("/", "~1")) for step in pointer)
    whole = Resource(contents=document, specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:document", whole)
    place = {"$ref": f"urn:document#/{'/'.join(steps)}"}
    return Draft202012Validator(place, registry=registry, format_checker=None)


def hold_against(document: dict[str, Any], name: str, answer: Any) -> Any:
    """Assert that the operation may give this answer; returns its JSON."""
    method, path = name.split()
    described = document["paths"][BASE + path][method.lower()]["responses"]
    assert str(answer.status_code) in described, answer.content
    media_type = answer["Content-Type"]
    headers = described[str(answer.status_code)]["headers"]
    required = {name for name, header in headers.items() if header.get("required")}
    assert {"X-Request-ID", *required} <= set(answer.headers)
    place = ("paths", BASE + path, method.lower(), "responses", answer.status_code, "content")
    against(document, *place, media_type, "schema").validate(answer.json())
    return answer.json()


# The document.


@pytest.mark.feature("H6")
def test_the_schema_is_openapi_3_1_and_is_drawn_without_a_warning(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "Rampart"


@pytest.mark.feature("H6")
def test_the_schema_that_is_served_is_the_one_that_is_drawn(document: dict[str, Any]) -> None:
    answer = APIClient().get(f"{BASE}/schema")
    assert (answer.status_code, answer["Content-Type"]) == (200, JSON)
    assert answer.json() == document


def _routes(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith(BASE):
            yield path.replace("<str:", "{").replace("<uuid:", "{").replace(">", "}")


@pytest.mark.feature("H6")
def test_every_address_of_the_api_is_described_and_no_other(document: dict[str, Any]) -> None:
    """But for the page that shows it, which is for people, and for what Prometheus reads."""
    elsewhere = {f"{BASE}/docs", f"{BASE}/metrics"}
    assert {*document["paths"], *elsewhere} == set(_routes(get_resolver().url_patterns))
    assert sorted(name for name, _ in operations(document)) == sorted(OPERATIONS)
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids) == len(OPERATIONS)


@pytest.mark.feature("H2", "H6")
def test_every_problem_is_an_answer_somewhere() -> None:
    """But for methods that no operation has."""
    named = {
        code
        for operation in OPERATIONS.values()
        for codes in operation.problems.values()
        for code in codes
    }
    assert set(CODES) - named == {"method_not_allowed"}


@pytest.mark.feature("E27", "H6")
def test_every_refusal_is_a_problem_with_its_codes(document: dict[str, Any]) -> None:
    codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert codes == list(CODES)
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"], name
            assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"]), name
            if status == "401":
                assert response["headers"]["WWW-Authenticate"]["required"], name
            if status >= "400" and name != INVOKE and name != "GET /ready":
                assert list(response["content"]) == [MEDIA_TYPE], name


@pytest.mark.feature("H6")
def test_who_may_call_is_said_of_each_operation(document: dict[str, Any]) -> None:
    keys = [{"bearer": []}, {"X-Rampart-Key": []}, {"X-ToolRampart-Key": []}]
    reading, writing = {"session": []}, {"session": [], "csrf": []}
    for name, operation in operations(document):
        person = reading if name.startswith("GET") else writing
        expected: list[dict[str, Any]] = [*keys, {"proxy": []}, person]
        if name in ("GET /health", "GET /ready"):
            expected = []
        if name == "GET /schema":
            expected.append({})
        assert operation.get("security", []) == expected, name


@pytest.mark.feature("H3", "H6")
def test_parameters_have_their_bounds(document: dict[str, Any]) -> None:
    def schema_of(name: str, parameter: str) -> dict[str, Any]:
        described = dict(operations(document))[name]["parameters"]
        (found,) = (each["schema"] for each in described if each["name"] == parameter)
        return dict(found)

    for name in ("GET /invocations", "GET /approvals", "GET /audit"):
        assert schema_of(name, "limit").items() >= {"minimum": 1, "maximum": 200}.items()
        assert schema_of(name, "cursor")["type"] == "string"
    wait = schema_of("GET /invocations/{invocation_id}", "wait")
    assert wait.items() >= {"minimum": 0, "maximum": 60}.items()


# Examples.


@pytest.mark.feature("H6")
@pytest.mark.parametrize("status", sorted(HTTP_STATUS))
def test_every_status_of_a_call_has_an_example_that_fits(
    document: dict[str, Any], status: str
) -> None:
    place = ("paths", f"{BASE}/tools/{{name}}/invoke", "post", "responses", HTTP_STATUS[status])
    content = dict(operations(document))[INVOKE]["responses"][str(HTTP_STATUS[status])]["content"]
    shown = [example["value"] for example in content[JSON]["examples"].values()]
    (example,) = (value for value in shown if value["status"] == status)
    validator = against(document, *place, "content", JSON, "schema")
    validator.validate(example)
    for wrong in ({"status": "fine"}, {"replayed": "no"}, {"more": 1}):
        with pytest.raises(ValidationError):
            validator.validate(example | wrong)


@pytest.mark.feature("H6")
@pytest.mark.parametrize("name", examples.REQUESTS)
def test_every_example_of_a_request_fits_and_is_taken(
    document: dict[str, Any], make_agent: MakeAgent, name: str
) -> None:
    body = examples.REQUESTS[name]
    against(document, "components", "schemas", "InvokeBody").validate(body)
    answer = make_agent(scopes=("*",)).post("refund_payment", body)
    hold_against(document, INVOKE, answer)
    assert answer.status_code in (202, 403)


# ToolRampart's addresses and statuses, each answered for real.


@pytest.mark.feature("H1")
@pytest.mark.parametrize(
    "path", ["health", "tools", "mcp/tools", "approvals", "audit", "schema", "key"]
)
def test_what_is_read_is_there_and_as_described(
    document: dict[str, Any], make_agent: MakeAgent, trace: Path, path: str
) -> None:
    agent = make_agent(scopes=("*",))
    held(agent, trace)
    query = "?limit=100" if path in ("approvals", "audit") else ""
    body = hold_against(document, f"GET /{path}", agent.get(path + query))
    assert body.get(path.removeprefix("mcp/").replace("audit", "events"), True)


@pytest.mark.feature("H1", "I3")
def test_a_new_key_is_there_and_as_described(
    document: dict[str, Any], make_agent: MakeAgent
) -> None:
    agent = make_agent(scopes=("*",))
    answer = agent.client.post("/api/v1/key/rotate", {"overlap": "0d"}, format="json")
    body = hold_against(document, "POST /key/rotate", answer)
    assert body["key"].startswith(body["prefix"])


@pytest.mark.feature("H1", "B1", "B3", "B5")
def test_sessions_are_there_and_as_described(document: dict[str, Any], agent: Agent) -> None:
    usual = hold_against(document, "POST /sessions", agent.client.post(f"{BASE}/sessions"))
    body = {"config": {"max_tool_calls": 1}}
    answer = agent.client.post(f"{BASE}/sessions", body, format="json")
    session = hold_against(document, "POST /sessions", answer)["session_id"]
    against(document, "components", "schemas", "SessionBody").validate({"config": usual["config"]})
    for error_type in ("ValueError", "BudgetExceeded"):
        answer = agent.post("fails", {"arguments": {"pin": "1"}, "session_id": session})
        assert hold_against(document, INVOKE, answer)["error_type"] == error_type
    path = f"{BASE}/sessions/{session}"
    hold_against(document, "GET /sessions/{session_id}", agent.client.get(path))
    for _ in range(2):
        hold_against(document, "DELETE /sessions/{session_id}", agent.client.delete(path))
    for query in ("", "?export_json=true"):
        report = agent.client.get(f"{path}/provenance{query}")
        assert hold_against(document, "GET /sessions/{session_id}/provenance", report)["calls"]
    gone = agent.post("echo", {"session_id": session})
    assert hold_against(document, INVOKE, gone)["code"] == "session_not_found"
    wrong = agent.client.post(f"{BASE}/sessions", {"config": {"max_depth": 0}}, format="json")
    assert hold_against(document, "POST /sessions", wrong)["code"] == "invalid_session_config"


@pytest.mark.feature("H1")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_decision_is_there_and_as_described(
    document: dict[str, Any], agent: Agent, trace: Path, reviewer: User, verb: str
) -> None:
    approval, rosa = held(agent, trace), as_person(reviewer)
    path, name = f"{BASE}/approvals/{approval.pk}", f"POST /approvals/{{approval_id}}/{verb}"
    for client, status in ((agent.client, 403), (rosa, 200), (rosa, 409)):
        answer = client.post(f"{path}/{verb}", {"note": "seen"}, format="json")
        assert hold_against(document, name, answer) and answer.status_code == status
    hold_against(document, "GET /approvals/{approval_id}", rosa.get(path))
    hold_against(document, "GET /approvals", rosa.get(f"{BASE}/approvals"))
    hold_against(document, "GET /audit", rosa.get(f"{BASE}/audit"))


def _rejected(agent: Agent, reviewer: User, trace: Path) -> Any:
    approval = held(agent, trace)
    as_person(reviewer).post(f"{BASE}/approvals/{approval.pk}/reject", {}, format="json")
    body = {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    return agent.post("guarded_trace", body)


def _cancelled(agent: Agent, reviewer: User, trace: Path) -> Any:
    approval = held(agent, trace)
    agent.client.post(f"{BASE}/approvals/{approval.pk}/cancel")
    body = {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    return agent.post("guarded_trace", body)


def _expired(agent: Agent, reviewer: User, trace: Path) -> Any:
    approval = held(agent, trace)
    Approval.objects.update(expires_at=approval.requested_at)
    body = {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    return agent.post("guarded_trace", body)


def _of_another_action(agent: Agent, reviewer: User, trace: Path) -> Any:
    body = {"arguments": {"path": "elsewhere"}, "approval_id": str(held(agent, trace).pk)}
    return agent.post("guarded_trace", body)


def _twice_at_once(agent: Agent, reviewer: User, trace: Path) -> Any:
    return [agent.invoke("leave_trace", headers=K, path=str(trace)) for _ in range(2)][1]


def _twice_in_an_hour(agent: Agent, reviewer: User, trace: Path) -> Any:
    return [agent.invoke("once_an_hour", path=str(trace)) for _ in range(2)][1]


def _hanging(agent: Agent, reviewer: User, trace: Path) -> Any:
    agent.invoke("hangs_with_children", headers=K, path=str(trace))
    work()
    return agent.invoke("hangs_with_children", headers=K, path=str(trace))


K = {"Idempotency-Key": "k"}
PROVOKED: dict[str, tuple[str, int, str | None, Any]] = {
    "success": ("success", 200, None, lambda a, r, t: a.invoke("echo", value=1)),
    "wrong arguments": (
        "validation_error", 422, "InputValidationError", lambda a, r, t: a.invoke("echo", x=1),
    ),
    "out of scope": (
        "denied", 403, "ScopeDenied", lambda a, r, t: a.invoke("lookup_order", order_id="A"),
    ),
    "against a policy": (
        "denied", 403, "PolicyDenied", lambda a, r, t: a.invoke("on_weekdays", day="sunday"),
    ),
    "another action": ("denied", 403, "ActionMismatch", _of_another_action),
    "held": (
        "requires_approval", 202, "ApprovalRequired",
        lambda a, r, t: a.invoke("guarded_trace", path=str(t)),
    ),
    "queued": ("pending", 202, None, lambda a, r, t: a.invoke("leave_trace", path=str(t))),
    "rejected": ("rejected", 403, "ApprovalRejected", _rejected),
    "cancelled": ("cancelled", 409, "Cancelled", _cancelled),
    "expired": ("expired", 410, "ApprovalExpired", _expired),
    "once too often": ("rate_limited", 429, "RateLimited", _twice_in_an_hour),
    "a key in use": ("idempotency_conflict", 409, "IdempotencyInProgress", _twice_at_once),
    "a key missing": (
        "idempotency_conflict", 400, "IdempotencyKeyRequired",
        lambda a, r, t: a.invoke("once", path=str(t)),
    ),
    "too slow": ("timeout", 504, "TimeoutError", _hanging),
    "failing": ("error", 500, "ValueError", lambda a, r, t: a.invoke("fails", pin="1234")),
    "a wrong result": (
        "error", 500, "OutputValidationError",
        lambda a, r, t: a.invoke("wrong_result", secret="x"),
    ),
}  # fmt: skip


@pytest.mark.feature("H1")
@pytest.mark.parametrize("how", PROVOKED)
def test_every_status_has_its_http_status_and_is_as_described(
    document: dict[str, Any], agent: Agent, reviewer: User, trace: Path, how: str
) -> None:
    status, http_status, error_type, provoke = PROVOKED[how]
    answer = provoke(agent, reviewer, trace)
    body = hold_against(document, INVOKE, answer)
    assert (body["status"], answer.status_code) == (status, http_status)
    assert body["error_type"] == error_type
    if body["invocation_id"]:
        name, path = "GET /invocations/{invocation_id}", f"invocations/{body['invocation_id']}"
        assert hold_against(document, name, agent.get(path))["status"] == status
        hold_against(document, "GET /invocations", agent.get("invocations"))


@pytest.mark.feature("H7")
def test_a_wrong_key_in_the_body_is_refused_though_a_header_beats_it(agent: Agent) -> None:
    answer = agent.post("echo", {"idempotency_key": ""}, headers=K)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_null_counts_as_not_given(document: dict[str, Any], agent: Agent) -> None:
    names = document["components"]["schemas"]["InvokeBody"]["properties"]
    body = dict.fromkeys(names)
    against(document, "components", "schemas", "InvokeBody").validate(body)
    assert agent.post("echo", body).status_code == 200


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_note_that_no_column_holds_does_not_hinder_the_decision(
    document: dict[str, Any], agent: Agent, trace: Path, reviewer: User, verb: str
) -> None:
    path = f"{BASE}/approvals/{held(agent, trace).pk}/{verb}"
    note = {"note": "a\0b", "reason_to_agent": "c\0d"}
    answer = as_person(reviewer).post(path, note, format="json")
    body = hold_against(document, f"POST /approvals/{{approval_id}}/{verb}", answer)
    assert answer.status_code == 200
    assert "\0" not in body["approval"]["resolution_note"] + body["approval"]["reason_to_agent"]


@pytest.mark.parametrize("path", ["invocations", "approvals", "audit"])
def test_what_no_column_holds_is_found_nowhere(make_agent: MakeAgent, path: str) -> None:
    answer = make_agent(scopes=("*",)).get(f"{path}?tool=a%00b")
    assert (answer.status_code, answer.json()[path.replace("audit", "events")]) == (200, [])


# Methods.


@pytest.mark.feature("E27")
def test_head_answers_as_get_does_without_the_body(agent: Agent) -> None:
    for path in ("health", "schema", "docs", "tools", "invocations", "audit", "tools/none"):
        read, head = agent.get(path), agent.client.head(f"{BASE}/{path}")
        assert (head.status_code, head["Content-Type"]) == (read.status_code, read["Content-Type"])


@pytest.mark.feature("E27")
@pytest.mark.parametrize("path", ["tools", "invocations", f"approvals/{AN_ID}/approve", "schema"])
def test_options_says_which_methods_there_are_and_nothing_of_ours(agent: Agent, path: str) -> None:
    answer = agent.client.options(f"{BASE}/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (200, JSON)
    verb = "POST" if path.endswith("approve") else "GET"
    assert {verb, "OPTIONS"} <= set(answer["Allow"].split(", ")) <= {verb, "HEAD", "OPTIONS"}
    assert set(answer.json()) == {"name", "description", "renders", "parses"}


@pytest.mark.feature("E27")
def test_options_of_what_is_not_open_wants_a_key() -> None:
    answer = APIClient().options(f"{BASE}/tools")
    assert (answer.status_code, answer["Content-Type"]) == (401, MEDIA_TYPE)


@pytest.mark.feature("E27")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "COPY"])
@pytest.mark.parametrize("path", ["health", "tools", "schema", "docs"])
def test_another_method_is_a_problem_that_says_which_are_allowed(
    agent: Agent, path: str, method: str
) -> None:
    answer = agent.client.generic(method, f"{BASE}/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (405, MEDIA_TYPE)
    assert "GET" in answer["Allow"] and method not in answer["Allow"]
    assert agent.key not in answer.content.decode()


# Who may read it, and the page.


@pytest.mark.feature("H6")
def test_schema_and_page_are_open_and_tell_of_no_tool(agent: Agent) -> None:
    for path in ("schema", "docs"):
        answer = APIClient().get(f"{BASE}/{path}")
        assert answer.status_code == 200
        assert "guarded_trace" not in answer.content.decode()


@pytest.mark.parametrize("path", ["schema", "docs"])
def test_bad_credentials_are_refused_even_where_none_are_needed(path: str) -> None:
    answer = APIClient().get(f"{BASE}/{path}", headers={"Authorization": "Bearer rmp_x"})
    assert (answer.status_code, answer["Content-Type"]) == (401, MEDIA_TYPE)


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    answer = APIClient().get(f"{BASE}/docs")
    page = answer.content.decode()
    assert page.count("<script") == page.count("<script src=") == 2
    assert "<style" not in page and "style=" not in page and "//" not in page
    assert "unsafe" not in answer["Content-Security-Policy"]
