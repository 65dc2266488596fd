"""Calls whose outcome nobody knew: what a person found out, by the page and by the command."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest import MonkeyPatch

from approvals import deciding, execution, transitions, upkeep, waiting
from approvals.errors import StaleTransition
from approvals.models import Channel, Invocation, Notice
from approvals.notices import routes
from audit.models import Event
from audit.verification import verify
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, person
from tests.conftest import held as hold

pytestmark = [pytest.mark.django_db, pytest.mark.feature("X5")]

NOTE = "the bank shows the transfer"


@pytest.fixture
def lost(agent: Agent, trace: Path) -> Invocation:
    """A call whose worker died while its tool ran."""
    return lose(agent, trace)


def lose(agent: Agent, trace: Path, **headers: str) -> Invocation:
    answer = agent.invoke("waits_for", path=str(trace), go=str(trace), headers=headers)
    row = Invocation.objects.get(pk=answer.json()["invocation_id"])
    transitions.claim(row, transitions.now())
    Invocation.objects.filter(pk=row.pk).update(lease_expires_at=transitions.now())
    assert upkeep.settle_lost(transitions.now()) == 1
    row.refresh_from_db()
    assert row.status == "unknown"
    return row


def say(row: Invocation, outcome: str = "succeeded", note: str = NOTE) -> Any:
    """The command."""
    out = StringIO()
    call_command(
        "reconcile", "--invocation", str(row.pk), "--as", outcome, "--note", note, stdout=out
    )
    return out.getvalue()


def on_the_page(user: User, row: Invocation, **given: str) -> Any:
    """The form on the call's page."""
    body = {"outcome": "succeeded", "note": NOTE} | given
    return browser(user).post(f"/admin/approvals/invocation/{row.pk}/reconcile/", body)


# What becomes of it.


@pytest.mark.parametrize(
    ("outcome", "status", "error_type"),
    [("succeeded", "success", None), ("failed", "error", "Reconciled")],
)
def test_the_caller_reads_what_was_found_and_that_it_was_found(
    agent: Agent, lost: Invocation, outcome: str, status: str, error_type: str | None
) -> None:
    say(lost, outcome)
    read = agent.get(f"invocations/{lost.pk}").json()
    assert (read["status"], read["error_type"], read["message"]) == (
        status, error_type, "reconciled",
    )  # fmt: skip
    assert read["data"] is None, "nobody makes a result up"


def test_the_ledger_has_who_said_what_and_why(lost: Invocation) -> None:
    ended = lost.finished_at
    say(lost)
    lost.refresh_from_db()
    line = Event.objects.get(event="invocation:reconciled")
    assert (line.status, line.invocation_id, line.pk) == ("success", lost.pk, lost.audit_id)
    assert line.metadata["note"] == NOTE
    assert line.actor.startswith("command:")
    assert lost.finished_at == ended, "the run ended when its worker did"
    assert verify().finding is None


def test_it_is_said_once(lost: Invocation) -> None:
    say(lost)
    with pytest.raises(CommandError) as refused:
        say(lost, "failed")
    assert refused.value.returncode == 1
    assert "reconciled already" in str(refused.value)
    assert Event.objects.filter(event="invocation:reconciled").count() == 1
    with pytest.raises(StaleTransition):
        transitions.reconcile(lost, succeeded=False, note="no", by="x", source="command")


