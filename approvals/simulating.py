"""What would become of a call: the walk of `pipeline.submit` up to its decision, doing nothing.

The same functions of the door and of the policy are asked, in the same order. Nothing is written,
told or counted: limits are only named, and no earlier call under an idempotency key is looked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import uuid4

from django.conf import settings

from approvals import door
from approvals.door import Action, Call, Refusal, Visit
from approvals.policy import Deny, Judgement, NeedsApproval, Opinion
from approvals.policy_facts import HOW, StageFacts, is_decidable, who_could
from approvals.reviewers import deciders
from approvals.rulebook import rulebook
from approvals.stages import Terms
from approvals.transitions import now
from audit.canonical import JSON
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
    def of(cls, actor: str, scopes: Sequence[str], prefix: str | None = None) -> "Supposed | None":
        """The actor with these scopes and no key, or with a usable key: the named or the newest."""
        if scopes:
            return cls.with_scopes(actor, scopes)
        rows = ApiKey.objects.usable(now()).filter(actor=actor).select_related("owner")
        row = (rows.filter(prefix=prefix) if prefix else rows).first()
        return None if row is None else cls.with_key(row)

    @classmethod
    def with_key(cls, row: ApiKey) -> "Supposed":
        """The caller whose key this is."""
        return cls(Caller.of(row), frozenset(row.people_behind))

    @classmethod
    def with_scopes(cls, actor: str, scopes: Sequence[str]) -> "Supposed":
        """A caller that has no key yet."""
        caller = Caller(
            key_id=0, prefix="", digest="", lineage=uuid4(), actor=actor, owner_id=0,
            owner_name="", owner_is_active=True, scopes=tuple(scopes), tools=frozenset(),
            networks=(), rate_tier="", expires_at=None, revoked_at=None, last_used_at=None,
        )  # fmt: skip
        return cls(caller)


@dataclass(frozen=True, slots=True)
class Wait:
    """What a held call would wait for."""

    terms: Terms
    stages: list[StageFacts]
    """Who could fill each, without the requester's side."""
    is_decidable: bool
    """Whether they are distinct people enough for all stages."""

    @property
    def expires_after(self) -> timedelta:
        """How long people would have."""
        usual: timedelta = settings.RAMPART_APPROVAL_TTL
        return self.terms.expires_after or usual

    @property
    def conditions(self) -> list[str]:
        """What else a decision would need, in words."""
        return [words for name, words in HOW.items() if getattr(self.terms, name)]


@dataclass(frozen=True, slots=True)
class Simulation:
    """Every step up to the one that ends the walk, and what a call would wait for if it is held."""

    steps: tuple[Step, ...]
    arguments: JSON
    """What was given, redacted."""
    wait: Wait | None = None

    @property
    def eligible(self) -> tuple[str, ...]:
        """Who could say the first yes."""
        return self.wait.stages[0].people if self.wait else ()

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
    rulebook(fresh=True)
    visit = door.visit_of(call, supposed.caller, tool, local_now())
    steps, action = _at_the_door(visit)
    judgement = None
    if action is not None:
        judgement = door.judged(action)
        steps += _judged(visit, judgement)
    shown: JSON = visit.redactor(call.arguments)
    return Simulation(tuple(steps), shown, _wait(judgement, supposed))


def _at_the_door(visit: Visit) -> tuple[list[Step], Action | None]:
    """The steps in the order of the real walk; a refusal is the last of them."""
    gates: tuple[tuple[str, Gate], ...] = (
        ("open to the caller", door.closed),
        ("idempotency key", door.without_idempotency_key),
        ("arguments", door.validated),
        (f"scope {visit.tool.scope}", door.out_of_scope),
        ("jail", door.unjailed),
    )
    steps: list[Step] = []
    action = None
    for rule, gate in gates:
        found = gate(visit)
        if isinstance(found, Refusal):
            return [*steps, _refused(rule, found, visit.redactor)], None
        steps.append(Step(rule, Answer.ALLOW))
        action = found or action
    return steps, action


def _judged(visit: Visit, judgement: Judgement) -> Iterator[Step]:
    """Every rule's answer, and the limits if none of them denies."""
    for opinion in judgement.opinions:
        yield _said(opinion, visit.redactor)
    if isinstance(judgement.decision, Deny):
        return
    if visit.tool.rate_limit:
        yield Step(f"rate limit {visit.tool.rate_limit.text}", Answer.UNCOUNTED)
    if visit.caller.rate_tier:
        yield Step(f"rate tier {visit.caller.rate_tier}", Answer.UNCOUNTED)


def _wait(judgement: Judgement | None, supposed: Supposed) -> Wait | None:
    if judgement is None or not isinstance(judgement.decision, NeedsApproval):
        return None
    terms, apart = judgement.decision.terms, supposed.requesting_side
    holders = [user for user in deciders() if user.pk not in apart]
    return Wait(terms, who_could(terms, holders), is_decidable(terms.stages, holders))


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
