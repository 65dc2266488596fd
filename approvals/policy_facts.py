"""What a policy does, to which tools and calls, and who could decide: for people who write them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User

from approvals.models import Approval, Policy
from approvals.policy import WrittenRule
from approvals.reviewers import deciders, groups_of
from approvals.rulebook import rule_of
from approvals.stages import Stage, Terms, can_be_filled
from approvals.states import Effect
from tools import registry
from tools.definition import ToolDefinition
from tools.forms import written

VERBS = {Effect.ALLOW: "Allows", Effect.REQUIRE: "Holds", Effect.DENY: "Denies"}
MOST_SHOWN = 20
MOST_LOOKED_AT = 500
"""Held calls among which those of a policy are looked for."""


@dataclass(frozen=True, slots=True)
class StageFacts:
    """One stage, and the people who could fill it now."""

    stage: Stage
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the policy page says of a policy beside its form."""

    sentence: str
    tools: list[str]
    stages: list[StageFacts]
    warnings: list[str]
    held: list[Approval]
    """Some of the calls that wait under it: they are void if it is changed."""


def facts_of(policy: Policy) -> PolicyFacts:
    """Everything that can be said of the policy as it is stored."""
    rule, holders = rule_of(policy), deciders()
    about = [tool for tool in registry.loaded().values() if rule.is_about(tool)]
    return PolicyFacts(
        sentence=sentence_of(policy),
        tools=sorted(tool.name for tool in about),
        stages=who_could(final_terms(rule), holders) if rule.effect == Effect.REQUIRE else [],
        warnings=list(_warnings(rule, about, holders)),
        held=held_under(rule) if policy.is_enabled else [],
    )


def sentence_of(policy: Policy) -> str:
    """`Holds refund_* by shop-* when amount exceeds 500, until 2 of ops agree.`"""
    rule = rule_of(policy)
    if rule.fault:
        said = f"Can't be read, and so denies {_calls(policy, rule)}: {rule.fault}"
    else:
        said = f"{VERBS[Effect(rule.effect)]} {_calls(policy, rule)}{_until(rule)}"
    return f"{said}." if policy.is_enabled else f"Switched off. {said}, once switched on."


def _calls(policy: Policy, rule: WrittenRule) -> str:
    about = "every tool" if rule.tool == "*" else rule.tool
    if rule.side_effect:
        about += f" ({policy.get_side_effect_display()})"
    if rule.scope:
        about += f" in scope {rule.scope}"
    if not rule.is_about_all_callers:
        about += f" by {rule.actor}"
    met = " and ".join(condition.phrase for condition in rule.conditions)
    return f"{about} when {met}" if met else about


def _until(rule: WrittenRule) -> str:
    if rule.effect != Effect.REQUIRE:
        return ""
    terms = final_terms(rule)
    stages = " and then ".join(stage.described for stage in terms.stages)
    is_one = len(terms.stages) == 1 and terms.stages[0].needs == 1
    said = [f", until {stages} {'agrees' if is_one else 'agree'}"]
    if terms.expires_after is not None:
        said.append(f"within {written(terms.expires_after)}")
    said += [words for name, words in HOW.items() if getattr(terms, name)]
    return ", ".join(said)


HOW = {
    "reason_required": "with a reason",
    "no_bulk": "each call by itself",
    "step_up": "after a fresh proof of who they are",
    "typed_confirmation": "with the tool's name typed",
}


def final_terms(rule: WrittenRule) -> Terms:
    """The terms as a call gets them that only this rule holds."""
    return Terms.united([rule.terms])


def who_could(terms: Terms, holders: Sequence[User]) -> list[StageFacts]:
    """Which of them could fill each stage."""
    return [
        StageFacts(
            stage,
            tuple(user.get_username() for user in holders if stage.is_open_to(groups_of(user))),
        )
        for stage in terms.stages
    ]


def is_decidable(stages: Sequence[Stage], holders: Iterable[User]) -> bool:
    """Whether there are distinct people enough for every stage."""
    people: Mapping[int, frozenset[int]] = {user.pk: groups_of(user) for user in holders}
    return can_be_filled(stages, people)


def held_under(rule: WrittenRule) -> list[Approval]:
    """Calls that wait now and that the rule concerns, the soonest to expire first."""
    waiting = Approval.objects.pending().order_by("expires_at")[:MOST_LOOKED_AT]
    return [one for one in waiting if _concerns(rule, one)][:MOST_SHOWN]


def _concerns(rule: WrittenRule, approval: Approval) -> bool:
    tool = registry.loaded().get(approval.tool_name)
    return tool is not None and rule.concerns(tool, approval.actor)


def _warnings(
    rule: WrittenRule, about: Sequence[ToolDefinition], holders: Sequence[User]
) -> Iterator[str]:
    if not about:
        yield "It matches no tool that is here now."
    if rule.effect == Effect.REQUIRE and not is_decidable(final_terms(rule).stages, holders):
        yield (
            "Nobody can decide what it holds: there are too few people who may decide, or too few"
            " in its groups. Such calls wait until they expire."
        )
    for condition in rule.conditions if about else ():
        name = condition.field.partition(".")[0]
        if not any({name, condition.field} & set(tool.parameters) for tool in about):
            yield f"No tool that it matches takes {name}: every call of theirs needs a person."
