"""`approvals`: a person decides at a prompt, under the same rules as in the admin."""

import json
import os
import pwd
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from pytest import MonkeyPatch

from approvals import deciding
from approvals.models import Approval, Invocation, Vote
from audit.models import Event, new_id
from rampart.management.base import Exit, operator
from tests.conftest import Agent, as_person, effects, held, work
from tests.processes import Deployment
from tests.rampart.test_commands import data, run

pytestmark = pytest.mark.django_db


def decide(verb: str, approval: Approval, *options: str) -> tuple[str, str, int]:
    """Decide as the reviewer; returns stdout, stderr and the exit code."""
    return run("approvals", verb, str(approval.pk), "--user", "reviewer", *options)


# Looking.


@pytest.mark.feature("K1", "E33")
def test_list_is_a_bare_array_newest_first(agent: Agent, trace: Path, reviewer: User) -> None:
    first, second = held(agent, trace, text="1"), held(agent, trace, text="2")
    listed = data("approvals", "list")
    assert [row["id"] for row in listed] == [str(second.pk), str(first.pk)]
    posted = as_person(reviewer).get("/api/v1/approvals").json()["approvals"]
    assert [set(row) for row in listed] == [set(row) for row in posted]
    assert listed[0]["eligible"] == ["reviewer"]
    assert [row["id"] for row in data("approvals", "list", "--limit", "1")] == [str(second.pk)]


@pytest.mark.feature("K1")
def test_list_can_be_of_one_status(agent: Agent, trace: Path, reviewer: User) -> None:
    done, waiting = held(agent, trace, text="1"), held(agent, trace, text="2")
    deciding.reject(done, reviewer)
    assert [row["id"] for row in data("approvals", "list", "--status", "pending")] == [
        str(waiting.pk)
    ]
    assert [row["id"] for row in data("approvals", "list", "--status", "rejected")] == [
        str(done.pk)
    ]
    assert data("approvals", "list", "--status", "void") == []


@pytest.mark.feature("E33")
def test_list_and_show_print_a_line_for_each_thing(agent: Agent, trace: Path) -> None:
    approval = held(agent, trace, text="\x1b[2Ka\nb\u202e")
    head, line = run("approvals", "list")[0].splitlines()
    assert head.split() == ["id", "status", "requested_at", "expires_at", "summary"]
    assert line.startswith(f"{approval.pk}  pending") and "[U+001B ESCAPE][2Ka b[U+202E" in line
    shown = run("approvals", "show", str(approval.pk))[0]
    assert not {"\x1b", "\u202e"} & set(shown)
    fields = dict(line.split(None, 1) for line in shown.splitlines())
    assert fields["status"] == "pending" and fields["tool_name"] == "guarded_trace"
    assert json.loads(fields["arguments"])["text"] == "\x1b[2Ka\nb\u202e"


@pytest.mark.feature("K1")
def test_a_person_sees_whether_it_is_theirs_to_decide(
    agent: Agent, trace: Path, reviewer: User, owner: User
) -> None:
    approval = held(agent, trace)
    mine = data("approvals", "show", str(approval.pk), "--user", "reviewer")
    assert (mine["may_decide"], mine["why_not"]) == (True, None)
    theirs = data("approvals", "show", str(approval.pk), "--user", "owner")
    assert theirs["may_decide"] is False
    nobodys = data("approvals", "show", str(approval.pk))
    assert (nobodys["may_decide"], "--user" in nobodys["why_not"]) == (False, True)


