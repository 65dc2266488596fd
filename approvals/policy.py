"""May this call be made? The answer is a value, never an exception: Allow, NeedsApproval, Deny.

Every rule is asked, and the strictest answer wins: Deny over NeedsApproval over Allow. What
can't be judged is denied. Nothing here touches the database.
"""

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from tools import ToolContext
from tools.definition import ToolDefinition
from tools.drafts import PolicyCheck


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """A person has to look at it, and why."""

    reason: str


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


def judge(question: Question, unruled_writes: str) -> Decision:
    """Ask every rule; the strictest answer wins, and the reasons to hold are joined."""
    return strictest(opinions(question, unruled_writes))


def opinions(question: Question, unruled_writes: str) -> list[Opinion]:
    """Every rule's answer, in the order in which they are asked."""
    rules = _rules(question.tool, unruled_writes)
    return [Opinion(rule.name, rule.verify(question)) for rule in rules]


def strictest(found: Iterable[Opinion]) -> Decision:
    """Deny over NeedsApproval over Allow."""
    answers = [opinion.decision for opinion in found]
    for answer in answers:
        if isinstance(answer, Deny):
            return answer
    reasons = [answer.reason for answer in answers if isinstance(answer, NeedsApproval)]
    return NeedsApproval("; ".join(reasons)) if reasons else Allow()


def _rules(tool: ToolDefinition, unruled_writes: str) -> Iterator[Rule]:
    yield from (PythonPolicy(check) for check in tool.policies)
    yield ApprovalConditions()
    yield UnruledWrites(unruled_writes)


async def _awaited(value: Any) -> Any:
    return await value
