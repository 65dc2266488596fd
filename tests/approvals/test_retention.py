"""What is over goes when its time has come, whole; what is not over, or held, stays."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from approvals import deciding, transitions, upkeep
from approvals.editing import edit
from approvals.models import (
    Approval,
    Channel,
    DeliveryAttempt,
    Edit,
    Invocation,
    Notice,
    Vote,
)
from approvals.notices import routes
from approvals.retention import KINDS, Cutoffs, Kind, not_over
from approvals.transitions import Said, now
from audit import holds
from audit.models import Event, LegalHold, new_id
from tests.conftest import Agent, MakeAgent, held, work
from tests.session_kit import call, close, open_one, report_of
from tools import sessions
from tools.models import ApiKey, Session

pytestmark = [pytest.mark.django_db, pytest.mark.feature("K2")]

NOTICES, CALLS, SESSIONS, KEYS = KINDS
NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def at(**given: datetime) -> Cutoffs:
    """Everything that is over by now, but for what is said otherwise."""
    soon = now() + timedelta(seconds=1)
    return Cutoffs(**dict.fromkeys(("calls", "notices", "sessions", "keys"), soon) | given)


def sweep(*kinds: Kind, cutoffs: Cutoffs | None = None, most: int = 100) -> Counter[str]:
    """All batches of these kinds, or of all, and how many rows of which tables went."""
    cutoffs, gone = cutoffs or at(), Counter[str]()
    for kind in kinds or KINDS:
        for taken in iter(lambda kind=kind: kind.take(cutoffs, most), Counter()):
            gone += taken
    return gone


def foreseen(*kinds: Kind, cutoffs: Cutoffs | None = None) -> Counter[str]:
    """What a sweep would take."""
    cutoffs, due = cutoffs or at(), Counter[str]()
    for kind in kinds or KINDS:
        due += kind.due(cutoffs)
    return due


def call_of(answer: Any) -> Invocation:
    return Invocation.objects.get(pk=answer.json()["invocation_id"])


@pytest.fixture
def decided(agent: Agent, trace: Path, reviewer: User) -> Approval:
    """A call that was held, edited, approved and run."""
    approval = held(agent, trace)
    other = User.objects.create_superuser("editor")
    arguments = {"path": str(trace), "text": "other"}
    digest = approval.invocation.digest
    edited = edit(approval, other, arguments, Said(), expected_digest=digest)
    assert isinstance(edited, deciding.Decided), edited
    deciding.approve(Approval.objects.with_everything().get(pk=approval.pk), reviewer)
    work()
    return Approval.objects.with_everything().get(pk=approval.pk)


@pytest.fixture
def channel(db: None) -> Iterator[Channel]:
    """A place where a notice may go."""
    routes.forget()
    yield Channel.objects.create(name="ops", kind=Channel.Kind.EMAIL, address="ops@rampart.example")
    routes.forget()


def notice_of(channel: Channel, row: Invocation | None, status: str, **columns: Any) -> Notice:
    """A notice with one attempt to send it."""
    made = Notice.objects.create(
        kind="test", channel=channel, invocation=row, status=status, **columns
    )
    DeliveryAttempt.objects.create(notice=made, milliseconds=1, is_good=True)
    return made


# Calls.


def test_a_call_goes_with_its_approval_its_votes_and_its_edits(decided: Approval) -> None:
    assert decided.invocation.status == "success"
    assert sweep(CALLS) == {
        "approvals.Vote": 1, "approvals.Edit": 1, "approvals.Approval": 1,
        "approvals.Invocation": 1,
    }  # fmt: skip
    for model in (Vote, Edit, Approval, Invocation):
        assert not model._default_manager.exists()


def test_what_the_ledger_tells_of_a_call_outlives_it(decided: Approval) -> None:
    lines = Event.objects.filter(invocation_id=decided.invocation_id).count()
    sweep()
    assert Event.objects.filter(invocation_id=decided.invocation_id).count() == lines > 3


def test_each_end_is_an_end(agent: Agent, trace: Path, reviewer: User) -> None:
    for text, end in {
        "no": lambda one: deciding.reject(one, reviewer),
        "void": lambda one: transitions.void(one.invocation, "tool_changed"),
        "back": lambda one: transitions.cancel(one.invocation, by="agent"),
    }.items():
        end(held(agent, trace, text=text))
    agent.invoke("fails", pin="1234")
    work()
    statuses = {"rejected", "void", "cancelled", "error"}
    assert set(Invocation.objects.values_list("status", flat=True)) == statuses
    assert sweep(CALLS)["approvals.Invocation"] == 4


def _held(agent: Agent, trace: Path) -> Invocation:
    return held(agent, trace).invocation


def _queued(agent: Agent, trace: Path) -> Invocation:
    return call_of(agent.invoke("leave_trace", path=str(trace)))


def _running(agent: Agent, trace: Path) -> Invocation:
    return transitions.claim(_queued(agent, trace), now())


def _unknown(agent: Agent, trace: Path) -> Invocation:
    row = _running(agent, trace)
    Invocation.objects.filter(pk=row.pk).update(lease_expires_at=now())
    assert upkeep.settle_lost(now()) == 1
    return row


@pytest.mark.parametrize("status", ["held", "queued", "running", "unknown"])
def test_what_is_not_over_stays_however_old_it_is(agent: Agent, trace: Path, status: str) -> None:
    made: Callable[[Agent, Path], Invocation] = globals()[f"_{status}"]
    row = made(agent, trace)
    row.refresh_from_db()
    assert row.status == status
    assert not foreseen() and not sweep()
    assert Invocation.objects.filter(pk=row.pk).exists()
    assert not_over([row.pk, new_id()]) == {row.pk}


def test_the_ledger_is_told_of_no_call_that_is_over(decided: Approval) -> None:
    assert not_over([decided.invocation_id]) == set()


def test_a_call_stays_until_its_time_is_over(decided: Approval) -> None:
    """Its time begins with its end, and not when it was asked for."""
    ended_at = decided.invocation.finished_at
    assert ended_at and ended_at - decided.invocation.created_at > timedelta(milliseconds=2)
    assert not foreseen(cutoffs=at(calls=ended_at))
    assert not sweep(cutoffs=at(calls=ended_at))
    assert sweep(cutoffs=at(calls=ended_at + timedelta(milliseconds=2)))


def test_a_batch_is_no_larger_than_it_may_be(agent: Agent) -> None:
    for value in range(5):
        agent.invoke("echo", value=value)
    taken = [CALLS.take(at(), 2)["approvals.Invocation"] for _ in range(4)]
    assert taken == [2, 2, 1, 0]


@pytest.mark.feature("X6")
def test_an_idempotency_key_is_free_again_when_its_call_is_gone(agent: Agent, trace: Path) -> None:
    def post() -> Any:
        return agent.invoke("trace_read", path=str(trace), headers={"Idempotency-Key": "k"}).json()

    assert (post()["replayed"], post()["replayed"]) == (False, True)
    sweep()
    assert post()["replayed"] is False
    assert len(trace.read_text().splitlines()) == 2


# Notices.


def test_settled_notices_go_with_their_attempts(agent: Agent, channel: Channel) -> None:
    for status in ("sent", "failed", "dropped", "waiting"):
        notice_of(channel, None, status)
    assert sweep(NOTICES) == {"approvals.Notice": 3, "approvals.DeliveryAttempt": 3}
    assert Notice.objects.get().status == "waiting"


def test_a_call_of_which_something_is_still_to_be_told_stays(
    agent: Agent, channel: Channel
) -> None:
    row = call_of(agent.invoke("echo"))
    waiting = notice_of(channel, row, "waiting")
    assert not foreseen() and not sweep()
    Notice.objects.filter(pk=waiting.pk).update(status="sent")
    assert sweep()["approvals.Invocation"] == 1


def test_a_notice_goes_with_its_call_even_if_it_is_kept_for_longer(
    agent: Agent, channel: Channel
) -> None:
    row = call_of(agent.invoke("echo"))
    notice_of(channel, row, "sent")
    alone = notice_of(channel, None, "sent")
    cutoffs = at(notices=NEVER)
    expected = {"approvals.Invocation": 1, "approvals.Notice": 1, "approvals.DeliveryAttempt": 1}
    assert foreseen(cutoffs=cutoffs) == expected
    assert sweep(cutoffs=cutoffs) == expected
    assert Notice.objects.get() == alone


# Legal holds.


HOLDS: dict[str, Callable[[Invocation], dict[str, Any]]] = {
    "everything": lambda row: {},
    "actor": lambda row: {"actor": row.actor},
    "tool": lambda row: {"tool_name": row.tool_name},
    "call": lambda row: {"invocation_id": row.pk},
    "session": lambda row: {"session_id": row.session_id},
    "time": lambda row: {"since": row.created_at, "until": row.created_at},
}


@pytest.mark.feature("K2", "U3")
@pytest.mark.parametrize("what", HOLDS)
def test_a_legal_hold_keeps_the_call_with_all_that_hangs_on_it(
    make_agent: MakeAgent, channel: Channel, what: str
) -> None:
    agent, other = make_agent(), make_agent("other")
    row = call_of(call(agent, open_one(agent), "echo"))
    assert row.session_id
    notice_of(channel, row, "sent")
    call_of(other.invoke("where_am_i"))
    hold = LegalHold(reason="a lawsuit", **HOLDS[what](row))
    holds.place(hold, by="counsel")
    due = foreseen(CALLS, NOTICES)
    assert sweep(NOTICES, CALLS) == due
    assert set(Invocation.objects.values_list("actor", flat=True)) == (
        {"agent", "other"} if what == "everything" else {"agent"}
    )
    assert Notice.objects.filter(invocation=row).exists()
    holds.release(hold.pk, by="counsel")
    assert sweep(NOTICES, CALLS)["approvals.Invocation"] >= 1


# Sessions.


def test_a_session_stays_while_it_is_open_and_while_it_has_calls(agent: Agent) -> None:
    unused, used, lasting = (open_one(agent) for _ in range(3))
    row = call_of(call(agent, used))
    for session in (unused, used):
        close(agent, session)
    assert sweep(SESSIONS) == {"tools.Session": 1}
    assert set(Session.objects.all()) == {used, lasting}
    assert foreseen(CALLS, SESSIONS) == {"approvals.Invocation": 1, "tools.Session": 1}
    assert sweep(CALLS, SESSIONS) == {"approvals.Invocation": 1, "tools.Session": 1}
    assert Session.objects.get() == lasting
    assert not Invocation.objects.filter(pk=row.pk).exists()


@pytest.mark.feature("R19")
def test_a_closed_session_tells_what_it_has_done_until_its_calls_go_and_then_what_it_spent(
    agent: Agent,
) -> None:
    session = open_one(agent)
    row = call_of(call(agent, session, "echo", value=1))
    close(agent, session)
    assert [one["invocation_id"] for one in report_of(agent, session)["calls"]] == [str(row.pk)]
    sweep(cutoffs=at(sessions=NEVER))
    told = report_of(agent, session, "?export_json=true")
    assert (told["calls"], told["provenance_graph"]["spans"]) == ([], [])
    assert told["provenance_graph"]["tool_calls"] == 1 and told["export_payload"]
    sweep()
    assert agent.get(f"sessions/{session.pk}/provenance").status_code == 404


# Keys.


def over(*keys: ApiKey) -> None:
    """Their time ended a while ago."""
    ids = [key.pk for key in keys]
    ApiKey.objects.filter(pk__in=ids).update(expires_at=now() - timedelta(minutes=1))


def test_a_caller_goes_when_all_its_keys_are_over_and_nothing_hangs_on_them(
    make_agent: MakeAgent,
) -> None:
    gone, used, usable, channelled = (make_agent(name) for name in ("a", "b", "c", "d"))
    used.invoke("echo")
    Channel.objects.create(name="theirs", kind=Channel.Kind.SLACK, caller=channelled.row)
    over(gone.row, used.row, channelled.row)
    assert sweep(KEYS) == {"tools.ApiKey": 1}
    assert set(ApiKey.objects.all()) == {used.row, usable.row, channelled.row}
    assert foreseen(CALLS, KEYS)["tools.ApiKey"] == 1
    assert sweep(CALLS, KEYS)["tools.ApiKey"] == 1


def test_a_key_with_a_session_stays(agent: Agent) -> None:
    session = open_one(agent)
    over(agent.row)
    assert not sweep(KEYS)
    sessions.close(session, by="test")
    assert foreseen() == sweep() == {"tools.Session": 1, "tools.ApiKey": 1}


def test_nobody_goes_by_whom_a_hold_names(agent: Agent) -> None:
    over(agent.row)
    holds.place(LegalHold(reason="a lawsuit", actor=agent.row.actor), by="counsel")
    assert not foreseen(KEYS) and not sweep(KEYS)


# Dry runs.


@pytest.mark.feature("K2", "E35")
def test_what_is_foreseen_is_what_goes(
    make_agent: MakeAgent, decided: Approval, trace: Path, channel: Channel
) -> None:
    """One of everything, some of it hanging on other things that go."""
    agent, other = make_agent("first"), make_agent("second")
    session, lasting = open_one(agent), open_one(other)
    for one, within in ((agent, session), (other, lasting)):
        row = call_of(call(one, within, "echo"))
        notice_of(channel, row, "sent")
    notice_of(channel, call_of(other.invoke("echo")), "waiting")
    close(agent, session)
    held(other, trace)
    over(agent.row, other.row)
    cutoffs = at()
    due = foreseen(cutoffs=cutoffs)
    assert due.keys() == {model._meta.label for kind in KINDS for model in kind.models}
    assert sweep(cutoffs=cutoffs, most=2) == due
    assert not foreseen(cutoffs=cutoffs)
