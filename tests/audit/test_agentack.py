"""AgentAck, which is not ours, judges from the ledger alone whether approvals were obeyed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from approvals import editing, transitions, upkeep
from approvals.models import Approval
from approvals.transitions import Said
from tests.admin.conftest import superuser
from tests.approvals.test_deciding import decide
from tests.conftest import (
    REVIEWER_PERMISSIONS,
    Agent,
    MakeAgent,
    as_person,
    effects,
    held,
    person,
    work,
)
from tests.stack import BIN, ROOT
from tools import catalogue
from tools.models import EmergencyStop

__all__ = ["superuser"]

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U6")]

Line = dict[str, Any]


# The ledger taken away, made a trace, and checked: real processes each time.


def exported(folder: Path) -> list[Line]:
    """The ledger as `export_audit` writes it."""
    file = folder / "ledger.jsonl"
    call_command("export_audit", "--format", "jsonl", "--output", str(file))
    return [json.loads(line) for line in file.read_text().splitlines()]


def traces_of(ledger: list[Line], folder: Path) -> list[Path]:
    """The traces that an operator gets out of an export."""
    export, traces = folder / "given.jsonl", folder / "traces"
    export.write_text("".join(json.dumps(line) + "\n" for line in ledger))
    script = str(ROOT / "deploy" / "agentack_trace.py")
    subprocess.run([sys.executable, "-I", script, export, traces], check=True, timeout=60)
    return sorted(traces.glob("*.jsonl"))


def found(trace: Path) -> tuple[int, set[str]]:
    """AgentAck's exit code, and the rules that it sees broken."""
    report, policy = trace.with_suffix(".report"), trace.with_name("agentack.toml")
    done = subprocess.run(
        [BIN / "agentack", "check", trace, "--policy", policy, "--json", report],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    return done.returncode, set(json.loads(report.read_text())["result"]["rule_counts"])


def judged(ledger: list[Line], folder: Path) -> tuple[int, set[str]]:
    """The same of a ledger that makes one trace."""
    (trace,) = traces_of(ledger, folder)
    return found(trace)


PASS = (0, set[str]())


@pytest.fixture
def other(db: None) -> User:
    """A second person who may decide."""
    return person("other", *REVIEWER_PERMISSIONS)


def approved_and_run(agent: Agent, trace: Path, reviewer: User, text: str = "ran") -> Approval:
    approval = held(agent, trace, text=text)
    assert decide(reviewer, approval).status_code == 200
    work()
    return approval


# What really happens passes.


def test_a_day_of_calls_with_every_ending_passes(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User, other: User, tmp_path: Path
) -> None:
    approved_and_run(agent, trace, reviewer)
    decide(reviewer, held(agent, trace, text="rejected"), "reject")
    upkeep.expire(out_of_time(held(agent, trace, text="expired")))
    edited = edit(held(agent, trace, text="asked"), reviewer)
    assert decide(other, edited).status_code == 200
    twin = held(agent, trace, text="twin")
    assert held(agent, trace, text="twin").pk == twin.pk
    agent.client.post(f"/api/v1/approvals/{twin.pk}/cancel")
    answers = [
        agent.invoke("on_weekdays", day="sunday"),
        agent.invoke("guarded_trace", path=[str(trace)]),
        agent.invoke("once", path=str(trace)),
        make_agent("without", ("kit.read",)).invoke("guarded_trace", path=str(trace)),
        agent.invoke("no_such_tool", value=1),
        agent.invoke("leave_trace", path=str(trace), text="at once"),
        agent.invoke("trace_read", path=str(trace)),
        agent.invoke("fails", pin="1234"),
    ]
    assert [one.status_code for one in answers] == [403, 422, 400, 403, 404, 202, 200, 500]
    work()
    assert sorted(effects(trace)) == ["at once", "other", "ran", "read"]
    ledger = exported(tmp_path)
    assert judged(ledger, tmp_path) == PASS
    kinds = [line["type"] for line in lines_of(tmp_path)]
    assert (kinds.count("action_executed"), kinds.count("action_blocked")) == (5, 9)


def lines_of(folder: Path) -> list[Line]:
    return [json.loads(line) for line in (folder / "traces" / "1.jsonl").read_text().splitlines()]


def out_of_time(approval: Approval) -> Approval:
    Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())
    approval.refresh_from_db()
    return approval


def edit(approval: Approval, editor: User) -> Approval:
    """Other arguments in the place of those that are held."""
    arguments = {**approval.invocation.arguments, "text": "other"}
    said = Said(reason_to_agent="this one", source="admin")
    digest = approval.invocation.digest
    editing.edit(approval, editor, arguments, said, expected_digest=digest)
    return Approval.objects.with_everything().get(pk=approval.pk)


def test_from_the_asking_to_the_run_each_line_has_the_same_digest(story: list[Line]) -> None:
    """What is hidden in the arguments is in no line: only by this it is known to be the same."""
    yes = the(story, "approval:approved")
    told = [line for line in story if line["invocation_id"] == yes["invocation_id"]]
    assert len(told) == 4
    assert {line["metadata"].get("digest") for line in told} == {yes["metadata"]["digest"]}


