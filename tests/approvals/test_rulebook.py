"""Policies as rules: how they are read, what can't be read, and what a rulebook remembers."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest import MonkeyPatch

from approvals import policy, rulebook
from approvals.models import Policy
from approvals.policy import Rulebook
from approvals.stages import Stage
from tests.conftest import Agent
from tests.desk_cast import Rule
from tests.tools.conftest import Bench, bench
from tools import registry, side_effects, tool

__all__ = ["bench"]

pytestmark = pytest.mark.django_db


def version(name: str = "leave_trace", actor: str = "agent") -> str:
    """The version of the rules as they are now."""
    return rulebook.rulebook(fresh=True).version(registry.find(name), actor)


# Reading.


def test_all_policies_and_their_stages_are_read_in_one_query_in_their_order(
    write_rule: Rule,
) -> None:
    write_rule("b")
    write_rule("a", [(2, "ops"), (1, "finance")])
    write_rule("first", [(1, None)], priority=5)
    write_rule("off", is_enabled=False)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        book = rulebook.rulebook(fresh=True)
    assert len(asked) == 1
    assert [rule.title for rule in book.written] == ["first", "a", "b"]
    ops, finance = (Group.objects.get(name=name) for name in ("ops", "finance"))
    assert book.written[1].terms.stages == (
        Stage(2, ops.pk, "ops"),
        Stage(1, finance.pk, "finance"),
    )
    assert book.written[0].terms.stages == book.written[2].terms.stages == (Stage(),)


def test_a_change_is_felt_at_once_where_it_was_made_and_in_half_a_second_elsewhere(
    write_rule: Rule, monkeypatch: MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(rulebook.time, "monotonic", lambda: clock[0])
    rulebook.rulebook(fresh=True)
    Policy.objects.create(name="from another process")
    clock[0] += rulebook.SECONDS_REMEMBERED - 0.01
    assert rulebook.rulebook().written == ()
    clock[0] += 0.02
    assert len(rulebook.rulebook().written) == 1
    write_rule("from here")
    assert len(rulebook.rulebook().written) == 2


def test_as_long_as_nothing_is_changed_the_book_stays_the_same(write_rule: Rule) -> None:
    write_rule("one", [(1, "ops")])
    book = rulebook.rulebook(fresh=True)
    assert rulebook.rulebook(fresh=True) is book
    Group.objects.filter(name="ops").update(name="operations")
    renamed = rulebook.rulebook(fresh=True)
    assert renamed is not book
    assert renamed.written[0].terms.stages[0].group == "operations"


# What can't be read.


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"conditions": {"field": "x"}}, "conditions are a list"),
        ({"conditions": [{"field": "x"}]}, "a condition has a field"),
        ({"conditions": [{"field": " ", "operator": "=", "value": 1}]}, "name of an argument"),
        ({"conditions": [{"field": "x", "operator": "~", "value": 1}]}, "the operator is one of"),
        ({"conditions": [{"field": "x", "operator": ">", "value": "5"}]}, "not a finite number"),
        ({"conditions": [{"field": "x", "operator": ["="], "value": "5"}]}, "the operator is"),
        ({"effect": "permit"}, "effect 'permit' is unknown"),
        ({"tool": ""}, "names no tool"),
        ({"side_effect": "explodes"}, "side effect 'explodes' is unknown"),
        ({"effect": "allow", "expires_after": timedelta(days=31)}, "time to decide"),
        ({"expires_after": timedelta(0)}, "time to decide"),
    ],
)
def test_a_policy_that_somebody_broke_by_hand_denies_and_names_the_fault(
    agent: Agent, write_rule: Rule, columns: dict[str, Any], fault: str
) -> None:
    write_rule("broken", **columns)
    answer = agent.invoke("leave_trace", path="/dev/null")
    assert (answer.status_code, answer.json()["error_type"]) == (403, "PolicyError")
    assert "rule broken can't be read" in answer.json()["error"]
    assert fault in answer.json()["error"]


def test_a_broken_policy_about_another_tool_denies_nothing_here(
    agent: Agent, write_rule: Rule
) -> None:
    write_rule("broken", tool="pay", conditions=5)
    assert agent.invoke("leave_trace", path="/dev/null").status_code == 202
    assert agent.invoke("pay", path="/dev/null", amount=1).status_code == 403


# The version.


@pytest.mark.feature("P8")
@pytest.mark.parametrize(
    "columns", [{"name": "z"}, {"description": "why"}, {"priority": 9}], ids=lambda given: [*given]
)
def test_what_makes_no_difference_to_a_call_keeps_the_version(
    write_rule: Rule, columns: dict[str, Any]
) -> None:
    one, _ = write_rule("a", [(2, "ops")]), write_rule("b", effect="deny", actor="nobody*")
    write_rule("c", [(1, "finance")])
    before = version()
    Policy.objects.filter(pk=one.pk).update(**columns)
    Group.objects.filter(name="ops").update(name="operations")
    assert version() == before


@pytest.mark.feature("P8")
@pytest.mark.parametrize(
    "columns",
    [
        {"effect": "deny"},
        {"is_enabled": False},
        {"tool": "leave_*"},
        {"actor": "agent"},
        {"scope": "kit.*"},
        {"side_effect": "writes"},
        {"conditions": [{"field": "text", "operator": "=", "value": "x"}]},
        {"expires_after": timedelta(hours=1)},
        {"reason_required": True},
        {"no_bulk": True},
        {"step_up": True},
        {"typed_confirmation": True},
    ],
    ids=lambda given: [*given],
)
def test_what_makes_a_difference_to_a_call_changes_the_version(
    write_rule: Rule, columns: dict[str, Any]
) -> None:
    one = write_rule("a")
    before, elsewhere = version(), version("echo", "other")
    Policy.objects.filter(pk=one.pk).update(**columns)
    assert version() != before
    assert "tool" not in columns or version("echo", "other") != elsewhere


@pytest.mark.feature("P8", "AP9")
def test_another_number_or_group_at_a_stage_changes_the_version(write_rule: Rule) -> None:
    one = write_rule("a", [(1, "ops"), (1, "finance")])
    seen = {version()}
    one.stages.filter(position=1).update(needs=2)
    seen.add(version())
    one.stages.filter(position=2).update(group=None)
    seen.add(version())
    one.stages.filter(position=2).delete()
    seen.add(version())
    assert len(seen) == 4


def test_without_a_policy_about_it_a_tool_keeps_the_version_of_its_code(write_rule: Rule) -> None:
    write_rule("other", tool="pay")
    assert version() == registry.find("leave_trace").policy_version
    assert version("pay") != registry.find("pay").policy_version


# What it remembers.


def test_the_rules_for_a_tool_and_a_caller_are_looked_for_once(write_rule: Rule) -> None:
    write_rule("mine", actor="agent")
    book, echo = rulebook.rulebook(fresh=True), registry.find("echo")
    assert book.about(echo, "agent") is book.about(echo, "agent")
    assert [len(book.about(echo, actor)) for actor in ("agent", "other")] == [1, 0]


def test_what_a_book_remembers_is_bounded(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MOST_REMEMBERED", 10)
    book, echo = Rulebook((), "allow"), registry.find("echo")
    for number in range(35):
        book.about(echo, f"agent-{number}")
    assert 0 < len(book.extracts) <= 10


def test_two_definitions_of_one_name_are_not_taken_for_each_other(
    bench: Bench, write_rule: Rule
) -> None:
    write_rule("deletes", side_effect="destructive")
    book = rulebook.rulebook(fresh=True)

    def clean() -> None:
        """Tidy up."""

    harmless = bench.build(tool(clean))
    assert book.about(harmless, "a") == ()
    harmful = bench.build(side_effects(destructive=True)(clean))
    assert harmful.name == harmless.name
    assert len(book.about(harmful, "a")) == 1


def test_a_thousand_rules_cost_a_call_what_one_costs(write_rule: Rule) -> None:
    """Microseconds, once its caller is known: measured against a book of one rule."""
    Policy.objects.bulk_create(
        Policy(name=f"p{number}", tool=f"tool_{number}*", actor=f"a{number}*")
        for number in range(1000)
    )
    many, pay = rulebook.rulebook(fresh=True), registry.find("pay")
    assert len(many.written) == 1000
    few = Rulebook(many.written[:1], "allow")

    def seconds(book: Rulebook) -> float:
        book.version(pay, "agent")
        best = 1.0
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(1000):
                book.version(pay, "agent")
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(many) < 20 * seconds(few)
