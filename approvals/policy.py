"""May this call be made? The answer is a value, never an exception: Allow, NeedsApproval, Deny.

Every rule is asked, those of the tool's code and those that people have written, and the strictest
answer wins: Deny over NeedsApproval over Allow. What can't be judged is denied, or held where only
a value is missing. Nothing here touches the database; `rulebook` reads what people have written.
"""

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

from approvals.stages import PLAIN_TERMS, Terms
from approvals.states import Effect
from audit.canonical import short_digest
from tools import ToolContext, scopes
from tools.conditions import Condition, Incomparable
from tools.definition import ToolDefinition
from tools.drafts import PolicyCheck


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """A person has to look at it, and why; `terms` say who, and how."""

    reason: str
    terms: Terms = PLAIN_TERMS


@dataclass(frozen=True, slots=True)
class Deny:
    """It may not be made; `error_type` is the stable name of why."""

    error_type: str
    message: str


Decision = Allow | NeedsApproval | Deny


@dataclass(frozen=True, slots=True)
class Question:
    """One call, as the rules see it."""

    tool: ToolDefinition
    context: ToolContext
    values: Mapping[str, Any]


class Rule(Protocol):
    """One reason to hold or to refuse a call; `name` is for people who ask which it was."""

    @property
    def name(self) -> str: ...

    def verify(self, question: Question) -> Decision: ...


@dataclass(frozen=True, slots=True)
class PythonPolicy:
    """A callable of the tool's author. One that fails, or answers nonsense, denies."""

    check: PolicyCheck

    @property
    def name(self) -> str:
        return f"policy {self.check.name}"

    def verify(self, question: Question) -> Decision:
        try:
            answer = self.check.check(question.context, deepcopy(dict(question.values)))
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer))
        except Exception as error:
            return Deny("PolicyError", f"policy {self.check.name} failed: {type(error).__name__}")
        match answer:
            case True | None:
                return Allow()
            case False:
                return Deny("PolicyDenied", f"policy denied: {self.check.name}")
            case str() if answer:
                return Deny("PolicyDenied", answer)
            case _:
                return Deny("PolicyError", f"policy {self.check.name} gave no answer")


@dataclass(frozen=True, slots=True)
class ApprovalConditions:
    """What the tool's own code says about when a person is needed."""

    name = "approval conditions"

    def verify(self, question: Question) -> Decision:
        reason = question.tool.approval_reason(question.values)
        return NeedsApproval(reason) if reason else Allow()


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """A policy that people have written: which calls it is about, and what becomes of them."""

    title: str
    effect: str
    tool: str
    actor: str
    scope: str
    side_effect: str
    conditions: tuple[Condition, ...]
    terms: Terms
    fault: str = ""
    """What is wrong with the rule as it stands; such a rule denies what it is about."""

    @property
    def name(self) -> str:
        return f"rule {self.title}"

    def concerns(self, tool: ToolDefinition, actor: str) -> bool:
        """Whether it is about this caller's calls of the tool, whatever their arguments."""
        return self.is_about(tool) and (not self.actor or fnmatchcase(actor, self.actor))

    def is_about(self, tool: ToolDefinition) -> bool:
        """Whether it is about calls of the tool, whoever makes them."""
        return (
            fnmatchcase(tool.name, self.tool)
            and (not self.scope or (bool(tool.scope) and scopes.allows([self.scope], tool.scope)))
            and (not self.side_effect or _has_effect(tool, self.side_effect))
        )

    def verify(self, question: Question) -> Decision | None:
        """What it says of a call that it concerns; None if its conditions are not met."""
        if self.fault:
            return Deny("PolicyError", f"rule {self.title} can't be read: {self.fault}")
        met, unclear = [], []
        for condition in self.conditions:
            try:
                met.append(condition.why_met(question.values))
            except Incomparable as doubt:
                unclear.append(str(doubt))
        if None in met:
            return None
        if unclear:
            return NeedsApproval(f"{'; '.join(unclear)} ({self.name})", self.terms)
        return self._said("; ".join(filter(None, met)))

    def _said(self, reason: str) -> Decision:
        told = f"{reason} ({self.name})" if reason else self.name
        match self.effect:
            case Effect.ALLOW:
                return Allow()
            case Effect.REQUIRE:
                return NeedsApproval(told, self.terms)
            case _:
                return Deny("PolicyDenied", f"policy denied: {told}")

    @property
    def substance(self) -> list[Any]:
        """What of it makes a difference to a call."""
        conditions = [
            [rule.field, rule.operator.value, repr(rule.value)] for rule in self.conditions
        ]
        about = [self.effect, self.tool, self.actor, self.scope, self.side_effect, self.fault]
        stages = [[stage.needs, stage.group_id] for stage in self.terms.stages]
        return [*about, conditions, stages, {**self.terms.as_json(), "stages": None}]

    @property
    def is_about_all_callers(self) -> bool:
        """Whether it makes no difference who calls."""
        return self.actor in ("", "*")


