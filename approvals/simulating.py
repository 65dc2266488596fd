"""What would become of a call: the walk of `pipeline.submit` up to its decision, doing nothing.

The same functions of the door and of the policy are asked, in the same order. Nothing is written,
told or counted: limits are only named, and no earlier call under an idempotency key is looked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from approvals import door
from approvals.door import Action, Call, Refusal, Visit
from approvals.policy import Deny, NeedsApproval, Opinion
from approvals.reviewers import deciders
from audit.models import local_now
from audit.redaction import Redactor
from tools import registry
from tools.identity import Caller
from tools.models import ApiKey

Gate = Callable[[Visit], Action | Refusal | None]


class Answer(StrEnum):
    """What one step of the walk says of the call."""

    ALLOW = "allow"
    """Nothing against it."""
    HOLD = "hold"
    """A person decides."""
    DENY = "deny"
    """No, and the walk ends."""
    UNCOUNTED = "not counted"
    """A limit under which a real call would be counted."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is asked about the call, and the answer; its reason shows no secret."""

    rule: str
    answer: Answer
    reason: str = ""
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Supposed:
    """A caller as a key makes it, or one that has nothing but scopes."""

    caller: Caller
    requesting_side: frozenset[int | None] = frozenset()
    """The people who could not decide its calls."""

    @classmethod
    def with_key(cls, row: ApiKey) -> "Supposed":
        """The caller whose key this is."""
        return cls(Caller.of(row), frozenset({row.owner_id, row.created_by_id}))

    @classmethod
    def with_scopes(cls, actor: str, scopes: list[str]) -> "Supposed":
        """A caller that has no key yet."""
        caller = Caller(
            key_id=0, prefix="", digest="", lineage=uuid4(), actor=actor, owner_id=0,
            owner_name="", owner_is_active=True, scopes=tuple(scopes), tools=frozenset(),
            networks=(), rate_tier="", expires_at=None, revoked_at=None, last_used_at=None,
        )  # fmt: skip
        return cls(caller)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Every step up to the one that ends the walk, and who could decide what is held."""

    steps: tuple[Step, ...]
    eligible: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """Deny over hold over allow."""
        return self.decisive[0].answer if self.decisive else Answer.ALLOW

    @property
    def decisive(self) -> list[Step]:
        """The steps that made the answer: the first that denies, or all that hold, or none."""
        denying = [step for step in self.steps if step.answer is Answer.DENY]
        return denying[:1] or [step for step in self.steps if step.answer is Answer.HOLD]


def simulate(call: Call, supposed: Supposed) -> Simulation:
    """What would become of the call. Raises UnknownTool. The tool's policies are asked for real."""
    tool = registry.find(call.tool_name)
    visit = door.visit_of(call, supposed.caller, tool, local_now())
    found = Simulation(tuple(_walk(visit)))
    if found.answer is not Answer.HOLD:
        return found
    able = [user for user in deciders() if user.pk not in supposed.requesting_side]
    return Simulation(found.steps, tuple(user.get_username() for user in able))


def _walk(visit: Visit) -> Iterator[Step]:
    """The steps in the order of the real walk; a refusal at the door is the last of them."""
    gates: tuple[tuple[str, Gate], ...] = (
        ("open to the caller", door.closed),
        ("idempotency key", door.without_idempotency_key),
        ("arguments", door.validated),
        (f"scope {visit.tool.scope}", door.out_of_scope),
    )
    for rule, gate in gates:
        found = gate(visit)
        if isinstance(found, Refusal):
            yield _refused(rule, found, visit.redactor)
            return
        yield Step(rule, Answer.ALLOW)
        if isinstance(found, Action):
            action = found
    yield from _judged(action)


def _judged(action: Action) -> Iterator[Step]:
    """Every rule's answer, and the limits if none of them denies."""
    visit = action.visit
    found = door.judged(action).opinions
    for opinion in found:
        yield _said(opinion, visit.redactor)
    if any(isinstance(opinion.decision, Deny) for opinion in found):
        return
    if visit.tool.rate_limit:
        yield Step(f"rate limit {visit.tool.rate_limit.text}", Answer.UNCOUNTED)
    if visit.caller.rate_tier:
        yield Step(f"rate tier {visit.caller.rate_tier}", Answer.UNCOUNTED)


def _said(opinion: Opinion, redactor: Redactor) -> Step:
    match opinion.decision:
        case Deny(error_type, message):
            return Step(opinion.rule, Answer.DENY, redactor.text(message), error_type)
        case NeedsApproval(reason):
            return Step(opinion.rule, Answer.HOLD, redactor.text(reason))
        case _:
            return Step(opinion.rule, Answer.ALLOW)


def _refused(rule: str, refusal: Refusal, redactor: Redactor) -> Step:
    faults = [f"{fault['path']}: {fault['message']}" for fault in refusal.fields]
    reason = redactor.text("; ".join([refusal.message, *faults]))
    return Step(rule, Answer.DENY, reason, refusal.error_type)
