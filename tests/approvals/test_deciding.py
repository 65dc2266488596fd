"""People decide: who may, once, on exactly what was asked."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals import deciding, transitions, upkeep
from approvals.models import Approval, Invocation, Vote
from audit.models import Event
from tests.conftest import Agent, MakeAgent, as_person, effects, held, work
from tools import catalogue, registry
from tools.key_cabinet import revoke_key

pytestmark = pytest.mark.django_db


def decide(user: User, approval: Approval, verb: str = "approve", **body: Any) -> Any:
    """Decide over REST, as a person."""
    return as_person(user).post(f"/api/v1/approvals/{approval.pk}/{verb}", body, format="json")


def run_out(approval: Approval) -> None:
    """Let the approval's time be over."""
    Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())


@pytest.mark.feature("AP1")
def test_a_held_call_is_a_row_with_all_that_a_reviewer_needs(
    agent: Agent, trace: Path, reviewer: User, owner: User
) -> None:
    answer = agent.invoke("pay", path=str(trace), amount=900, card_number="4111222233334444")
    assert (answer.status_code, answer.json()["status"]) == (202, "requires_approval")
    assert answer.json()["message"] == "amount exceeds 100"
    shown = as_person(reviewer).get(f"/api/v1/approvals/{answer.json()['approval_id']}").json()
    assert shown["arguments"]["card_number"] == "[REDACTED]"
    assert (shown["tool_name"], shown["actor"], shown["status"]) == ("pay", "agent", "pending")
    assert shown["eligible"] == ["reviewer"]
    assert (shown["may_decide"], shown["why_not"]) == (True, None)
    assert shown["summary"].startswith("agent wants to run pay")
    assert len(shown["summary"]) <= 140
    assert shown["requested_at"] < shown["expires_at"]
    assert effects(trace) == []


@pytest.mark.feature("X2", "AP3", "T1")
def test_approving_queues_the_frozen_call_and_it_runs_once(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace, text="exactly this")
    answer = decide(reviewer, approval, note="known customer", reason_to_agent="fine")
    assert answer.json()["approval"]["status"] == "approved"
    work()
    for _ in range(5):
        again = agent.post(
            "guarded_trace",
            {"arguments": {"path": str(trace), "text": "exactly this"},
             "approval_id": str(approval.pk)},
        )  # fmt: skip
        assert (again.status_code, again.json()["data"]) == (200, 1)
        assert (again.json()["replayed"], again["Idempotency-Replayed"]) == (True, "true")
    work()
    assert effects(trace) == ["exactly this"]
    approval.refresh_from_db()
    assert approval.status == "consumed"


@pytest.mark.feature("AP2")
def test_an_approval_is_for_exactly_one_action(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace, text="a")
    decide(reviewer, approval)
    for tool, arguments in (
        ("guarded_trace", {"path": str(trace), "text": "b"}),
        ("guarded_trace", {"path": f"{trace}.", "text": "a"}),
        ("leave_trace", {"path": str(trace), "text": "a"}),
    ):
        answer = agent.post(tool, {"arguments": arguments, "approval_id": str(approval.pk)})
        assert (answer.status_code, answer.json()["error_type"]) == (403, "ActionMismatch")
    assert Event.objects.newest_first()[0].reason == "action_mismatch"


