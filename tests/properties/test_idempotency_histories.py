"""Histories of calls under a few keys: which are new, and which are answered with an earlier one.

The model knows the keys and nothing else: who holds which, and whether it may be taken over.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals import deciding, transitions, upkeep
from approvals.models import Approval, Invocation
from tests.conftest import Agent, MakeAgent, work

pytestmark = [pytest.mark.django_db, pytest.mark.feature("X6", "T13", "E28")]


@dataclass(frozen=True)
class Kind:
    """A kind of call, and what becomes of it."""

    tool: str
    arguments: dict[str, Any]
    begins: str
    """Where it stands once it is let in: held, queued, or at its end; `refused` if it is not."""
    ends: str = "success"
    may_repeat: bool = False
    traces: bool = True


KINDS = {
    "writes": Kind("leave_trace", {"text": "a"}, "queued"),
    "writes otherwise": Kind("leave_trace", {"text": "b"}, "queued"),
    "writes and fails": Kind("writes_and_fails", {}, "queued", "error"),
    "is held": Kind("guarded_trace", {"text": "a"}, "held"),
    "wants a key": Kind("once", {}, "queued"),
    "may repeat": Kind("may_repeat", {"go": "/"}, "queued", may_repeat=True),
    "reads": Kind("trace_read", {}, "success", may_repeat=True),
    "reads and fails": Kind("fails", {"pin": "1234"}, "error", "error", True, traces=False),
    "is refused": Kind("on_weekdays", {"day": "sunday"}, "refused", traces=False),
    "is let in": Kind("on_weekdays", {"day": "monday"}, "success", may_repeat=True, traces=False),
}
FAILED = ("error", "unknown")
MOST_CLAIMS = 3
WORDS = {"held": "requires_approval", "queued": "pending"}

CALLS = st.tuples(
    st.sampled_from([0, 0, 1]), st.sampled_from([None, "k1", "k1", "k2"]),
    st.sampled_from(sorted(KINDS)),
)  # fmt: skip
TURNS = st.sampled_from(["work", "lose", "approve", "reject"])
EPISODES = st.one_of(
    st.tuples(CALLS),
    st.tuples(TURNS),
    CALLS.map(lambda call: (call, call)),
    st.builds(lambda call, turn: (call, turn, call), CALLS, TURNS),
)
HISTORIES = st.lists(EPISODES, max_size=8).map(lambda episodes: [*itertools.chain(*episodes)])


@dataclass(eq=False)
class Entry:
    """A call that was let in."""

    caller: int
    kind: Kind
    status: str
    invocation_id: str
    lost: int = 0
    """How many workers have died of it."""


@dataclass
class Keys:
    """Who holds which key, in the model."""

    holders: dict[tuple[int, str], Entry] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    effects: int = 0

    def judge(self, caller: int, key: str | None, kind: Kind) -> str | Entry:
        """What a call is: `new`, refused for some reason, or the twin of an earlier one."""
        new = "PolicyDenied" if kind.begins == "refused" else "new"
        if key is None:
            return (
                "IdempotencyKeyRequired" if kind.tool == "once" else self._held(caller, kind, new)
            )
        holder = self.holders.get((caller, key))
        if holder is None:
            return new
        if holder.kind is not kind:
            return "IdempotencyConflict"
        if holder.status == "queued":
            return "IdempotencyInProgress"
        return new if holder.status in FAILED and kind.may_repeat else holder

    def _held(self, caller: int, kind: Kind, new: str) -> str | Entry:
        """The newest call like it that waits for a person, if there is one."""
        twins = (
            entry
            for entry in reversed(self.entries)
            if (entry.caller, entry.kind, entry.status) == (caller, kind, "held")
        )
        return next(twins, new)

    def enter(self, caller: int, key: str | None, kind: Kind, invocation_id: str) -> None:
        """A new call is let in, and holds its key from now on."""
        assert invocation_id not in {entry.invocation_id for entry in self.entries}
        entry = Entry(caller, kind, kind.begins, invocation_id)
        self.entries.append(entry)
        self.effects += kind.traces and kind.begins not in WORDS
        if key is not None:
            self.holders[caller, key] = entry

    def turn(self, what: str) -> None:
        """All that wait are run, lost or decided."""
        for entry in self.entries:
            match what, entry.status:
                case "work", "queued":
                    entry.status = entry.kind.ends
                    self.effects += entry.kind.traces
                case "lose", "queued":
                    entry.lost += 1
                    again = entry.kind.may_repeat and entry.lost < MOST_CLAIMS
                    entry.status = "queued" if again else "unknown"
                case "approve", "held":
                    entry.status = "queued"
                case "reject", "held":
                    entry.status = "rejected"


class House:
    """The product, and what is done to it."""

    def __init__(self, agents: list[Agent], reviewer: Any, trace: Path) -> None:
        self.agents, self.reviewer, self.trace = agents, reviewer, trace

    def call(self, caller: int, key: str | None, kind: Kind) -> Any:
        arguments = dict(kind.arguments)
        if kind.traces:
            arguments["path"] = str(self.trace)
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.agents[caller].invoke(kind.tool, headers=headers, **arguments)

    def turn(self, what: str) -> None:
        match what:
            case "work":
                work()
            case "lose":
                self._lose()
            case verb:
                for approval in Approval.objects.with_everything().pending():
                    getattr(deciding, verb)(approval, self.reviewer)

    def _lose(self) -> None:
        """Workers take all that is queued, die of it, and are missed."""
        for row in Invocation.objects.filter(status="queued").order_by("id"):
            transitions.claim(row, transitions.now())
        Invocation.objects.running().update(lease_expires_at=transitions.now())
        upkeep.settle_lost(transitions.now())

    def effects(self) -> int:
        return len(self.trace.read_text().splitlines()) if self.trace.exists() else 0


def compare(house: House, keys: Keys, caller: int, key: str | None, kind: Kind) -> None:
    """Make the call, and see that it is answered as what the model says it is."""
    expected = keys.judge(caller, key, kind)
    answer = house.call(caller, key, kind)
    body = answer.json()
    if isinstance(expected, Entry):
        ended = expected.status not in WORDS
        assert body["invocation_id"] == expected.invocation_id
        assert body["status"] == WORDS.get(expected.status, expected.status)
        assert (body["replayed"], "Idempotency-Replayed" in answer) == (ended, ended)
    elif expected == "new":
        keys.enter(caller, key, kind, body["invocation_id"])
        assert (body["replayed"], body["status"]) == (False, WORDS.get(kind.begins, kind.begins))
    else:
        http = {"PolicyDenied": 403, "IdempotencyKeyRequired": 400}.get(expected, 409)
        assert (body["error_type"], answer.status_code) == (expected, http)
        assert body["invocation_id"] is None


@contextmanager
def rolled_back() -> Iterator[None]:
    """Each history begins with nothing."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.timeout(1800)
def test_a_key_stands_for_one_call_until_that_may_be_made_again(
    make_agent: MakeAgent, reviewer: Any, tmp_path: Path, slowly: settings
) -> None:
    agents = [make_agent("ann"), make_agent("ben")]
    numbers = itertools.count()

    @slowly
    @given(history=HISTORIES)
    def histories(history: list[Any]) -> None:
        house, keys = House(agents, reviewer, tmp_path / str(next(numbers))), Keys()
        with rolled_back():
            for step in history:
                if isinstance(step, str):
                    house.turn(step)
                    keys.turn(step)
                    continue
                caller, key, name = step
                compare(house, keys, caller, key, KINDS[name])
            assert house.effects() == keys.effects
            for entry in keys.entries:
                assert Invocation.objects.get(pk=entry.invocation_id).status == entry.status

    histories()