def _has_effect(tool: ToolDefinition, effect: str) -> bool:
    if effect == "writes":
        return not tool.is_read_only
    return bool(getattr(tool.side_effects, effect))


@dataclass(frozen=True, slots=True)
class UnruledWrites:
    """What becomes of writing tools that no rule speaks of: `allow`, `hold` or `deny`."""

    setting: str

    @property
    def name(self) -> str:
        return f"unruled writes: {self.setting}"

    def verify(self, question: Question) -> Decision:
        tool = question.tool
        if tool.is_read_only or tool.approval_reasons_possible or tool.policies:
            return Allow()
        match self.setting:
            case "allow":
                return Allow()
            case "hold":
                return NeedsApproval("the tool writes and no rule speaks of it")
            case _:
                return Deny("PolicyDenied", "the tool writes and no rule speaks of it")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one rule answered."""

    rule: str
    decision: Decision


MOST_REMEMBERED = 4096
"""Pairs of tool and caller for which a rulebook remembers its rules."""


@dataclass(frozen=True, slots=True)
class Extract:
    """The rules that one caller's calls of one tool may meet, and their version."""

    rules: tuple[WrittenRule, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Every rule that people have written, in their order, and what becomes of unruled writes.

    What it finds for a tool and a caller is remembered: a thousand rules cost each call the same
    as one.
    """

    written: tuple[WrittenRule, ...]
    unruled_writes: str
    extracts: dict[tuple[str, str], Extract] = field(default_factory=dict, compare=False)

    def about(self, tool: ToolDefinition, actor: str) -> tuple[WrittenRule, ...]:
        """The written rules that this caller's calls of the tool may meet."""
        return self._extract(tool, actor).rules

    def version(self, tool: ToolDefinition, actor: str) -> str:
        """A short digest of all rules that these calls may meet; it changes when they do.

        Neither their names nor their order make a difference.
        """
        return self._extract(tool, actor).version

    def _extract(self, tool: ToolDefinition, actor: str) -> Extract:
        place = (tool.schema_hash, actor)
        found = self.extracts.get(place)
        if found is None:
            if len(self.extracts) >= MOST_REMEMBERED:
                self.extracts.clear()
            found = self.extracts[place] = self._extracted(tool, actor)
        return found

    def _extracted(self, tool: ToolDefinition, actor: str) -> Extract:
        about = tuple(rule for rule in self.written if rule.concerns(tool, actor))
        if not about:
            return Extract((), tool.policy_version)
        substances = sorted((rule.substance for rule in about), key=repr)
        return Extract(about, short_digest([tool.policy_version, substances]))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all rules together say, and what each has said."""

    decision: Decision
    opinions: tuple[Opinion, ...]


def judge(question: Question, book: Rulebook) -> Judgement:
    """Ask every rule; the strictest answer wins, and the reasons and terms to hold are joined."""
    found = tuple(opinions(question, book))
    return Judgement(strictest(found), found)


def opinions(question: Question, book: Rulebook) -> Iterator[Opinion]:
    """Every rule's answer, in the order in which they are asked; rules that don't match are silent.

    What becomes of unruled writes is asked last, and only if no written rule has spoken.
    """
    for rule in _of_the_code(question.tool):
        yield Opinion(rule.name, rule.verify(question))
    is_ruled = False
    for written in book.about(question.tool, question.context.actor):
        decision = written.verify(question)
        if decision is not None:
            is_ruled = True
            yield Opinion(written.name, decision)
    if not is_ruled:
        last = UnruledWrites(book.unruled_writes)
        yield Opinion(last.name, last.verify(question))


def strictest(found: Iterable[Opinion]) -> Decision:
    """Deny over NeedsApproval over Allow."""
    answers = [opinion.decision for opinion in found]
    for answer in answers:
        if isinstance(answer, Deny):
            return answer
    holding = [answer for answer in answers if isinstance(answer, NeedsApproval)]
    if not holding:
        return Allow()
    reason = "; ".join(answer.reason for answer in holding)
    return NeedsApproval(reason, Terms.united([answer.terms for answer in holding]))


def _of_the_code(tool: ToolDefinition) -> Iterator[Rule]:
    yield from (PythonPolicy(check) for check in tool.policies)
    yield ApprovalConditions()


async def _awaited(value: Any) -> Any:
    return await value