def test_a_call_that_has_not_ended_is_in_no_trace(
    agent: Agent, trace: Path, reviewer: User, tmp_path: Path
) -> None:
    approved_and_run(agent, trace, reviewer)
    held(agent, trace, text="waits")
    assert judged(exported(tmp_path), tmp_path) == PASS
    assert "waits" not in (tmp_path / "traces" / "1.jsonl").read_text()


def test_a_worker_that_died_and_an_idempotent_run_that_began_again_is_no_second_use(
    agent: Agent, trace: Path, reviewer: User, tmp_path: Path
) -> None:
    approval = approved_and_run(agent, trace, reviewer)
    ledger = exported(tmp_path)
    started = the(ledger, "invocation:started")
    requeued = {**started, "event": "invocation:requeued"}
    at = ledger.index(started) + 1
    assert judged([*ledger[:at], requeued, started, *ledger[at:]], tmp_path) == PASS
    assert str(approval.pk) in (tmp_path / "traces" / "1.jsonl").read_text()


def test_after_a_stop_was_released_another_trace_begins(
    agent: Agent, trace: Path, reviewer: User, superuser: User, tmp_path: Path
) -> None:
    approved_and_run(agent, trace, reviewer)
    with the_stop_engaged(superuser):
        assert agent.invoke("leave_trace", path=str(trace)).status_code == 403
    approved_and_run(agent, trace, reviewer, text="afterwards")
    traces = traces_of(exported(tmp_path), tmp_path)
    assert [found(one) for one in traces] == [PASS, PASS]
    assert "interrupt" in traces[0].read_text() and "interrupt" not in traces[1].read_text()


@contextmanager
def the_stop_engaged(by: User) -> Iterator[None]:
    """All tools are stopped for a while, and this process hears of it at once."""
    people = as_person(by)
    people.post("/admin/tools/emergencystop/add/", {"reason": "drill"})
    catalogue.forget()
    yield
    people.post(
        f"/admin/tools/emergencystop/{EmergencyStop.objects.get().pk}/delete/", {"post": "yes"}
    )
    catalogue.forget()


# Attacks that are really tried: Rampart refuses, and the trace of it passes still.


def test_attacks_on_approvals_are_refused_and_the_trace_passes(
    agent: Agent, make_agent: MakeAgent, trace: Path, owner: User, reviewer: User, tmp_path: Path
) -> None:
    approval = approved_and_run(agent, trace, reviewer)
    used = {"approval_id": str(approval.pk)}
    same = {"arguments": {"path": str(trace)}, **used}
    other_arguments = {"arguments": {"path": str(trace), "text": "more"}, **used}
    mallory = make_agent("mallory")
    refused = held(agent, trace, text="no")
    decide(reviewer, refused, "reject")
    no = {"arguments": {"path": str(trace), "text": "no"}, "approval_id": str(refused.pk)}
    mine = held(agent, trace, text="mine")
    approve = f"/api/v1/approvals/{mine.pk}/approve"
    tried = [
        agent.post("guarded_trace", same),  # Used again: the same outcome, nothing runs.
        agent.post("guarded_trace", other_arguments),  # For other arguments.
        agent.post("leave_trace", same),  # For another tool.
        mallory.post("guarded_trace", same),  # By somebody else.
        agent.post("guarded_trace", no),  # After a no.
        decide(reviewer, refused),  # A yes after a no.
        agent.client.post(approve),  # By the machine that asks.
        as_person(owner).post(approve),  # By whoever answers for it.
        decide(reviewer, out_of_time(mine)),  # Too late.
    ]
    work()
    codes = [200, 403, 403, 403, 403, 409, 403, 403, 410]
    assert [one.status_code for one in tried] == codes
    assert tried[0].json()["replayed"]
    late = held(agent, trace, text="late")
    decide(reviewer, late)
    out_of_time(late)
    work()  # An approval that nobody has used in time.
    assert effects(trace) == ["ran"]
    assert judged(exported(tmp_path), tmp_path) == PASS


# What a gate that does not hold would have written is found, by its rule.

Forge = Callable[[list[Line]], list[Line]]


def the(ledger: list[Line], event: str) -> Line:
    """The last line of its kind."""
    return [line for line in ledger if line["event"] == event][-1]


def without(ledger: list[Line], *events: str) -> list[Line]:
    """The ledger, of the last call without these lines."""
    call = the(ledger, "invocation:started")["invocation_id"]
    return [line for line in ledger if line["event"] not in events or line["invocation_id"] != call]


def changed(ledger: list[Line], event: str, /, **changes: Any) -> list[Line]:
    """The ledger with its last line of this kind changed."""
    one = the(ledger, event)
    return [{**line, **changes} if line is one else line for line in ledger]


def never_approved(ledger: list[Line]) -> list[Line]:
    """It was queued at once, as if the tool wanted nobody's yes."""
    ledger = changed(ledger, "invocation:held", event="invocation:queued", approval_id=None)
    ledger = changed(ledger, "invocation:started", approval_id=None)
    return without(ledger, "approval:approved")


