"""What people have written, as rules: read from the database at most twice a second.

A policy that can't be read as a rule (somebody went past the form) denies what it is about, so
that a mistake closes and never opens.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from approvals.models import Policy
from approvals.policy import Rulebook, WrittenRule
from approvals.stages import Stage, Terms
from tools.conditions import Condition, Operator

SECONDS_REMEMBERED = 0.5


@dataclass(slots=True)
class _Memory:
    until: float = 0.0
    written: tuple[WrittenRule, ...] = field(default=())


_memory = _Memory()


def rulebook(*, fresh: bool = False) -> Rulebook:
    """The rules, at most half a second old; `fresh` reads them now."""
    now = time.monotonic()
    if fresh or now >= _memory.until:
        _memory.written = _read()
        _memory.until = now + SECONDS_REMEMBERED
    return Rulebook(_memory.written, settings.RAMPART_UNRULED_WRITES)


def forget() -> None:
    """Drop what this process remembers, because a policy was just changed."""
    _memory.until = 0.0


def rule_of(policy: Policy) -> WrittenRule:
    """The policy as a rule."""
    conditions, fault = _conditions(policy.conditions)
    return WrittenRule(
        title=policy.name,
        effect=policy.effect,
        tool=policy.tool,
        actor=policy.actor,
        scope=policy.scope,
        side_effect=policy.side_effect,
        conditions=conditions,
        terms=terms_of(policy),
        fault=fault,
    )


def terms_of(policy: Policy) -> Terms:
    """What the policy asks of a decision."""
    stages = tuple(
        Stage(stage.needs, stage.group_id, stage.group.name if stage.group else "")
        for stage in policy.stages.all()
    )
    return Terms(
        stages=stages or (Stage(),),
        reason_required=policy.reason_required,
        no_bulk=policy.no_bulk,
        step_up=policy.step_up,
        typed_confirmation=policy.typed_confirmation,
        expires_after=policy.expires_after,
    )


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


def _conditions(given: Any) -> tuple[tuple[Condition, ...], str]:
    """The conditions, and what is wrong with them."""
    if not isinstance(given, list):
        return (), "conditions are a list"
    try:
        return tuple(read_condition(item) for item in given), ""
    except (ValueError, TypeError) as error:
        return (), str(error)


def _read() -> tuple[WrittenRule, ...]:
    policies = Policy.objects.enabled().prefetch_related("stages__group")
    return tuple(rule_of(policy) for policy in policies)
