"""Stages, terms and who can fill them: plain values."""

from datetime import timedelta
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.stages import PLAIN_TERMS, Ballot, Stage, Standing, Terms, can_be_filled

OPS, FINANCE, LEGAL = Stage(2, 1, "ops"), Stage(1, 2, "finance"), Stage(1, 3, "legal")


def test_without_rules_of_their_own_calls_need_one_person_who_may_decide() -> None:
    assert PLAIN_TERMS.stages == (Stage(1),)
    assert Terms.united([]) == Terms.united([PLAIN_TERMS, PLAIN_TERMS]) == PLAIN_TERMS
    assert Terms.of_json({}) == PLAIN_TERMS


@pytest.mark.feature("P1", "AP9")
def test_several_rules_are_united_to_the_strictest_of_each() -> None:
    first = Terms((OPS, FINANCE), reason_required=True, expires_after=timedelta(hours=5))
    second = Terms((Stage(3, 1, "ops"), LEGAL), step_up=True, expires_after=timedelta(hours=2))
    found = Terms.united([first, second, PLAIN_TERMS])
    assert found.stages == (Stage(3, 1, "ops"), FINANCE, LEGAL)
    assert (found.reason_required, found.step_up, found.no_bulk) == (True, True, False)
    assert found.expires_after == timedelta(hours=2)


@pytest.mark.feature("AP9")
def test_people_of_any_group_are_needed_only_beyond_those_of_named_groups() -> None:
    assert Terms.united([Terms((Stage(2),)), Terms((FINANCE,))]).stages == (FINANCE, Stage(1))
    assert Terms.united([Terms((Stage(2),)), Terms((OPS,))]).stages == (OPS,)
    alone = Terms((Stage(1, 1, "ops"), Stage(1)))
    assert Terms.united([alone, PLAIN_TERMS]).stages == alone.stages


def test_terms_are_kept_and_read_back_the_same() -> None:
    terms = Terms((OPS, Stage(1)), True, True, True, True, timedelta(minutes=90))
    assert Terms.of_json(terms.as_json()) == terms
    at_once = Terms(expires_after=timedelta(0))
    assert at_once.as_json()["expires_after"] == 0.0


@pytest.mark.feature("AP9")
def test_stages_are_filled_in_order_and_each_person_counts_once() -> None:
    stages = (OPS, FINANCE)
    assert Standing.of(stages, []).open_stage == 0
    one = Standing.of(stages, [Ballot(7, 0)])
    assert (one.open_stage, one.votes, one.lacking) == (0, (1, 0), "1 of ops, then 1 of finance")
    twice = Standing.of(stages, [Ballot(7, 0), Ballot(7, 0)])
    assert twice.votes == (1, 0)
    two = Standing.of(stages, [Ballot(7, 0), Ballot(8, 0)])
    assert (two.open_stage, two.lacking) == (1, "1 of finance")
    done = Standing.of(stages, [Ballot(7, 0), Ballot(8, 0), Ballot(9, 1)])
    assert (done.is_complete, done.open_stage, done.lacking) == (True, None, "")


@pytest.mark.feature("AP9")
def test_one_person_in_two_groups_fills_one_place_only() -> None:
    both, ops = frozenset({1, 2}), frozenset({1})
    assert not can_be_filled((OPS, FINANCE), {7: both, 8: ops})
    assert can_be_filled((OPS, FINANCE), {7: both, 8: ops, 9: ops})
    assert not can_be_filled((OPS, FINANCE), {7: ops, 8: ops, 9: ops})


stages = st.lists(
    st.builds(Stage, st.integers(1, 2), st.sampled_from([None, 1, 2])), min_size=1, max_size=3
)
crowds = st.lists(st.frozensets(st.sampled_from([1, 2])), max_size=5)


@given(stages, crowds)
def test_the_matching_agrees_with_trying_everybody_in_every_place(
    wanted: list[Stage], crowd: list[frozenset[int]]
) -> None:
    people = dict(enumerate(crowd))
    places = [stage for stage in wanted for _ in range(stage.needs)]
    fits = any(
        all(stage.is_open_to(people[person]) for stage, person in zip(places, order, strict=True))
        for chosen in combinations(people, len(places))
        for order in permutations(chosen)
    )
    assert can_be_filled(wanted, people) == fits