@pytest.mark.feature("K1")
def test_looking_changes_nothing(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    events = Event.objects.count()
    run("approvals", "list")
    run("approvals", "show", str(approval.pk), "--user", "reviewer")
    approval.refresh_from_db()
    assert (approval.is_pending, Event.objects.count()) == (True, events)


# Deciding.


@pytest.mark.feature("K1", "AP3")
def test_an_approved_call_is_queued_and_runs_once(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace, text="this")
    out, err, code = decide("approve", approval, "--note", "known", "--reason-to-agent", "fine")
    assert (out, err, code) == ("", "approved; the call is on its way\n", 0)
    work()
    work()
    assert effects(trace) == ["this"]
    vote = Vote.objects.get()
    assert (vote.reviewer, vote.verdict, vote.note) == (reviewer, "approve", "known")
    assert vote.reason_to_agent == "fine"


@pytest.mark.feature("K1", "AP12")
def test_a_rejected_call_ends_and_its_agent_is_told_why(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    given = ("--user", "reviewer", "--note", "fraud", "--reason-to-agent", "ask for less")
    document = data("approvals", "reject", str(approval.pk), *given)
    assert (document["status"], document["resolved_by"]) == ("rejected", "reviewer")
    work()
    answer = agent.get(f"invocations/{approval.invocation_id}").json()
    assert answer["decision"]["reason_to_agent"] == "ask for less"
    assert "fraud" not in json.dumps(answer)
    assert effects(trace) == []


@pytest.mark.feature("U1", "K1")
@pytest.mark.parametrize(("verb", "event"), [("approve", "approved"), ("reject", "rejected")])
def test_the_ledger_names_the_person_and_who_ran_the_command(
    agent: Agent, trace: Path, reviewer: User, verb: str, event: str
) -> None:
    decide(verb, held(agent, trace))
    line = Event.objects.get(event=f"approval:{event}")
    assert (line.actor, line.metadata["operator"]) == ("reviewer", operator())
    decide(verb, Approval.objects.get())
    refused = Event.objects.get(event="approval:refused")
    assert (refused.actor, refused.source, refused.reason) == (
        "reviewer", "command", "already_decided",
    )  # fmt: skip
    assert refused.metadata["operator"] == operator()


@pytest.mark.feature("U1")
def test_the_environment_does_not_say_who_ran_the_command(migrated: Deployment) -> None:
    order = ("create_key", "--actor", "who", "--scope", "a")
    assert migrated.manage(*order, LOGNAME="ceo", USER="ceo").returncode == 0
    database = sqlite3.connect(migrated.folder / "rampart.sqlite3")
    actors = database.execute("SELECT actor FROM audit_event WHERE event = 'key:created'")
    assert {actor for (actor,) in actors} == {f"command:{pwd.getpwuid(os.getuid()).pw_name}"}
    database.close()


def test_a_user_without_a_name_is_shown_by_number(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54_321_678)
    assert operator() == "command:54321678"


def test_a_decision_in_the_browser_names_no_operator(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    for _ in range(2):
        as_person(reviewer).post(f"/api/v1/approvals/{approval.pk}/approve", {}, format="json")
    for event in ("approval:approved", "approval:refused"):
        assert "operator" not in Event.objects.get(event=event).metadata


@pytest.mark.feature("T27", "AP6")
def test_the_requesters_side_is_denied(agent: Agent, trace: Path, owner: User) -> None:
    owner.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
    approval = held(agent, trace)
    for verb in ("approve", "reject"):
        _, err, code = run("approvals", verb, str(approval.pk), "--user", "owner")
        assert (code, err.startswith("self_approval: ")) == (Exit.DENIED, True)
    work()
    assert effects(trace) == []


@pytest.mark.feature("T27", "K1")
def test_a_person_without_the_permission_is_denied(
    agent: Agent, trace: Path, stranger: User, reviewer: User
) -> None:
    approval = held(agent, trace)
    _, err, code = run("approvals", "approve", str(approval.pk), "--user", "stranger")
    assert (code, err.startswith("permission_denied: ")) == (Exit.DENIED, True)
    User.objects.filter(pk=reviewer.pk).update(is_active=False)
    assert decide("approve", approval)[2] == Exit.DENIED
    work()
    assert effects(trace) == []


@pytest.mark.feature("T19", "T27")
def test_a_second_decision_is_denied_and_told_who_won(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    User.objects.create_superuser("second")
    decide("approve", approval)
    _, err, code = run("approvals", "reject", str(approval.pk), "--user", "second")
    assert (code, "reviewer approved this call at " in err) == (Exit.DENIED, True)
    assert Vote.objects.count() == 1


@pytest.mark.feature("T4", "T27")
def test_a_decision_after_its_time_is_denied_and_says_so(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    Approval.objects.filter(pk=approval.pk).update(expires_at=approval.requested_at)
    _, err, code = decide("approve", approval)
    assert (code, err) == (Exit.DENIED, "expired: The time to decide this call is over.")
    assert Invocation.objects.get().status == "expired"


# Wrong usage.


@pytest.mark.feature("T27", "K1")
@pytest.mark.parametrize("verb", ["show", "approve", "reject"])
@pytest.mark.parametrize("wanted", [str(new_id()), "nonsense"])
def test_an_unknown_approval_is_not_found(reviewer: User, verb: str, wanted: str) -> None:
    _, err, code = run("approvals", verb, wanted, "--user", "reviewer")
    assert (code, err) == (Exit.NOT_FOUND, "no approval has this id")


@pytest.mark.feature("K1")
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_nobody_decides_without_being_named(agent: Agent, trace: Path, verb: str) -> None:
    approval = held(agent, trace)
    _, err, code = run("approvals", verb, str(approval.pk))
    assert (code, "--user" in err) == (Exit.USAGE, True)
    assert run("approvals", verb, str(approval.pk), "--user", "x")[2] == Exit.NOT_FOUND
    approval.refresh_from_db()
    assert approval.is_pending


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("approve", "--user", "reviewer"),
        ("list", "an-id"),
        ("list", "--limit", "0"),
        ("list", "--limit", "10001"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(reviewer: User, arguments: tuple[str, ...]) -> None:
    assert run("approvals", *arguments)[2] == Exit.USAGE


def test_a_note_has_the_length_that_rest_allows(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = held(agent, trace)
    assert decide("approve", approval, "--note", "x" * 10_001)[2] == Exit.USAGE
    assert decide("approve", approval, "--note", "\udcff")[2] == Exit.USAGE
    approval.refresh_from_db()
    assert approval.is_pending


@pytest.mark.feature("E33", "T27")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list", "--json"), 0),
        (("list", "--status", "lost"), 2),
        (("decide", "x"), 2),
        (("approve", "01a2014e-45c0-7258-b795-4185419cb7eb", "--user", "nobody"), 5),
        (("show", "01a2014e-45c0-7258-b795-4185419cb7eb"), 5),
    ],
)
def test_a_process_ends_with_the_contracts_code(
    migrated: Deployment, arguments: tuple[str, ...], code: int
) -> None:
    done = migrated.manage("approvals", *arguments)
    assert done.returncode == code, done.stderr
    assert bool(done.stderr) is (code != 0) and "Traceback" not in done.stderr


def test_an_event_of_a_decision_holds_what_it_held_before(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    decide("approve", held(agent, trace), "--note", "n", "--reason-to-agent", "r")
    said: dict[str, Any] = Event.objects.get(event="approval:approved").metadata
    assert (said["note"], said["reason_to_agent"], said["requester"]) == ("n", "r", "agent")
