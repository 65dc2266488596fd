"""A call from the door to its answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals import policy
from approvals.models import Invocation
from audit import ledger
from audit.models import Event
from tests.conftest import Agent, MakeAgent, effects, work
from tests.session_kit import open_one
from tools import catalogue, rate_limits
from tools.models import EmergencyStop, Tool

pytestmark = pytest.mark.django_db

RESULT_KEYS = {
    "status", "tool_name", "data", "error", "error_type", "audit_id", "approval_required",
    "approval_id", "message", "attempts", "replayed", "invocation_id", "tool_version",
    "session_id", "request_id", "expires_at", "decision", "arguments_modified", "links",
}  # fmt: skip


def last_event() -> Event:
    """The newest line of the ledger."""
    return Event.objects.newest_first()[0]


def test_a_read_only_call_is_answered_at_once_with_every_field(agent: Agent) -> None:
    body = agent.invoke("echo", value={"a": [1, None]}).json()
    assert body.keys() >= RESULT_KEYS
    assert (body["status"], body["data"], body["attempts"]) == ("success", {"a": [1, None]}, 1)
    assert (body["error"], body["error_type"], body["replayed"]) == (None, None, False)


@pytest.mark.feature("U1")
def test_a_read_only_call_is_one_invocation_and_one_event(agent: Agent) -> None:
    before = Event.objects.count()
    body = agent.invoke("echo", value=1).json()
    assert Event.objects.count() == before + 1
    assert (str(last_event().pk), last_event().status) == (body["audit_id"], "success")
    assert str(Invocation.objects.get().pk) == body["invocation_id"]


def test_a_read_only_call_costs_one_write_and_no_read_once_its_key_is_known(
    agent: Agent, django_assert_num_queries: Any
) -> None:
    client = agent.client
    url, body = "/api/v1/tools/echo/invoke", {"arguments": {"value": 1}}
    client.post(url, body, format="json")
    from django.db import connection

    writes = 1 if connection.vendor == "postgresql" else 3
    with django_assert_num_queries(writes):
        assert client.post(url, body, format="json").status_code == 200


@pytest.mark.feature("X3")
def test_a_writing_call_waits_for_a_worker_and_is_run_once(agent: Agent, trace: Path) -> None:
    answer = agent.invoke("leave_trace", path=str(trace))
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer["Location"] == answer.json()["links"]["self"]
    assert answer["Preference-Applied"] == "respond-async"
    assert effects(trace) == []
    work()
    work()
    assert effects(trace) == ["ran"]
    assert agent.get(answer["Location"].removeprefix("/api/v1/")).json()["data"] == 1


@pytest.mark.feature("I4", "T8", "T6")
def test_identity_in_the_body_is_let_in_and_never_trusted(agent: Agent, trace: Path) -> None:
    forged = {
        "arguments": {"path": str(trace)},
        "actor": "ceo", "scopes": ["*"], "approved": True, "approved_by": "ceo",
        "metadata": {"actor": "ceo", "approved_by": "ceo", "source": "console", "attempts": 99},
    }  # fmt: skip
    body = agent.post("guarded_trace", forged).json()
    assert (body["status"], body["attempts"]) == ("requires_approval", 0)
    event = last_event()
    assert (event.actor, event.source, event.key_prefix) == ("agent", "rest", agent.row.prefix)
    assert event.metadata["caller"]["approved_by"] == "ceo"
    assert "approved_by" not in event.metadata
    row = Invocation.objects.get()
    assert (row.actor, row.key.owner.username) == ("agent", "owner")


@pytest.mark.feature("T18")
def test_an_unknown_tool_is_a_404_problem(agent: Agent) -> None:
    answer = agent.invoke("nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_tool")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_missing_scope_is_named(make_agent: MakeAgent, trace: Path) -> None:
    reader = make_agent("reader", ("kit.read",))
    answer = reader.invoke("leave_trace", path=str(trace))
    assert (answer.status_code, answer.json()["error_type"]) == (403, "ScopeDenied")
    assert answer.json()["error"] == "missing required scope: kit.write"
    assert answer.json()["invocation_id"] is None
    assert (last_event().status, last_event().reason) == ("denied", "scope_denied")


@pytest.mark.feature("I7")
def test_a_key_limited_to_tools_calls_and_sees_no_other(make_agent: MakeAgent) -> None:
    limited = make_agent("limited", tools=["echo"])
    assert limited.invoke("echo", value=1).status_code == 200
    assert limited.invoke("where_am_i").json()["error_type"] == "ScopeDenied"
    assert [tool["name"] for tool in limited.get("tools").json()["tools"]] == ["echo"]


@pytest.mark.feature("P3", "T18")
def test_policies_deny_with_their_message_and_fail_closed(agent: Agent) -> None:
    def refused(tool: str, **arguments: Any) -> tuple[int, str, str]:
        answer = agent.invoke(tool, **arguments)
        return answer.status_code, answer.json()["error_type"], answer.json()["error"]

    assert agent.invoke("on_weekdays", day="monday").status_code == 200
    assert refused("on_weekdays", day="sunday") == (
        403, "PolicyDenied", "policy denied: weekdays_only",
    )  # fmt: skip
    assert refused("judged_slowly", amount=-1) == (403, "PolicyDenied", "a debt is not paid out")
    assert refused("never_judged", day="monday")[:2] == (403, "PolicyError")
    assert (last_event().reason, last_event().status) == ("policy_error", "denied")
    assert "monday" not in (last_event().error or "")


def test_a_policy_that_gives_no_answer_denies() -> None:
    class Question:
        context, values = None, {}

    check = policy.PolicyCheck(lambda *_: 3, "odd", "")
    decision = policy.PythonPolicy(check).verify(Question())  # type: ignore[arg-type]
    assert isinstance(decision, policy.Deny)


@pytest.mark.feature("TD7")
def test_a_tool_that_is_switched_off_is_refused_at_once_and_queued_runs_do_not_start(
    agent: Agent, trace: Path
) -> None:
    queued = agent.invoke("leave_trace", path=str(trace)).json()
    catalogue.set_enabled(Tool.objects.get(name="leave_trace"), False, by="operator")
    catalogue.forget()
    answer = agent.invoke("leave_trace", path=str(trace))
    assert (answer.status_code, answer.json()["error_type"]) == (403, "ToolDisabled")
    assert last_event().reason == "tool_disabled"
    work()
    assert effects(trace) == []
    ended = agent.get(f"invocations/{queued['invocation_id']}").json()
    assert (ended["status"], ended["error_type"]) == ("void", "ToolDisabled")


@pytest.mark.feature("TD7")
def test_the_emergency_stop_closes_every_tool(agent: Agent) -> None:
    EmergencyStop.objects.create(reason="drill", engaged_by="operator")
    catalogue.forget()
    answer = agent.invoke("echo", value=1)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "ToolDisabled")


@pytest.mark.feature("TD1", "T14")
def test_wrong_arguments_are_named_by_path_and_never_by_value(agent: Agent, trace: Path) -> None:
    answer = agent.invoke("pay", path=str(trace), amount=5, card_number=[4111222233334444], x=1)
    assert (answer.status_code, answer.json()["error_type"]) == (422, "InputValidationError")
    assert {fault["path"] for fault in answer.json()["fields"]} == {"card_number", "x"}
    assert "4111" not in json.dumps(answer.json())
    assert "4111" not in str(list(Event.objects.values_list("arguments", "error", "metadata")))


@pytest.mark.feature("X8")
def test_a_result_of_the_wrong_type_is_an_error_without_its_value(agent: Agent) -> None:
    answer = agent.invoke("wrong_result", secret="hunter2-hunter2")
    assert (answer.status_code, answer.json()["error_type"]) == (500, "OutputValidationError")
    assert "hunter2" not in answer.json()["error"]


@pytest.mark.feature("U4", "T14")
def test_a_secret_argument_in_an_error_message_is_redacted(agent: Agent) -> None:
    answer = agent.invoke("fails", pin="9876-5432")
    assert (answer.status_code, answer.json()["error_type"]) == (500, "ValueError")
    assert answer.json()["error"] == "the pin [REDACTED] was refused"
    assert last_event().error == "the pin [REDACTED] was refused"
    assert last_event().arguments == {"pin": "[REDACTED]"}


@pytest.mark.feature("U4")
def test_the_caller_gets_raw_data_and_the_ledger_its_redacted_form(
    agent: Agent, trace: Path
) -> None:
    card = "4111222233334444"
    accepted = agent.invoke("pay", path=str(trace), amount=5, card_number=card).json()
    work()
    ended = agent.get(f"invocations/{accepted['invocation_id']}").json()
    assert ended["data"]["card"] == card
    row = Invocation.objects.get()
    assert row.result == {"count": 1, "card": "[REDACTED]"}
    assert card not in str(list(Event.objects.values()))


@pytest.mark.feature("X1", "T17")
def test_only_what_may_run_again_is_tried_again(agent: Agent, trace: Path) -> None:
    read = agent.invoke("fails_twice", path=str(trace)).json()
    assert (read["status"], read["data"], read["attempts"]) == ("success", 3, 3)
    trace.write_text("")
    agent.invoke("writes_and_fails", path=str(trace))
    work()
    assert effects(trace) == ["effect"]


@pytest.mark.feature("P4")
def test_a_limit_refuses_with_the_time_to_wait(agent: Agent, make_agent: MakeAgent) -> None:
    for _ in range(10):
        assert agent.invoke("ten_an_hour").status_code == 200
    answer = agent.invoke("ten_an_hour")
    assert (answer.status_code, answer.json()["error_type"]) == (429, "RateLimited")
    assert answer.json()["error"] == "rate limit exceeded: 10/hour/user"
    assert 3500 < int(answer["Retry-After"]) <= 3600
    assert make_agent("somebody else").invoke("ten_an_hour").status_code == 200


@pytest.mark.feature("I7")
def test_a_keys_rate_tier_limits_all_its_calls(make_agent: MakeAgent) -> None:
    slow = make_agent("slow", rate_tier="2/hour")
    codes = [slow.invoke("echo", value=n).status_code for n in range(3)]
    assert codes == [200, 200, 429]


def test_a_limiter_that_is_down_refuses(agent: Agent, monkeypatch: MonkeyPatch) -> None:
    def down(*_: Any) -> None:
        raise rate_limits.LimiterUnavailable

    monkeypatch.setattr(rate_limits, "count", down)
    answer = agent.invoke("ten_an_hour")
    assert (answer.status_code, answer.json()["error_type"]) == (503, "LimiterUnavailable")
    assert Invocation.objects.count() == 0


@pytest.mark.feature("X7", "T28")
def test_a_ledger_that_is_down_refuses_and_nothing_is_run(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("echo", value=1)

    def down(*_: Any, **__: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(ledger, "_insert", down)
    for tool, arguments in (
        ("leave_trace", {"path": str(trace)}), ("guarded_trace", {"path": str(trace)}),
        ("echo", {"value": "withheld"}), ("on_weekdays", {"day": "sunday"}),
    ):  # fmt: skip
        answer = agent.invoke(tool, **arguments)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert "withheld" not in answer.content.decode()
    assert Invocation.objects.filter(tool_name__in=["leave_trace", "guarded_trace"]).count() == 0
    assert effects(trace) == []


@pytest.mark.feature("X7")
def test_the_intent_is_written_before_the_effect_and_the_outcome_after(
    agent: Agent, trace: Path
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    work()
    told = list(Event.objects.filter(tool_name="leave_trace", invocation_id__isnull=False))
    names = [event.event for event in reversed(told)]
    assert names == ["invocation:queued", "invocation:started", "invocation:finished"]
    assert [event.status for event in reversed(told)] == ["pending", "pending", "success"]


@pytest.mark.feature("X7", "T28")
def test_an_intent_that_cannot_be_written_leaves_the_call_queued(
    agent: Agent, trace: Path, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("leave_trace", path=str(trace))
    whole = ledger.record

    def down(event: Any, **options: Any) -> Any:
        if event == "invocation:started":
            raise OperationalError("the disk is full")
        return whole(event, **options)

    monkeypatch.setattr(ledger, "record", down)
    with pytest.raises(OperationalError):
        work()
    assert (effects(trace), Invocation.objects.get().status) == ([], "queued")


def test_unruled_writes_are_allowed_held_or_denied_as_the_operator_says(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    words = []
    for word in ("allow", "hold", "deny"):
        settings.RAMPART_UNRULED_WRITES = word
        words.append(agent.invoke("leave_trace", path=str(trace), text=word).json()["status"])
    assert words == ["pending", "requires_approval", "denied"]
    assert agent.invoke("echo", value=1).status_code == 200


def test_calls_are_found_by_either_name_of_a_tool(make_agent: MakeAgent) -> None:
    agent = make_agent(scopes=("rlm.exec",))
    arguments = {"session_id": str(open_one(agent).pk), "code": "1"}
    assert agent.post("rlm_exec_run", {"arguments": arguments}).status_code == 202
    for name in ("rlm.exec.run", "rlm_exec_run"):
        (found,) = agent.get(f"invocations?tool={name}").json()["invocations"]
        assert found["tool_name"] == "rlm.exec.run"
    assert agent.get("invocations?tool=rlm_exec").json()["invocations"] == []


def test_a_tool_is_found_and_a_key_limited_to_it_by_either_name(make_agent: MakeAgent) -> None:
    agent = make_agent(scopes=("rlm.exec",), tools=("rlm_exec_run",))
    assert agent.get("tools/rlm_exec_run").json()["name"] == "rlm.exec.run"
    assert [tool["name"] for tool in agent.get("tools").json()["tools"]] == ["rlm.exec.run"]


@pytest.mark.feature("H4", "T20")
def test_a_key_sees_its_own_calls_only(agent: Agent, make_agent: MakeAgent) -> None:
    mine = agent.invoke("echo", value=1).json()["invocation_id"]
    other = make_agent("other")
    assert other.get(f"invocations/{mine}").status_code == 404
    assert other.get("invocations").json()["invocations"] == []
    listed = agent.get("invocations?status=success&tool=echo").json()["invocations"]
    assert [row["invocation_id"] for row in listed] == [mine]
    assert agent.get("invocations?status=pending").json()["invocations"] == []
    assert agent.get("invocations?status=nonsense").status_code == 400


@pytest.mark.feature("H4")
def test_a_tool_out_of_scope_is_not_listed(make_agent: MakeAgent) -> None:
    reader = make_agent("reader", ("kit.read",))
    names = {tool["name"] for tool in reader.get("tools").json()["tools"]}
    assert "echo" in names
    assert "leave_trace" not in names
    assert {tool["name"] for tool in reader.get("mcp/tools").json()["tools"]} == names
    assert reader.get("tools/leave_trace").status_code == 404


@pytest.mark.feature("U1")
def test_every_outcome_is_exactly_one_row_of_its_status(agent: Agent, trace: Path) -> None:
    """One call for each status that a call can end in at the door or inline."""
    path = str(trace)
    calls: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
        ("success", "echo", {"value": 1}, {}),
        ("validation_error", "echo", {"nonsense": 1}, {}),
        ("denied", "on_weekdays", {"day": "sunday"}, {}),
        ("error", "fails", {"pin": "1234"}, {}),
        ("requires_approval", "guarded_trace", {"path": path}, {}),
        ("pending", "leave_trace", {"path": path}, {"Idempotency-Key": "k"}),
        ("idempotency_conflict", "leave_trace", {"path": path}, {"Idempotency-Key": "k"}),
        ("idempotency_conflict", "once", {"path": path}, {}),
    ]
    for status, tool, arguments, headers in calls:
        before = Event.objects.count()
        assert agent.invoke(tool, headers=headers, **arguments).json()["status"] == status
        assert Event.objects.count() == before + 1
        assert (last_event().status, last_event().tool_name) == (status, tool)
        assert last_event().request_id
