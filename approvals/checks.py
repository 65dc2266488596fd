"""System checks of the rules, each with a stable id: warnings, and errors under `--deploy`.

They ask the database. Where it does not answer, or has no tables yet, they have nothing to say:
whoever makes them (`migrate`) must not need them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q

from approvals.models import Policy
from approvals.policy_facts import final_terms, is_decidable
from approvals.reviewers import deciders
from approvals.rulebook import rulebook
from approvals.states import Effect
from audit.models import local_now
from sandbox.profiles import STRICT
from tools import registry
from tools.models import ApiKey, know_people
from tools.workshop import profile_of

MOST_BEHIND = 3
"""People behind one key: its owner, its maker, and whose token it was."""
MOST_KEYS = 1000
"""Keys that are looked at for the last gap; who has so many has more people, too."""


def unruled_writes() -> Iterator[str]:
    """A tool writes, and neither its code nor a policy about all callers speaks of it.

    What runs in the strict jail reaches nothing that it could write to.
    """
    if settings.RAMPART_UNRULED_WRITES != "allow":
        return
    general = [rule for rule in rulebook(fresh=True).written if rule.is_about_all_callers]
    for name, tool in sorted(registry.loaded().items()):
        harmless = tool.is_read_only or profile_of(tool) is STRICT
        by_code = harmless or tool.approval_reasons_possible or tool.policies
        if not by_code and not any(rule.is_about(tool) for rule in general):
            yield f"{name} writes, and neither its code nor a policy about all callers rules it"


def undecidable_policies() -> Iterator[str]:
    """A policy holds calls that nobody can decide; who is behind every key never may."""
    apart = _behind_every_key()
    holders = [user for user in deciders() if user.pk not in apart]
    for rule in rulebook(fresh=True).written:
        if rule.effect == Effect.REQUIRE and not is_decidable(final_terms(rule).stages, holders):
            yield f"nobody can decide what the policy {rule.title!r} holds"


def _behind_every_key() -> set[int]:
    """Who owns or has made each usable key, and so is on the requester's side of every call."""
    keys = ApiKey.objects.usable(local_now())
    first = keys.first()
    return {
        person
        for person in (first and {first.owner_id, first.created_by_id}) or ()
        if person and not keys.exclude(owner=person).exclude(created_by=person).exists()
    }


def calls_without_a_judge() -> Iterator[str]:
    """Nobody may decide, or nobody but the people who are behind a key."""
    if not _may_be_held():
        return
    people = {user.pk for user in deciders()}
    if not people:
        yield "nobody may decide calls: what is held waits until it expires"
    elif (actor := _whose_own_judges(people)) is not None:
        yield f"nobody may decide the calls of {actor!r}: whoever may decide owns or made the key"


def _may_be_held() -> bool:
    if settings.RAMPART_UNRULED_WRITES == "hold":
        return True
    by_code = any(tool.approval_reasons_possible for tool in registry.loaded().values())
    return by_code or Policy.objects.enabled().filter(effect=Effect.REQUIRE).exists()


def _whose_own_judges(people: set[int]) -> str | None:
    """The actor of a key behind which everybody stands who may decide."""
    if len(people) > MOST_BEHIND:
        return None
    touched = Q(owner__in=people) | Q(created_by__in=people) | ~Q(issuer="")
    keys = list(ApiKey.objects.usable(local_now()).filter(touched)[:MOST_KEYS])
    know_people(keys)
    return next((key.actor for key in keys if people <= key.people_behind), None)


@dataclass(frozen=True, slots=True)
class Gap:
    """A way in which rules may leave calls without anybody who decides."""

    look: Callable[[], Iterator[str]]
    """Says for each that is there what is lacking."""
    hint: str
    warning_id: str
    error_id: str


GAPS = (
    Gap(
        unruled_writes,
        hint="write a policy (one that allows will do), use @require_approval, declare read_only,"
        " or set RAMPART_UNRULED_WRITES",
        warning_id="approvals.W001",
        error_id="approvals.E001",
    ),
    Gap(
        undecidable_policies,
        hint="give approvals.decide_approval to more people, put them into its groups, or ask for"
        " fewer",
        warning_id="approvals.W002",
        error_id="approvals.E002",
    ),
    Gap(
        calls_without_a_judge,
        hint="give approvals.decide_approval to an active person who neither owns nor made the key",
        warning_id="approvals.W003",
        error_id="approvals.E003",
    ),
)


@register(Tags.database)
def rules_have_no_gap(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """approvals.W001 to W003: calls that no rule speaks of, or that nobody could decide."""
    return [Warning(what, hint=gap.hint, id=gap.warning_id) for gap, what in _found(databases)]


@register(Tags.database, deploy=True)
def rules_have_no_gap_in_production(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """approvals.E001 to E003: the same gaps, where they must not be."""
    return [Error(what, hint=gap.hint, id=gap.error_id) for gap, what in _found(databases)]


def _found(databases: Sequence[str] | None) -> list[tuple[Gap, str]]:
    if not databases:
        return []
    try:
        with transaction.atomic():
            return [(gap, what) for gap in GAPS for what in gap.look()]
    except (DatabaseError, InterfaceError):
        return []