@pytest.mark.feature("AP4", "T2")
def test_anothers_approval_and_an_unknown_one_are_refused_alike(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval)
    thief = make_agent("thief")
    answers = [
        thief.post("guarded_trace", {"arguments": {"path": str(trace)}, "approval_id": wanted})
        for wanted in (str(approval.pk), "01a2014e-45c0-7258-b795-4185419cb7eb", "nonsense")
    ]
    bodies = [answer.json() | {"audit_id": None, "request_id": None} for answer in answers]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["error_type"] == "NotYours"
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("AP5", "T4")
def test_a_pending_approval_runs_out_by_the_clock_alone(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    run_out(approval)
    answer = decide(reviewer, approval)
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")
    assert agent.get(f"invocations/{approval.invocation_id}").json()["status"] == "expired"
    work()
    assert effects(trace) == []


@pytest.mark.feature("AP5", "T4")
def test_an_approved_call_that_nobody_ran_in_time_is_not_run(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval)
    run_out(approval)
    work()
    assert (effects(trace), Invocation.objects.get().status) == ([], "expired")
    approval.refresh_from_db()
    assert approval.status == "expired"


@pytest.mark.feature("AP5")
def test_the_sweeper_writes_down_what_has_run_out(agent: Agent, trace: Path) -> None:
    approval = held(agent, trace)
    assert upkeep.expire_due(transitions.now()) == 0
    run_out(approval)
    assert upkeep.expire_due(transitions.now()) == 1
    assert upkeep.expire_due(transitions.now()) == 0
    event = Event.objects.newest_first()[0]
    assert (event.event, event.status) == ("invocation:expired", "expired")
    posted = agent.post(
        "guarded_trace", {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    )
    assert (posted.status_code, posted.json()["status"]) == (410, "expired")


@pytest.mark.feature("AP6", "T3")
def test_the_requesters_side_never_decides(agent: Agent, trace: Path, owner: User) -> None:
    from django.contrib.auth.models import Permission

    owner.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
    approval = held(agent, trace)
    for verb in ("approve", "reject"):
        answer = decide(owner, approval, verb)
        assert (answer.status_code, answer.json()["code"]) == (403, "self_approval")
    assert Event.objects.newest_first()[0].event == "approval:refused"
    shown = as_person(owner).get(f"/api/v1/approvals/{approval.pk}").json()
    assert (shown["may_decide"], shown["eligible"]) == (False, [])
    assert "key of yours" in shown["why_not"]


@pytest.mark.feature("AP6")
def test_a_superuser_who_owns_the_key_does_not_decide(
    make_agent: MakeAgent, trace: Path, db: None
) -> None:
    root = User.objects.create_superuser("root", password="root-password")
    approval = held(make_agent("roots-agent", owner=root), trace)
    assert decide(root, approval).json()["code"] == "self_approval"
    outcome = deciding.approve(approval, root)
    assert isinstance(outcome, deciding.Undecided)


@pytest.mark.feature("I8", "T3")
def test_a_machine_never_decides_even_with_every_scope(
    make_agent: MakeAgent, agent: Agent, trace: Path
) -> None:
    approval = held(agent, trace)
    almighty = make_agent("almighty", ("*",))
    for verb in ("approve", "reject"):
        answer = almighty.client.post(f"/api/v1/approvals/{approval.pk}/{verb}", {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "machine_cannot_approve")


def test_a_person_without_the_permission_does_not_decide(
    agent: Agent, trace: Path, stranger: User
) -> None:
    approval = held(agent, trace)
    answer = decide(stranger, approval)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert as_person(stranger).get(f"/api/v1/approvals/{approval.pk}").status_code == 404


def test_deciding_in_a_session_needs_the_csrf_token(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    from rest_framework.test import APIClient

    client = APIClient(enforce_csrf_checks=True)
    client.force_login(reviewer)
    approval = held(agent, trace)
    answer = client.post(f"/api/v1/approvals/{approval.pk}/approve", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    approval.refresh_from_db()
    assert approval.is_pending


@pytest.mark.feature("AP7", "T19")
def test_a_second_decision_is_told_who_was_first_and_when(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval)
    second = User.objects.create_superuser("second", password="second-password")
    answer = decide(second, approval, "reject")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
    assert answer.json()["detail"].startswith("reviewer approved this call at ")
    assert Vote.objects.count() == 1
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("AP12")
def test_a_rejection_tells_the_agent_why_and_keeps_the_note(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval, "reject", note="smells of fraud", reason_to_agent="ask for less")
    answer = agent.post(
        "guarded_trace", {"arguments": {"path": str(trace)}, "approval_id": str(approval.pk)}
    )
    assert (answer.status_code, answer.json()["status"]) == (403, "rejected")
    assert answer.json()["decision"] == {
        "status": "rejected", "by": "reviewer", "reason_to_agent": "ask for less",
    }  # fmt: skip
    mine = agent.get(f"approvals/{approval.pk}")
    assert mine.json()["resolution_note"] is None
    assert "smells of fraud" not in mine.content.decode() + answer.content.decode()
    theirs = as_person(reviewer).get(f"/api/v1/approvals/{approval.pk}").json()
    assert theirs["resolution_note"] == "smells of fraud"
    assert theirs["votes"][0]["note"] == "smells of fraud"
    work()
    assert effects(trace) == []


@pytest.mark.feature("AP8", "T11")
def test_the_same_call_again_waits_for_the_same_person(agent: Agent, trace: Path) -> None:
    first, again = held(agent, trace), held(agent, trace)
    assert (first.pk, Approval.objects.count()) == (again.pk, 1)
    other = held(agent, trace, text="other")
    assert other.pk != first.pk
    keyed = agent.invoke("guarded_trace", path=str(trace), headers={"Idempotency-Key": "k1"})
    assert keyed.json()["approval_id"] not in (str(first.pk), str(other.pk))


@pytest.mark.feature("AP8", "T11")
def test_a_flood_of_distinct_calls_reaches_a_ceiling(
    agent: Agent, make_agent: MakeAgent, trace: Path, settings: Settings
) -> None:
    settings.RAMPART_MAX_PENDING_PER_KEY = 3
    for number in range(3):
        held(agent, trace, text=str(number))
    answer = agent.invoke("guarded_trace", path=str(trace), text="one too many")
    assert (answer.status_code, answer.json()["error_type"]) == (429, "RateLimited")
    assert int(answer["Retry-After"]) > 0
    assert held(agent, trace, text="1").is_pending
    assert held(make_agent("other"), trace, text="mine").is_pending


@pytest.mark.feature("AP18")
@pytest.mark.parametrize("where", ["approvals", "invocations"])
def test_the_requester_takes_a_held_call_back(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User, where: str
) -> None:
    approval = held(agent, trace)
    target = approval.pk if where == "approvals" else approval.invocation_id
    url = f"/api/v1/{where}/{target}/cancel"
    assert make_agent("other").client.post(url).status_code == 404
    answer = agent.client.post(url)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert decide(reviewer, approval).json()["code"] == "already_decided"
    assert decide(reviewer, approval).status_code == 409
    assert agent.client.post(url).status_code == 409
    work()
    assert effects(trace) == []


def test_a_digest_other_than_what_was_shown_is_refused(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    answer = decide(reviewer, approval, expected_digest="0" * 64)
    assert (answer.status_code, answer.json()["code"]) == (409, "digest_mismatch")
    shown = as_person(reviewer).get(f"/api/v1/approvals/{approval.pk}").json()
    assert decide(reviewer, approval, expected_digest=shown["arguments_hash"]).status_code == 200


@pytest.mark.feature("TD6", "T30")
def test_a_changed_tool_voids_what_was_held_for_the_old_one(
    agent: Agent, trace: Path, reviewer: User, monkeypatch: MonkeyPatch
) -> None:
    first, second = held(agent, trace, text="1"), held(agent, trace, text="2")
    decide(reviewer, first)
    definition = registry.find("guarded_trace")
    monkeypatch.setitem(definition.__dict__, "schema_hash", "another definition")
    catalogue.sync(by="deploy")
    catalogue.forget()
    assert upkeep.void_outdated() == 1
    work()
    assert effects(trace) == []
    for approval in (first, second):
        ended = agent.get(f"invocations/{approval.invocation_id}").json()
        assert (ended["status"], ended["error_type"]) == ("void", "ToolChanged")
        approval.refresh_from_db()
        assert approval.status == "void"


@pytest.mark.parametrize("change", ["key_revoked", "scope_lost", "tool_disabled"])
def test_the_authority_is_checked_again_when_the_call_is_claimed(
    agent: Agent, trace: Path, reviewer: User, change: str
) -> None:
    approval = held(agent, trace)
    decide(reviewer, approval)
    match change:
        case "key_revoked":
            revoke_key(agent.row.prefix, by="operator")
        case "scope_lost":
            type(agent.row).objects.filter(pk=agent.row.pk).update(scopes=["kit.read"])
        case _:
            catalogue.set_enabled(
                catalogue.Tool.objects.get(name="guarded_trace"), False, by="operator"
            )
    work()
    row = Invocation.objects.get()
    assert (row.status, row.reason, effects(trace)) == ("void", change, [])
    assert row.arguments_sealed is None


def test_reading_an_approval_changes_nothing(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    run_out(approval)
    browser = as_person(reviewer)
    events = Event.objects.count()
    browser.get(f"/api/v1/approvals/{approval.pk}")
    browser.get("/api/v1/approvals")
    assert browser.get(f"/api/v1/approvals/{approval.pk}/approve").status_code == 405
    assert Event.objects.count() == events
    approval.refresh_from_db()
    assert approval.is_pending


@pytest.mark.feature("AP5")
def test_the_time_to_decide_is_the_operators(agent: Agent, trace: Path, settings: Settings) -> None:
    settings.RAMPART_APPROVAL_TTL = timedelta(minutes=5)
    approval = held(agent, trace)
    assert approval.expires_at - approval.requested_at == timedelta(minutes=5)