def run_after_a_no(ledger: list[Line]) -> list[Line]:
    """A person said no, and it ran."""
    return changed(ledger, "approval:approved", event="approval:rejected")


def other_arguments_ran(ledger: list[Line]) -> list[Line]:
    """What ran is not what was approved."""
    arguments = {**the(ledger, "invocation:started")["arguments"], "text": "something else"}
    return changed(ledger, "invocation:started", arguments=arguments)


def a_hidden_argument_was_changed(ledger: list[Line]) -> list[Line]:
    """It looks the same, since what differs is redacted; the digest is another."""
    metadata = {**the(ledger, "invocation:started")["metadata"], "digest": "0" * 64}
    return changed(ledger, "invocation:started", metadata=metadata)


def something_else_was_shown(ledger: list[Line]) -> list[Line]:
    """The approval of one call was used for another."""
    first = next(line for line in ledger if line["event"] == "approval:approved")
    return changed(ledger, "invocation:started", approval_id=first["approval_id"])


def used_twice(ledger: list[Line]) -> list[Line]:
    """It ran again, and no worker had died."""
    started = the(ledger, "invocation:started")
    at = ledger.index(started) + 1
    return [*ledger[:at], started, *ledger[at:]]


def used_too_late(ledger: list[Line]) -> list[Line]:
    """It ran after the time to use the yes."""
    use_by = the(ledger, "approval:approved")["metadata"]["use_by"]
    late = use_by.replace(use_by[:4], str(int(use_by[:4]) + 1), 1)
    return changed(ledger, "invocation:started", ended_at=late)


def run_before_the_yes(ledger: list[Line]) -> list[Line]:
    """The yes was put behind what had run."""
    yes = the(ledger, "approval:approved")
    at = ledger.index(the(ledger, "invocation:started"))
    rest = [line for line in ledger if line is not yes]
    return [*rest[:at], yes, *rest[at:]]


def run_after_it_was_taken_back(ledger: list[Line]) -> list[Line]:
    """It was void, and ran."""
    started = the(ledger, "invocation:started")
    void = {**started, "event": "invocation:voided", "reason": "policy_changed"}
    at = ledger.index(started)
    return [*ledger[:at], void, *ledger[at:]]


def went_round_a_no(ledger: list[Line]) -> list[Line]:
    """What a person had refused ran as another call, which nobody was asked about."""
    refused = the(ledger, "approval:rejected")
    asked = refused["metadata"]["requester"]
    again = {**refused, "invocation_id": "another", "approval_id": None, "actor": asked}
    ran = [{**again, "event": f"invocation:{word}"} for word in ("queued", "started")]
    return [*ledger, *ran]


def run_after_the_stop(ledger: list[Line]) -> list[Line]:
    """All tools were stopped, and one ran."""
    yes = the(ledger, "approval:approved")
    stop = {**yes, "event": "stop:engaged", "ended_at": "2020-01-01T00:00:00.000000Z"}
    at = ledger.index(the(ledger, "invocation:started"))
    return [*ledger[:at], stop, *ledger[at:]]


def nobody_said_yes(ledger: list[Line]) -> list[Line]:
    """There is an approval, and no line of who gave it."""
    return without(ledger, "approval:approved")


FORGED: dict[Forge, tuple[int, set[str]]] = {
    never_approved: (1, {"ACK001"}),
    run_after_a_no: (1, {"ACK002", "ACK006"}),
    other_arguments_ran: (1, {"ACK003"}),
    a_hidden_argument_was_changed: (1, {"ACK003"}),
    something_else_was_shown: (1, {"ACK003", "ACK004"}),
    used_twice: (1, {"ACK004"}),
    used_too_late: (1, {"ACK005"}),
    run_before_the_yes: (1, {"ACK006"}),
    run_after_it_was_taken_back: (1, {"ACK006"}),
    went_round_a_no: (1, {"ACK001", "ACK007"}),
    run_after_the_stop: (1, {"ACK008"}),
    nobody_said_yes: (3, {"ACK009"}),
}


@pytest.fixture
def story(agent: Agent, trace: Path, reviewer: User, tmp_path: Path) -> list[Line]:
    """Two calls that ran, and between them one that a person had refused."""
    approved_and_run(agent, trace, reviewer, text="first")
    decide(reviewer, held(agent, trace, text="refused"), "reject")
    approved_and_run(agent, trace, reviewer, text="second")
    return exported(tmp_path)


def test_the_story_passes_before_it_is_forged(story: list[Line], tmp_path: Path) -> None:
    assert judged(story, tmp_path) == PASS


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__)
def test_what_a_broken_gate_would_have_written_is_found(
    forge: Forge, story: list[Line], tmp_path: Path
) -> None:
    assert judged(forge(story), tmp_path) == FORGED[forge]


def test_every_rule_of_agentack_is_met() -> None:
    listed = subprocess.run(
        [BIN / "agentack", "rules", "--json"], capture_output=True, text=True, check=True
    )
    met = set[str]().union(*(codes for _, codes in FORGED.values()))
    assert met == set(json.loads(listed.stdout))