def test_whoever_waits_for_the_call_is_told(lost: Invocation, monkeypatch: MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(waiting, "announce", told.append)
    say(lost)
    assert told == [lost.pk]


def test_the_callers_system_is_told_of_the_loss_and_of_what_was_found(
    agent: Agent, trace: Path
) -> None:
    Channel.objects.create(
        name="hook", kind="webhook", address="https://shop.example/h", caller=agent.row
    )
    routes.forget()
    row = lose(agent, trace)
    say(row)
    told = Notice.objects.filter(kind="invocation.finished").order_by("pk")
    assert [notice.payload["status"] for notice in told] == ["unknown", "success"]


def test_an_idempotency_key_replays_what_was_found(agent: Agent, trace: Path) -> None:
    key = {"Idempotency-Key": "once"}
    row = lose(agent, trace, **key)
    say(row)
    again = agent.invoke("waits_for", path=str(trace), go=str(trace), headers=key).json()
    assert (again["status"], again["replayed"], again["invocation_id"]) == (
        "success", True, str(row.pk),
    )  # fmt: skip


def test_a_worker_that_comes_back_late_does_not_overwrite_it(
    lost: Invocation, agent: Agent
) -> None:
    say(lost, "failed")
    execution.run(lost.pk)
    late = execution.Ending("success", "from the dead")
    with pytest.raises(StaleTransition):
        transitions.finish(lost, late, execution.Redactor.over({}), 1)
    assert agent.get(f"invocations/{lost.pk}").json()["status"] == "error"


def test_a_secret_in_the_note_is_stored_as_text_and_nowhere_else(
    lost: Invocation, agent: Agent
) -> None:
    say(lost, note="nul\x00 here")
    assert "\x00" not in str(Event.objects.get(event="invocation:reconciled").metadata)
    assert "here" not in json.dumps(agent.get(f"invocations/{lost.pk}").json())


# Who may say it.


def test_a_reviewer_says_it_on_the_page(reviewer: User, lost: Invocation) -> None:
    page = f"/admin/approvals/invocation/{lost.pk}/change/"
    assert "Its outcome is unknown" in browser(reviewer).get(page).content.decode()
    assert on_the_page(reviewer, lost, outcome="failed").status_code == 302
    lost.refresh_from_db()
    assert (lost.status, lost.reason) == ("error", "reconciled")
    line = Event.objects.get(event="invocation:reconciled")
    assert (line.actor, line.metadata["note"]) == ("reviewer", NOTE)
    shown = browser(reviewer).get(page).content.decode()
    assert "Its outcome is unknown" not in shown
    assert NOTE in shown


@pytest.mark.feature("AP6")
def test_the_requesters_own_side_does_not(make_agent: MakeAgent, trace: Path) -> None:
    """They may decide others' calls; whether their own had its effect is for others to say."""
    own = person("both", "decide_approval", "view_invocation")
    row = lose(make_agent("own", owner=own), trace)
    shown = browser(own).get(f"/admin/approvals/invocation/{row.pk}/change/").content.decode()
    assert "somebody else reconciles it" in shown
    assert on_the_page(own, row).status_code == 403
    row.refresh_from_db()
    assert row.status == "unknown"


@pytest.mark.parametrize("permissions", [(), ("view_invocation",), ("decide_approval",)])
def test_who_may_only_look_or_only_decide_does_not(
    lost: Invocation, permissions: tuple[str, ...]
) -> None:
    assert on_the_page(person("somebody", *permissions), lost).status_code == 403
    lost.refresh_from_db()
    assert lost.status == "unknown"


@pytest.mark.parametrize("given", [{"note": "  "}, {"outcome": "perhaps"}, {"note": "x" * 10_001}])
def test_without_a_note_or_an_outcome_it_is_asked_again(
    reviewer: User, lost: Invocation, given: dict[str, str]
) -> None:
    answer = on_the_page(reviewer, lost, **given)
    assert answer.status_code == 422
    assert "errorlist" in answer.content.decode()
    lost.refresh_from_db()
    assert lost.status == "unknown"


def test_two_people_at_once_are_told_who_was_first(reviewer: User, lost: Invocation) -> None:
    say(lost)
    answer = browser(reviewer).post(
        f"/admin/approvals/invocation/{lost.pk}/reconcile/",
        {"outcome": "failed", "note": "no trace of it"}, follow=True,
    )  # fmt: skip
    assert "reconciled already" in answer.content.decode()
    lost.refresh_from_db()
    assert lost.status == "success"


def test_a_call_of_another_status_cannot_be_reconciled(
    reviewer: User, agent: Agent, trace: Path
) -> None:
    row = hold(agent, trace).invocation
    assert on_the_page(reviewer, row).status_code == 302
    deciding.reject(row.approval, reviewer)
    assert on_the_page(reviewer, row).status_code == 302
    row.refresh_from_db()
    assert row.status == "rejected"


# The command.


def test_the_command_lists_what_is_unknown(lost: Invocation) -> None:
    out = StringIO()
    call_command("reconcile", "--json", stdout=out)
    (found,) = json.loads(out.getvalue())
    assert (found["id"], found["tool"], found["status"]) == (str(lost.pk), "waits_for", "unknown")
    assert found["worker"] == transitions.this_process()
    say(lost)
    out = StringIO()
    call_command("reconcile", "--json", stdout=out)
    assert json.loads(out.getvalue()) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--as", "succeeded"], 2),
        (["--note", "seen"], 2),
        (["--invocation", "ID"], 2),
        (["--invocation", "ID", "--as", "failed"], 2),
        (["--invocation", "ID", "--as", "failed", "--note", "  "], 2),
        (["--invocation", "ID", "--as", "failed", "--note", "x" * 10_001], 2),
        (["--invocation", "nonsense", "--as", "failed", "--note", "seen"], 5),
    ],
)
def test_the_command_says_by_its_exit_code_why_not(
    lost: Invocation, options: list[str], code: int
) -> None:
    given = [str(lost.pk) if option == "ID" else option for option in options]
    with pytest.raises(CommandError) as refused:
        call_command("reconcile", *given)
    assert refused.value.returncode == code
    lost.refresh_from_db()
    assert lost.status == "unknown"


def test_a_call_that_is_under_way_is_pending_and_one_that_has_ended_cannot_be(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    row = hold(agent, trace).invocation
    for code in (4, 1):
        with pytest.raises(CommandError) as refused:
            say(row)
        assert refused.value.returncode == code
        if code == 4:
            deciding.reject(row.approval, reviewer)
    row.refresh_from_db()
    assert row.status == "rejected"
