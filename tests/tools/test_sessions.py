"""Sessions: opened with budgets below the key's ceilings, and nobody's but their caller's."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from audit.models import Event, local_now, new_id
from tests.conftest import Agent, MakeAgent, as_person
from tests.session_kit import ask_for, call, close, now, open_one
from tools import sessions
from tools.budgets import USUAL, Budgets, within
from tools.key_cabinet import create_key, rotate_key
from tools.models import ApiKey, Session

pytestmark = pytest.mark.django_db

ADDRESSES = ("", "/provenance")
AS_DOCUMENTED = {
    "max_depth": 10, "max_iterations": 30, "max_tool_calls": 100,
    "timeout_ms": 300_000, "max_output_bytes": 10_485_760,
}  # fmt: skip


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# Budgets.


@pytest.mark.feature("B1")
@pytest.mark.parametrize("body", [None, {}, {"config": {}}, {"config": None}])
def test_a_session_has_the_usual_budgets_unless_others_are_asked_for(
    agent: Agent, body: Any
) -> None:
    answer = ask_for(agent, body)
    assert answer.status_code == 201
    assert set(answer.json()) == {"session_id", "config", "created_at"}
    assert answer.json()["config"] == AS_DOCUMENTED
    assert answer["Location"] == f"/api/v1/sessions/{answer.json()['session_id']}"


@pytest.mark.feature("B1", "R15")
def test_a_caller_may_ask_for_less_and_the_rest_is_as_usual(agent: Agent) -> None:
    answer = ask_for(agent, {"config": {"max_tool_calls": 1, "timeout_ms": 1000}})
    assert answer.json()["config"] == AS_DOCUMENTED | {"max_tool_calls": 1, "timeout_ms": 1000}


@pytest.mark.feature("B1", "R15")
@pytest.mark.parametrize("name", AS_DOCUMENTED)
def test_nobody_asks_for_more_than_the_key_s_ceiling(agent: Agent, name: str) -> None:
    highest = AS_DOCUMENTED[name]
    assert ask_for(agent, {"config": {name: highest}}).status_code == 201
    answer = ask_for(agent, {"config": {name: highest + 1}})
    assert problem(answer) == (422, "invalid_session_config")
    told = f"config.{name}: {highest + 1} is above this key's ceiling of {highest}"
    assert answer.json()["detail"] == told


@pytest.mark.feature("B1", "R15")
def test_everything_that_is_wrong_is_named_at_once(agent: Agent) -> None:
    asked = {"max_depth": 11, "max_tool_calls": 10**9, "max_iterations": 5, "colour": "red"}
    told = ask_for(agent, {"config": asked}).json()["detail"]
    assert told == (
        "config.max_depth: 11 is above this key's ceiling of 10; "
        "config.max_tool_calls: 1000000000 is above this key's ceiling of 100; "
        f"config.colour: there is no such budget; there are {', '.join(AS_DOCUMENTED)}"
    )
    assert not Session.objects.exists()


@pytest.mark.feature("B1", "R20")
@pytest.mark.parametrize(
    "name", ["max_calls", "max_tool_calls ", "", "__class__", "\u202e", "config"]
)
def test_an_unknown_budget_is_named_and_refused(agent: Agent, name: str) -> None:
    answer = ask_for(agent, {"config": {name: 1}})
    assert problem(answer) == (422, "invalid_session_config")
    assert f"config.{name}: there is no such budget" in answer.json()["detail"]


@pytest.mark.feature("B1")
def test_a_whole_number_may_have_a_point(agent: Agent) -> None:
    """By JSON Schema 5.0 is an integer, and some languages write all numbers so."""
    answer = ask_for(agent, {"config": {"max_tool_calls": 5.0}})
    assert (answer.status_code, answer.json()["config"]["max_tool_calls"]) == (201, 5)


@pytest.mark.feature("B1", "R15", "R20")
@pytest.mark.parametrize("number", [0, -1, True, False, "5", 0.5, -5.0, None, [], {}, [5]])
def test_what_is_no_whole_number_from_one_is_refused(agent: Agent, number: Any) -> None:
    answer = ask_for(agent, {"config": {"max_tool_calls": number}})
    assert problem(answer) == (422, "invalid_session_config")
    assert answer.json()["detail"] == "config.max_tool_calls: a whole number from 1"


@pytest.mark.feature("B1", "R15")
def test_a_number_of_four_thousand_digits_is_refused_in_a_few_words(agent: Agent) -> None:
    answer = ask_for(agent, {"config": {"timeout_ms": 10**4000, "x" * 5000: 1}})
    assert problem(answer) == (422, "invalid_session_config")
    assert len(answer.json()["detail"]) < 400


@pytest.mark.feature("B1")
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"config": {"max_depth": NaN}}', 400), ('{"config": {"max_depth": 1e999}}', 400),
        ("[]", 400), ('{"config": []}', 422), ('{"config": "x"}', 422),
        ('{"max_tool_calls": 5}', 422), ('{"config": {}, "actor": "me"}', 422),
    ],
)  # fmt: skip
def test_a_body_that_means_something_else_opens_nothing(
    agent: Agent, text: str, status: int
) -> None:
    answer = agent.client.post("/api/v1/sessions", text, content_type="application/json")
    assert answer.status_code == status, answer.content
    assert not Session.objects.exists()


@pytest.mark.feature("B1")
def test_a_key_has_ceilings_of_its_own_and_its_successor_has_them_too(
    make_agent: MakeAgent,
) -> None:
    agent = make_agent(ceilings={"max_tool_calls": 5, "timeout_ms": 600_000})
    assert ask_for(agent).json()["config"] == AS_DOCUMENTED | {"max_tool_calls": 5}
    longer = ask_for(agent, {"config": {"timeout_ms": 600_000}})
    assert longer.json()["config"]["timeout_ms"] == 600_000
    row, text = rotate_key(agent.row.prefix, by="test")
    refused = ask_for(Agent(row, text), {"config": {"max_tool_calls": 6}})
    assert "6 is above this key's ceiling of 5" in refused.json()["detail"]


@pytest.mark.feature("B1")
def test_a_key_says_what_its_ceilings_are(make_agent: MakeAgent) -> None:
    agent = make_agent(ceilings={"max_depth": 2})
    assert agent.get("key").json()["ceilings"] == AS_DOCUMENTED | {"max_depth": 2}
    told = Event.objects.get(event="key:created", key_prefix=agent.row.prefix)
    assert told.metadata["ceilings"] == {"max_depth": 2}


def test_usual_ceilings_follow_what_is_usual_and_impossible_ones_are_refused() -> None:
    assert within({}, USUAL) == USUAL
    assert within({}, Budgets(max_depth=3)).max_depth == 3
    assert within({}, Budgets(max_depth=300)).max_depth == USUAL.max_depth


# Whose it is.


@pytest.mark.feature("B3")
@pytest.mark.parametrize("address", ADDRESSES)
def test_another_key_finds_no_session(agent: Agent, make_agent: MakeAgent, address: str) -> None:
    session, other = open_one(agent), make_agent("other", ("*",))
    for client, status in ((agent, 200), (other, 404)):
        assert client.get(f"sessions/{session.pk}{address}").status_code == status
    answer = other.get(f"sessions/{session.pk}{address}")
    unknown = other.get(f"sessions/{new_id()}{address}")
    for each in (answer, unknown):
        assert problem(each) == (404, "session_not_found")
        assert each.json()["detail"] == "Session not found"
    assert other.get(f"sessions/nonsense{address}").status_code == 404


@pytest.mark.feature("B3")
def test_another_key_closes_nothing(agent: Agent, make_agent: MakeAgent) -> None:
    session = open_one(agent)
    assert problem(close(make_agent("agent"), session)) == (404, "session_not_found")
    assert now(session.pk).state == "open"


@pytest.mark.feature("B3")
@pytest.mark.parametrize("where", ["body", "argument"])
def test_a_call_that_names_another_s_session_is_not_found_and_told(
    agent: Agent, make_agent: MakeAgent, where: str
) -> None:
    session, other = open_one(agent), make_agent("other")
    named = {"session_id": str(session.pk)}
    body = {"arguments": named} if where == "argument" else named
    answer = other.post("of_session", body)
    assert problem(answer) == (404, "session_not_found")
    assert now(session.pk).tool_calls == 0
    told = Event.objects.get(event="invocation:refused")
    assert (told.reason, told.actor, told.session_id) == ("session_not_found", "other", None)


@pytest.mark.feature("B3")
@pytest.mark.parametrize("text", ["", "nonsense", "0", "\u0661" * 32, "../x"])
def test_nonsense_as_an_argument_is_no_session_either(agent: Agent, text: str) -> None:
    answer = agent.invoke("of_session", session_id=text)
    assert problem(answer) == (404, "session_not_found")


@pytest.mark.feature("B3", "I3")
def test_a_rotated_key_goes_on_with_its_sessions(agent: Agent) -> None:
    session = open_one(agent)
    row, text = rotate_key(agent.row.prefix, by="test", overlap=timedelta(0))
    successor = Agent(row, text)
    assert call(successor, session).status_code == 200
    assert successor.get(f"sessions/{session.pk}").json()["usage"]["tool_calls"] == 1


@pytest.mark.feature("B3")
def test_people_see_the_sessions_of_their_own_keys_or_all_by_permission(
    agent: Agent, owner: User, stranger: User
) -> None:
    address = f"/api/v1/sessions/{open_one(agent).pk}"
    assert as_person(owner).get(address).status_code == 200
    assert as_person(stranger).get(address).status_code == 404
    stranger.user_permissions.add(
        Permission.objects.get(codename="view_session", content_type__app_label="tools")
    )
    seeing = as_person(User.objects.get(pk=stranger.pk))
    assert seeing.get(address).status_code == 200
    assert problem(seeing.delete(address)) == (403, "permission_denied")
    assert as_person(owner).delete(address).json() == {"success": True}


def test_a_person_opens_no_session(owner: User) -> None:
    answer = as_person(owner).post("/api/v1/sessions", {}, format="json")
    assert problem(answer) == (403, "key_required")


# How long, and how many.


@pytest.mark.feature("B1", "B2")
def test_a_session_says_what_is_left_of_it(agent: Agent) -> None:
    session = open_one(agent, max_tool_calls=2)
    call(agent, session, value="abc")
    shown = agent.get(f"sessions/{session.pk}").json()
    elapsed = shown["usage"].pop("elapsed_ms")
    assert shown["usage"] == {"tool_calls": 1, "output_bytes": 5}
    assert 0 <= elapsed < 300_000
    assert (shown["status"], shown["actor"], shown["closed_at"]) == ("open", "agent", None)


@pytest.mark.feature("B1")
def test_a_session_is_over_when_its_time_is(agent: Agent) -> None:
    session = open_one(agent, timeout_ms=60_000)
    Session.objects.update(
        created_at=session.created_at - timedelta(seconds=60),
        ends_at=session.ends_at - timedelta(seconds=60),
    )
    shown = agent.get(f"sessions/{session.pk}").json()
    assert (shown["status"], shown["usage"]["elapsed_ms"]) == ("timed_out", 60_000)


@pytest.mark.feature("B1")
def test_a_flood_of_sessions_is_refused(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_OPEN", 3)
    first, *_ = [open_one(agent) for _ in range(3)]
    answer = ask_for(agent)
    assert (problem(answer), answer["Retry-After"]) == ((429, "too_many_sessions"), "60")
    close(agent, first)
    assert ask_for(agent).status_code == 429, "one counts for a minute"
    Session.objects.update(created_at=local_now() - timedelta(minutes=2))
    assert ask_for(agent).status_code == 201
    assert ask_for(agent).status_code == 429


@pytest.mark.feature("B1")
def test_other_callers_have_room_of_their_own(
    agent: Agent, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_OPEN", 1)
    open_one(agent)
    assert ask_for(agent).status_code == 429
    assert ask_for(make_agent("agent")).status_code == 201


# The ledger.


@pytest.mark.feature("U1", "B1")
def test_opening_and_closing_are_each_a_line(agent: Agent) -> None:
    session = open_one(agent, max_depth=2)
    call(agent, session, value="abc")
    close(agent, session)
    close(agent, session)
    created, closed = Event.objects.filter(event__startswith="session:").order_by("id")
    assert (created.event, created.metadata["config"]["max_depth"]) == ("session:created", 2)
    assert (closed.event, closed.metadata) == (
        "session:closed", {"tool_calls": 1, "output_bytes": 5},
    )  # fmt: skip
    for line in (created, closed):
        assert (line.session_id, line.actor) == (session.pk, "agent")
        assert (line.key_prefix, line.source) == (agent.row.prefix, "rest")


def test_a_key_with_ceilings_that_cannot_be_is_not_made(owner: User) -> None:
    for number in (0, -5, 2**31):
        with pytest.raises(Exception, match="max_depth: a whole number from 1 to 2147483647"):
            create_key(actor="x", scopes=["y"], by="test", ceilings={"max_depth": number})
    assert not ApiKey.objects.exists()
