"""What people have written, as rules: read from the database at most twice a second.

A policy that can't be read as a rule (somebody went past the form) denies what it is about, so
that a mistake closes and never opens.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.conf import settings

from approvals.models import Policy
from approvals.models.policies import LONGEST_TO_DECIDE_DAYS
from approvals.policy import Rulebook, WrittenRule
from approvals.stages import Stage, Terms
from approvals.states import Effect
from tools.conditions import Condition, Operator

SECONDS_REMEMBERED = 0.5
OF_POLICY = (
    "id", "name", "effect", "tool", "actor", "scope", "side_effect", "conditions",
    "expires_after", "reason_required", "no_bulk", "step_up", "typed_confirmation",
)  # fmt: skip
OF_STAGE = ("stages__needs", "stages__group_id", "stages__group__name")

Rows = list[tuple[Any, ...]]
"""What was read: a row for each stage of a policy, or one for a policy without."""


@dataclass(slots=True)
class _Memory:
    until: float
    read: tuple[str, Rulebook]
    """The rows, and the book that was made of them: one value, so that threads see both or none."""


_memory = _Memory(0.0, ("", Rulebook((), "")))


def rulebook(*, fresh: bool = False) -> Rulebook:
    """The rules, at most half a second old; `fresh` reads them now.

    As long as the rows are the same, so is the book, and what it remembers stays good.
    """
    now = time.monotonic()
    if fresh or now >= _memory.until:
        rows = _read()
        if (text := repr(rows)) != _memory.read[0]:  # 1 == True, and they are different rules.
            _memory.read = (text, Rulebook(tuple(_rules(rows)), settings.RAMPART_UNRULED_WRITES))
        _memory.until = now + SECONDS_REMEMBERED
    book = _memory.read[1]
    if book.unruled_writes == settings.RAMPART_UNRULED_WRITES:
        return book
    return replace(book, unruled_writes=settings.RAMPART_UNRULED_WRITES)


def forget() -> None:
    """Drop what this process remembers, because a policy was just changed."""
    _memory.until = 0.0


def rule_of(policy: Policy, stages: Sequence[Stage] | None = None) -> WrittenRule:
    """The policy as a rule; one that can't be read is about all that it might be about."""
    conditions, fault = _conditions(policy.conditions)
    is_known_effect = policy.side_effect in ("", *Policy.SideEffect.values)
    return WrittenRule(
        title=policy.name,
        effect=policy.effect,
        tool=policy.tool or "*",
        actor=policy.actor,
        scope=policy.scope,
        side_effect=policy.side_effect if is_known_effect else "",
        conditions=conditions,
        terms=_terms_of(policy, stages_of(policy) if stages is None else stages),
        fault=fault or _fault(policy),
    )


def stages_of(policy: Policy) -> list[Stage]:
    """The policy's stages, in their order."""
    return [
        Stage(stage.needs, stage.group_id, stage.group.name if stage.group else "")
        for stage in policy.stages.all()
    ]


def read_condition(given: Any) -> Condition:
    """A condition as it is written; ValueError says what is wrong with it."""
    if not isinstance(given, dict) or set(given) != {"field", "operator", "value"}:
        raise ValueError("a condition has a field, an operator and a value, and nothing else")
    name, operator = given["field"], given["operator"]
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a condition's field is the name of an argument")
    if operator not in list(Operator):
        raise ValueError(f"{name}: the operator is one of {' '.join(Operator)}")
    condition = Condition(name, Operator(operator), given["value"])
    if fault := condition.fault():
        raise ValueError(fault)
    return condition


def is_time_to_decide(duration: timedelta) -> bool:
    """Whether people may be given this long."""
    return timedelta(0) < duration <= timedelta(days=LONGEST_TO_DECIDE_DAYS)


def _terms_of(policy: Policy, stages: Sequence[Stage]) -> Terms:
    return Terms(
        stages=tuple(stages) or (Stage(),),
        reason_required=policy.reason_required,
        no_bulk=policy.no_bulk,
        step_up=policy.step_up,
        typed_confirmation=policy.typed_confirmation,
        expires_after=policy.expires_after or None,
    )


def _conditions(given: Any) -> tuple[tuple[Condition, ...], str]:
    """The conditions, and what is wrong with them."""
    if not isinstance(given, list):
        return (), "conditions are a list"
    try:
        return tuple(read_condition(item) for item in given), ""
    except (ValueError, TypeError) as error:
        return (), str(error)


def _fault(policy: Policy) -> str:
    """What the database takes and no rule can be: nothing of it comes from the form."""
    if policy.effect not in Effect.values:
        return f"its effect {policy.effect!r} is unknown"
    if not policy.tool:
        return "it names no tool"
    if policy.side_effect not in ("", *Policy.SideEffect.values):
        return f"its side effect {policy.side_effect!r} is unknown"
    if policy.expires_after is not None and not is_time_to_decide(policy.expires_after):
        return f"its time to decide is not above 0 and up to {LONGEST_TO_DECIDE_DAYS} days"
    return ""


def _read() -> Rows:
    """All in one statement, so that no policy is seen without the stages that belong to it."""
    policies = Policy.objects.enabled().values_list(*OF_POLICY, *OF_STAGE)
    return list(policies.order_by("-priority", "name", "stages__position", "stages__pk"))


def _rules(rows: Rows) -> Iterator[WrittenRule]:
    for _, same in groupby(rows, key=itemgetter(0)):
        lines = list(same)
        policy = Policy(**dict(zip(OF_POLICY, lines[0], strict=False)))
        yield rule_of(policy, [_stage(*line[len(OF_POLICY) :]) for line in lines if line[-3]])


def _stage(needs: int, group_id: int | None, group: str | None) -> Stage:
    return Stage(needs, group_id, group or "")
