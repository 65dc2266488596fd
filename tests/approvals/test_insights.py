"""The figures about held calls: as they are defined, and as a slow recount finds them."""

import random
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from approvals import deciding
from approvals.desk import charts, history
from approvals.insights import (
    CastVote,
    HeldCall,
    Outcome,
    Reviewing,
    Tally,
    Times,
    as_percent,
    figures,
    in_words,
    nearest_rank,
)
from approvals.models import Approval, Vote
from approvals.transitions import Said
from audit.models import first_id_at, local_now, new_id
from tests.conftest import Agent, effects, held
from tests.past import Past
from tools.models import Tool

pytestmark = pytest.mark.feature("O5", "E18")

NOW = datetime(2026, 5, 20, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


# The figures, of plain records.


def test_nothing_has_figures_too_and_divides_by_nothing() -> None:
    found = figures([], [])
    assert (found.total.held, found.total.approval_rate) == (0, None)
    assert found.total.took.percentiles(50, 95) == [None, None]
    assert (Reviewing().hasty_share, Reviewing().bulk_share) == (None, None)
    assert (as_percent(None), in_words(None)) == ("–", "–")


def test_one_call_is_its_own_median_and_95th() -> None:
    call = HeldCall("pay", date(2026, 5, 1), Outcome.APPROVED, False, 61_000)
    total = figures([call], []).total
    assert total.took.percentiles(50, 95) == [61_000, 61_000]
    assert (total.held, total.approval_rate) == (1, 1.0)


def test_a_percentile_is_by_nearest_rank() -> None:
    assert nearest_rank([1, 2, 3, 4], 50) == 2
    assert nearest_rank([1, 2, 3, 4, 5], 50) == 3
    assert nearest_rank(range(1, 101), 95) == 95
    assert nearest_rank(range(1, 21), 95) == 19
    assert nearest_rank(range(1, 22), 95) == 20


@given(st.lists(st.integers(0, 10**10), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[int], percent: int
) -> None:
    found = nearest_rank(sorted(values), percent)
    assert found == slow_percentile(values, percent)


def test_calls_that_people_did_not_decide_count_in_no_rate_and_no_time() -> None:
    outcomes = [Outcome.APPROVED, Outcome.REJECTED, Outcome.EXPIRED, Outcome.CANCELLED]
    times = [1_000, 2_000, None, None]
    day = date(2026, 5, 1)
    calls = [HeldCall("pay", day, *pair) for pair in zip(outcomes, [False] * 4, times, strict=True)]
    total = figures(calls, []).total
    assert (total.held, total.approval_rate, len(total.took)) == (4, 0.5, 2)


def test_clocks_that_disagree_make_no_negative_time() -> None:
    one = Reviewing()
    one.add(CastVote(1, True, -5, -7, False, "admin"))
    assert (one.after.percentiles(50), one.looked.percentiles(50)) == ([0], [0])


def test_a_vote_is_hasty_within_three_seconds_of_being_shown() -> None:
    one = Reviewing()
    for looked in (2_999, 3_000, None):
        one.add(CastVote(1, True, 60_000, looked, False, "admin"))
    assert (one.hasty, one.hasty_share, one.votes) == (1, 0.5, 3)


def test_each_time_to_decide_is_in_one_class() -> None:
    times = Times()
    for milliseconds in (0, 59_999, 60_000, 899_999, 3_600_000, 86_399_999, 86_400_000, 10**9):
        times.add(milliseconds)
    assert dict(times.spread()) == {
        "under 1 min": 2, "1 to 5 min": 1, "5 to 15 min": 1, "15 to 60 min": 0, "1 to 4 h": 1,
        "4 to 24 h": 1, "a day or more": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0.0 s"), (2_999, "2.9 s"), (59_999, "59 s"), (60_000, "1 min"), (3_599_999, "59 min"),
        (7_200_000, "2 h"), (7_500_000, "2 h 5 min"), (273_600_000, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_length_of_time_is_said_in_words(milliseconds: int, words: str) -> None:
    assert in_words(milliseconds) == words


@pytest.mark.parametrize(
    ("part", "words"),
    [(0.0, "0 %"), (0.001, "1 %"), (0.5, "50 %"), (0.999, "99 %"), (1.0, "100 %")],
)
def test_only_all_is_all_and_only_none_is_none(part: float, words: str) -> None:
    assert as_percent(part) == words


# Charts.


def test_the_columns_of_a_chart_are_as_high_as_their_counts() -> None:
    first = date(2026, 5, 1)
    outcomes = [Outcome.APPROVED, Outcome.APPROVED, Outcome.REJECTED, Outcome.WAITING]
    found = figures([HeldCall("pay", first, one, False, None) for one in outcomes], [])
    drawn = charts.columns(found, first, first + timedelta(days=1))
    assert drawn.highest == 4
    assert {box.look: (box.y, box.height) for box in drawn.boxes} == {
        "yes": ("50", "50"), "no": ("25", "25"), "open": ("0", "25"),
    }  # fmt: skip
    assert {(box.x, box.width) for box in drawn.boxes} == {("5", "40")}


def test_days_without_calls_are_columns_without_height() -> None:
    drawn = charts.columns(figures([], []), date(2026, 4, 29), date(2026, 5, 1))
    assert (drawn.boxes, drawn.highest) == ([], 0)


def test_every_outcome_has_a_look() -> None:
    assert set(charts.LOOKS) == set(Outcome)


def test_a_bar_of_nothing_has_no_length() -> None:
    assert [box.width for box in charts.bar([("yes", 0)], 0)] == ["0"]
    assert charts.stacked(Tally()) == []


# Read from the tables.


@pytest.fixture
def past(agent: Agent) -> Past:
    version = Tool.objects.get(name="guarded_trace").current
    assert version is not None
    return Past(agent.row, version)


@pytest.mark.django_db
def test_an_approval_that_was_never_used_still_counts_as_approved(
    past: Past, reviewer: User
) -> None:
    held_at = NOW - timedelta(hours=5)
    unused = past.call(
        held_at, "expired", decided_by=reviewer, ended_at=held_at + timedelta(hours=2)
    )
    past.vote(unused, reviewer, held_at + 3 * MINUTE)
    past.call(held_at, "expired", ended_at=held_at + timedelta(hours=2))
    past.write()
    total = history.history(NOW - timedelta(days=1), NOW).insights.total
    assert (total.outcomes[Outcome.APPROVED], total.outcomes[Outcome.EXPIRED]) == (1, 1)
    assert (total.unused, total.took.percentiles(50)) == (1, [180_000])


@pytest.mark.django_db
def test_what_was_held_before_the_span_is_left_out_to_the_microsecond(past: Past) -> None:
    since = NOW - timedelta(days=7)
    for moment in (since - timedelta(microseconds=1), since, NOW, NOW + timedelta(microseconds=1)):
        past.call(moment, "pending")
    past.write()
    assert history.history(since, NOW).insights.total.held == 2


@pytest.mark.django_db
def test_an_id_made_by_a_slow_clock_is_still_found(past: Past) -> None:
    since = NOW - timedelta(days=7)
    approval = past.call(since + MINUTE, "pending")
    approval.id = first_id_at(since - 10 * MINUTE)
    past.write()
    assert history.history(since, NOW).insights.total.held == 1


@pytest.mark.django_db
def test_of_too_long_a_history_the_newest_are_counted(
    past: Past, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        held_at = NOW - number * MINUTE
        approval = past.call(held_at, "consumed", decided_by=reviewer, ended_at=held_at + MINUTE)
        past.vote(approval, reviewer, held_at + MINUTE)
    past.write()
    for most, counted, is_cut in ((6, 5, False), (5, 5, False), (4, 4, True), (1, 1, True)):
        monkeypatch.setattr(history, "MOST_COUNTED", most)
        found = history.history(NOW - timedelta(days=7), NOW)
        assert (found.insights.total.held, found.is_cut) == (counted, is_cut)
        assert found.insights.reviewers[reviewer.pk].votes == counted


@pytest.mark.django_db
def test_the_ids_of_today_are_of_their_time() -> None:
    before, made, after = local_now(), new_id(), local_now() + timedelta(milliseconds=1)
    assert first_id_at(before) <= made < first_id_at(after + timedelta(milliseconds=1))


@pytest.mark.django_db
def test_a_call_that_was_really_held_and_decided_is_counted(
    agent: Agent, trace: Any, reviewer: User
) -> None:
    began = local_now() - MINUTE
    approval, waiting = held(agent, trace), held(agent, trace, text="another")
    said = Said(source="admin", shown_at=local_now())
    deciding.approve(approval, reviewer, said, expected_digest=approval.invocation.digest)
    found = history.history(began, local_now() + MINUTE).insights
    assert found.tools["guarded_trace"].outcomes == {Outcome.APPROVED: 1, Outcome.WAITING: 1}
    one = found.reviewers[reviewer.pk]
    assert (one.yes, one.no, one.sources, one.hasty) == (1, 0, {"admin": 1}, 1)
    assert waiting.is_pending and effects(trace) == []


# The slow recount.


def slow_percentile(values: list[int], percent: int) -> int | None:
    """By the definition, in no hurry."""
    enough = [one for one in values if 100 * sum(v <= one for v in values) >= percent * len(values)]
    return min(enough, default=None)


def milliseconds(first: datetime, then: datetime) -> int:
    return max(0, int((then - first).total_seconds() * 1000 + 1e-6))


def slow_tally(approvals: list[Approval]) -> dict[str, Any]:
    """What the page should say of these rows, found one by one."""
    counted: Counter[str] = Counter()
    times: list[int] = []
    for approval in approvals:
        if approval.status == "pending":
            counted["waiting"] += 1
        elif approval.resolved_by is None:
            counted[approval.status] += 1
        else:
            counted["rejected" if approval.status == "rejected" else "approved"] += 1
            said = max(vote.at for vote in approval.votes.all())
            times.append(milliseconds(approval.requested_at, said))
    decided = counted["approved"] + counted["rejected"]
    return {
        "outcomes": +counted,
        "rate": counted["approved"] / decided if decided else None,
        "percentiles": [slow_percentile(times, 50), slow_percentile(times, 95)],
    }


def told(tally: Tally) -> dict[str, Any]:
    return {
        "outcomes": Counter({str(name): count for name, count in tally.outcomes.items()}),
        "rate": tally.approval_rate,
        "percentiles": tally.took.percentiles(50, 95),
    }


def slow_reviewing(votes: list[Vote]) -> dict[str, Any]:
    after = [milliseconds(vote.approval.requested_at, vote.at) for vote in votes]
    looked = [milliseconds(vote.shown_at, vote.at) for vote in votes if vote.shown_at]
    return {
        "yes": sum(vote.verdict == "approve" for vote in votes),
        "no": sum(vote.verdict == "reject" for vote in votes),
        "after": [slow_percentile(after, 50), slow_percentile(after, 95)],
        "looked": slow_percentile(looked, 50),
        "hasty": sum(one < 3000 for one in looked) / len(looked) if looked else None,
        "bulk": sum(vote.in_bulk for vote in votes) / len(votes),
        "sources": Counter(vote.source or "unknown" for vote in votes),
    }


def told_of(one: Reviewing) -> dict[str, Any]:
    return {
        "yes": one.yes,
        "no": one.no,
        "after": one.after.percentiles(50, 95),
        "looked": one.looked.percentiles(50)[0],
        "hasty": one.hasty_share,
        "bulk": one.bulk_share,
        "sources": one.sources,
    }


def live_at_random(past: Past, people: list[User], dice: random.Random) -> None:
    """Calls of every kind, around and before the span, some with two votes."""
    for _ in range(dice.randrange(120)):
        held_at = NOW - timedelta(seconds=dice.uniform(0, 40 * 86_400))
        first = held_at + timedelta(seconds=dice.expovariate(1 / 900))
        last = first + timedelta(seconds=dice.choice([0.5, 70, 5000]))
        ending = dice.choice(["pending", "approved", "consumed", "rejected", "expired", "void"])
        by_people = ending in ("approved", "consumed", "rejected") or (
            ending != "pending" and dice.random() < 0.5
        )
        decider = dice.choice(people) if by_people else None
        closed = last + timedelta(hours=ending in ("expired", "void"))
        approval = past.call(
            held_at, ending, tool=dice.choice(["pay", "drop", "send"]), decided_by=decider,
            ended_at=None if ending == "pending" else closed,
        )  # fmt: skip
        some = dice.sample(people, 2)
        voters = [(some[0], first)] if dice.random() < 0.5 else []
        voters += [(decider, last)] if decider else []
        for who, at in dict(voters).items():
            past.vote(
                approval, who, at, source=dice.choice(["admin", "rest", "command", ""]),
                verdict="reject" if ending == "rejected" and who == decider else "approve",
                shown_at=dice.choice([None, at - timedelta(seconds=dice.uniform(-1, 9))]),
                in_bulk=dice.random() < 0.3,
            )  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("days", [7, 30, 90])
def test_the_figures_are_those_of_a_slow_recount(past: Past, seed: int, days: int) -> None:
    people = [User.objects.create_user(name) for name in ("ana", "rosa", "kai")]
    live_at_random(past, people, random.Random(seed))
    past.write()
    since = NOW - timedelta(days=days)
    found = history.history(since, NOW).insights
    rows = [
        approval
        for approval in Approval.objects.prefetch_related("votes")
        if since <= approval.requested_at <= NOW
    ]
    assert told(found.total) == slow_tally(rows)
    assert set(found.tools) == {row.tool_name for row in rows}
    for tool, tally in found.tools.items():
        assert told(tally) == slow_tally([row for row in rows if row.tool_name == tool])
    assert set(found.days) == {row.requested_at.date() for row in rows}
    for day, tally in found.days.items():
        assert told(tally) == slow_tally([row for row in rows if row.requested_at.date() == day])
    votes = [vote for row in rows for vote in row.votes.all()]
    assert set(found.reviewers) == {vote.reviewer_id for vote in votes}
    for who, one in found.reviewers.items():
        assert told_of(one) == slow_reviewing([vote for vote in votes if vote.reviewer_id == who])
