"""One held call as a line of a list: what a person needs to choose which to look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.contrib.auth.models import User
from django.utils.html import format_html

from approvals import reviewers
from approvals.desk.looks import badge, risk_badge
from approvals.models import Approval
from approvals.reviewers import Reason
from approvals.serializers import summary
from approvals.stages import PLAIN_TERMS, Standing, can_be_filled
from approvals.states import Risk

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the queue."""

    approval: Approval
    sentence: str
    badges: str
    stages: str
    deciders: str
    why_not: Reason | None
    not_in_bulk: str
    seconds_left: int

    @property
    def item(self) -> str:
        """What a tick stands for: this call, as it is shown."""
        return f"{self.approval.pk}:{self.approval.invocation.digest}"


def rows_of(approvals: Iterable[Approval], person: User, moment: datetime) -> list[Row]:
    """The lines of these approvals."""
    holders = reviewers.deciders()
    return [_row(approval, person, moment, holders) for approval in approvals]


def _row(approval: Approval, person: User, moment: datetime, holders: Sequence[User]) -> Row:
    single = why_not_in_bulk(approval)
    return Row(
        approval,
        sentence=summary(approval.invocation),
        badges=format_html("{} {}", badge(approval), risk_badge(approval)),
        stages=progress_of(approval),
        deciders=_few(reviewers.eligible(approval, holders)),
        why_not=reviewers.why_not(approval, person, moment),
        not_in_bulk=single.sentence if single else "",
        seconds_left=int((approval.expires_at - moment).total_seconds()),
    )


def progress_of(approval: Approval) -> str:
    """`ops 1/2 → finance 0/1`; nothing where one person who may decide is all that it takes."""
    standing = approval.standing
    if standing.stages == PLAIN_TERMS.stages:
        return ""
    return " → ".join(
        f"{stage.group or 'anybody'} {votes}/{stage.needs}"
        for stage, votes in zip(standing.stages, standing.votes, strict=True)
    )


def stuck_after(approval: Approval, person: User, holders: Sequence[User]) -> str:
    """What nobody would be left for once this person has approved; empty if others can go on."""
    standing, groups_of = approval.standing, reviewers.groups_of
    votes = tuple(
        cast + (number == standing.open_stage) for number, cast in enumerate(standing.votes)
    )
    places = [
        replace(stage, needs=stage.needs - cast)
        for stage, cast in zip(standing.stages, votes, strict=True)
        if cast < stage.needs
    ]
    apart = approval.requesting_side | approval.editors | approval.approvers | {person.pk}
    people = {user.pk: groups_of(user) for user in holders if user.pk not in apart}
    return "" if can_be_filled(places, people) else Standing(standing.stages, votes).lacking


def why_not_in_bulk(approval: Approval) -> Reason | None:
    """Why a call is not decided together with others, by whomever; None if it may be."""
    agreed = approval.agreed
    if approval.risk == Risk.HIGH:
        return _single("its risk is high")
    if agreed.no_bulk:
        return _single("a rule says so")
    if agreed.step_up:
        return _single("it takes a fresh proof of who you are")
    if agreed.typed_confirmation:
        return _single("the tool's name has to be typed")
    return None


def _single(because: str) -> Reason:
    return Reason("single_only", f"Decided on its own page: {because}.")


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
