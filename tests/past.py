"""A past that nobody lived through: held calls, decided long ago, written straight into the tables.

Only figures are made of it: no such call can be opened, decided or run.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import User

from approvals.models import Approval, Invocation, Vote
from audit.models import first_id_at, new_id
from tools.models import ApiKey, ToolVersion

ENDED = ("rejected", "expired", "cancelled", "void")


@dataclass
class Past:
    """Collects rows, and writes them in a few statements."""

    key: ApiKey
    version: ToolVersion
    invocations: list[Invocation] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)

    def call(
        self,
        held_at: datetime,
        status: str,
        *,
        tool: str = "refund_payment",
        ended_at: datetime | None = None,
        decided_by: User | None = None,
    ) -> Approval:
        """One held call, and what became of it."""
        row = Invocation(
            status={"pending": "held", "approved": "queued"}.get(status, "success"),
            tool_name=tool, tool_version=self.version, tool_version_number=self.version.number,
            policy_version="past", key=self.key, key_prefix=self.key.prefix,
            lineage=self.key.lineage, actor=self.key.actor, source="rest", request_id="past",
            digest=new_id().hex, asked_digest=new_id().hex, request_digest=new_id().hex,
            created_at=held_at, finished_at=ended_at or held_at,
        )  # fmt: skip
        approval = Approval(
            id=id_at(held_at), invocation=row, tool_name=tool, actor=self.key.actor, status=status,
            risk=3, reason="past", requested_at=held_at, resolved_at=ended_at,
            resolved_by=decided_by, expires_at=held_at + timedelta(days=1),
        )  # fmt: skip
        self.invocations.append(row)
        self.approvals.append(approval)
        return approval

    def vote(self, approval: Approval, who: User, at: datetime, **said: object) -> Vote:
        """A vote about it."""
        given = {"verdict": "approve", "digest": new_id().hex, "source": "admin", **said}
        vote = Vote(approval=approval, reviewer=who, at=at, **given)
        self.votes.append(vote)
        return vote

    def write(self) -> None:
        """Everything, in a few statements."""
        for rows in (self.invocations, self.approvals, self.votes):
            if rows:
                type(rows[0])._default_manager.bulk_create(rows, batch_size=500)
        self.invocations, self.approvals, self.votes = [], [], []


def id_at(moment: datetime) -> UUID:
    """An id that was made at this time."""
    return UUID(int=first_id_at(moment).int | random.getrandbits(62))


@dataclass(frozen=True)
class Habits:
    """How one reviewer votes."""

    person: User
    looks_for: tuple[float, float]
    """Seconds, from and to."""
    refuses: float
    in_bulk: float = 0.0


def weeks_of_work(
    past: Past,
    until: datetime,
    *,
    days: int,
    calls: int,
    tools: Sequence[str],
    team: Sequence[Habits],
    dice: random.Random,
) -> None:
    """Calls spread over these days, decided by the team as it is its habit."""
    for _ in range(calls):
        held_at = until - timedelta(seconds=dice.uniform(90_000, days * 86_400))
        tool = dice.choice(tools)
        ended_at = held_at + timedelta(seconds=min(dice.lognormvariate(6, 1.5), 86_000))
        if dice.random() < 0.12:
            past.call(held_at, dice.choice(ENDED[1:]), tool=tool, ended_at=ended_at)
            continue
        habits = dice.choice(team)
        is_no = dice.random() < habits.refuses
        status = "rejected" if is_no else dice.choice(("consumed",) * 20 + ("expired",))
        closed_at = ended_at + timedelta(hours=status == "expired")
        approval = past.call(
            held_at, status, tool=tool, ended_at=closed_at, decided_by=habits.person
        )
        looked = timedelta(seconds=dice.uniform(*habits.looks_for))
        past.vote(
            approval, habits.person, ended_at, verdict="reject" if is_no else "approve",
            shown_at=ended_at - looked, in_bulk=dice.random() < habits.in_bulk,
            source=dice.choice(("admin", "admin", "admin", "rest")),
        )  # fmt: skip
