"""Edit, then let somebody else approve."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from approvals import deciding, editing
from approvals.deciding import Decided, Undecided
from approvals.editing import Unfitting, merged
from approvals.models import Approval, Edit, Invocation
from approvals.transitions import Said
from audit.models import Event
from tests.approvals.test_deciding import decide
from tests.conftest import REVIEWER_PERMISSIONS, Agent, effects, person, work
from tests.desk_cast import Rule
from tests.session_kit import open_one

pytestmark = pytest.mark.django_db

CARD = "4111222233334444"


@pytest.fixture
def other(db: None) -> User:
    """A second person who may decide."""
    return person("other", *REVIEWER_PERMISSIONS)


@pytest.fixture
def paying(agent: Agent, trace: Path) -> Approval:
    """A payment that waits for a person."""
    answer = agent.invoke("pay", path=str(trace), amount=900, card_number=CARD)
    return Approval.objects.with_everything().get(pk=answer.json()["approval_id"])


def edited(approval: Approval, by: User, *, expected: str | None = None, **changes: Any) -> Any:
    """Edit some arguments of it, the others left as they are shown."""
    arguments = {**approval.invocation.arguments, **changes}
    said = Said(reason_to_agent="less will do", source="admin")
    return editing.edit(
        approval, by, arguments, said, expected_digest=expected or approval.invocation.digest
    )


@pytest.mark.feature("AP13")
def test_what_was_edited_runs_once_somebody_else_has_approved_it(
    paying: Approval, agent: Agent, trace: Path, reviewer: User, other: User
) -> None:
    was = paying.invocation.digest
    outcome = edited(paying, reviewer, amount=450)
    assert isinstance(outcome, Decided)
    assert outcome.approval.invocation.digest != was
    refused = decide(reviewer, outcome.approval)
    assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")
    assert refused.json()["detail"] == "You edited what would run; somebody else decides it."
    assert decide(other, outcome.approval).status_code == 200
    work()
    assert effects(trace) == ["paid 450.0"]
    read = agent.get(f"invocations/{paying.invocation_id}").json()
    assert (read["status"], read["arguments_modified"]) == ("success", True)
    assert read["modifications"] == [{"argument": "amount", "asked": 900, "approved": 450}]
    assert read["data"]["card"] == CARD


@pytest.mark.feature("AP13")
def test_both_forms_both_digests_and_the_difference_are_in_the_ledger(
    paying: Approval, reviewer: User
) -> None:
    was = paying.invocation.digest
    edited(paying, reviewer, amount=450)
    event = Event.objects.get(event="approval:edited")
    assert (event.actor, event.metadata["was"]) == ("reviewer", was)
    assert event.metadata["digest"] == Invocation.objects.get().digest != was
    assert (event.metadata["before"]["amount"], event.metadata["after"]["amount"]) == (900, 450)
    assert event.metadata["changes"] == [{"argument": "amount", "asked": 900, "approved": 450}]
    (edit,) = Edit.objects.all()
    assert (edit.before["amount"], edit.after["amount"]) == (900, 450)
    assert CARD not in str(event.metadata) + str(edit.before) + str(edit.after)


@pytest.mark.feature("AP13", "B3")
@pytest.mark.parametrize("other", [None, "01a20449-a060-7649-bdcc-69cb5d6551eb"])
def test_a_call_stays_in_the_session_that_its_caller_has_named(
    agent: Agent, reviewer: User, write_rule: Rule, other: str | None
) -> None:
    write_rule("held", [(1, None)], tool="of_session")
    agent.invoke("of_session", session_id=str(open_one(agent).pk), value=1)
    held = Approval.objects.with_everything().get()
    with pytest.raises(Unfitting, match=r"A call stays in its session\."):
        edited(held, reviewer, session_id=other)
    assert isinstance(edited(held, reviewer, value=2), Decided)


@pytest.mark.feature("AP13", "AP8")
def test_the_same_call_again_is_the_one_that_waits_though_it_was_edited(
    paying: Approval, agent: Agent, trace: Path, reviewer: User, other: User
) -> None:
    call = {"path": str(trace), "amount": 900, "card_number": CARD}
    edited(paying, reviewer, amount=450)
    again = agent.invoke("pay", **call)
    assert (again.status_code, again.json()["approval_id"]) == (202, str(paying.pk))
    decide(other, deciding.fresh_approval(paying.pk))
    work()
    redeemed = agent.post("pay", {"arguments": call, "approval_id": str(paying.pk)})
    assert (redeemed.json()["replayed"], redeemed.json()["data"]["count"]) == (True, 1)
    as_edited = agent.post(
        "pay", {"arguments": {**call, "amount": 450}, "approval_id": str(paying.pk)}
    )
    assert as_edited.json()["error_type"] == "ActionMismatch"


@pytest.mark.feature("AP13")
@pytest.mark.parametrize(
    "changes, said",
    [
        ({"amount": "plenty"}, "amount: Input should be a valid number"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({}, "Nothing is changed."),
        ({"note": "mind [REDACTED]"}, r"\[REDACTED\] stands for what is hidden"),
    ],
)
def test_what_does_not_fit_is_told_and_changes_nothing(
    paying: Approval, reviewer: User, changes: dict[str, Any], said: str
) -> None:
    was = paying.invocation.digest
    with pytest.raises(Unfitting, match=said):
        edited(paying, reviewer, **changes)
    assert Invocation.objects.get().digest == was
    assert not Event.objects.filter(event="approval:edited").exists()


@pytest.mark.feature("AP13", "P1")
def test_edited_arguments_are_judged_anew(
    paying: Approval, reviewer: User, write_rule: Rule, agent: Agent, trace: Path
) -> None:
    write_rule("never", tool="pay", effect="deny", conditions=[_condition(">", 5000)])
    write_rule("finance", [(2, "finance")], tool="pay", conditions=[_condition(">", 2000)])
    answer = agent.invoke("pay", path=str(trace), amount=901)
    fresh = Approval.objects.with_everything().get(pk=answer.json()["approval_id"])
    assert [stage.group for stage in fresh.agreed.stages] == [""]
    with pytest.raises(Unfitting, match="The rules deny it: policy denied: amount exceeds 5000"):
        edited(fresh, reviewer, amount=6000)
    outcome = edited(fresh, reviewer, amount=3000)
    assert [(stage.needs, stage.group) for stage in outcome.approval.agreed.stages] == [
        (2, "finance")
    ]
    assert "amount exceeds 2000" in outcome.approval.reason


def _condition(operator: str, value: Any) -> dict[str, Any]:
    return {"field": "amount", "operator": operator, "value": value}


@pytest.mark.feature("AP13", "AP9")
def test_a_yes_to_the_old_arguments_does_not_count_for_the_new_ones(
    paying: Approval, agent: Agent, trace: Path, reviewer: User, other: User, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    answer = agent.invoke("guarded_trace", path=str(trace), text="first")
    approval = Approval.objects.with_everything().get(pk=answer.json()["approval_id"])
    decide(other, approval)
    outcome = edited(deciding.fresh_approval(approval.pk), reviewer, text="second")
    assert outcome.approval.standing.votes == (0,)
    assert decide(other, outcome.approval).json()["approval"]["status"] == "pending"
    third = person("third", *REVIEWER_PERMISSIONS)
    assert decide(third, outcome.approval).json()["approval"]["status"] == "approved"
    work()
    assert effects(trace) == ["second"]


@pytest.mark.feature("AP6", "AP13")
def test_who_may_not_decide_may_not_edit(
    paying: Approval, owner: User, stranger: User, reviewer: User, other: User
) -> None:
    for somebody, code in ((owner, "permission_denied"), (stranger, "permission_denied")):
        outcome = edited(paying, somebody, amount=1)
        assert isinstance(outcome, Undecided)
        assert outcome.code == code
    stale = edited(paying, reviewer, expected="0" * 64, amount=1)
    assert isinstance(stale, Undecided)
    assert stale.code == "digest_mismatch"
    decide(other, paying)
    late = edited(deciding.fresh_approval(paying.pk), reviewer, amount=1)
    assert isinstance(late, Undecided)
    assert late.code == "already_decided"


@pytest.mark.feature("AP13", "AP16")
def test_a_yes_to_what_was_shown_before_the_edit_is_refused(
    paying: Approval, reviewer: User, other: User
) -> None:
    was = paying.invocation.digest
    edited(paying, reviewer, amount=450)
    answer = decide(other, paying, expected_digest=was)
    assert (answer.status_code, answer.json()["code"]) == (409, "digest_mismatch")


@pytest.mark.feature("AP13")
def test_edits_on_edits_tell_the_difference_to_what_was_asked(
    paying: Approval, reviewer: User, other: User
) -> None:
    first = edited(paying, reviewer, amount=450, note="half")
    second = edited(first.approval, other, amount=300)
    assert second.approval.invocation.modifications == [
        {"argument": "amount", "asked": 900, "approved": 300},
        {"argument": "note", "asked": None, "approved": "half"},
    ]
    assert second.approval.editors == {reviewer.pk, other.pk}
    third = edited(second.approval, person("third", *REVIEWER_PERMISSIONS), amount=900.0)
    assert third.approval.invocation.modifications == [
        {"argument": "note", "asked": None, "approved": "half"}
    ]


@pytest.mark.feature("AP13")
@pytest.mark.parametrize("value", [2**70, "\ud800", float("nan")])
def test_what_no_json_holds_is_no_crash(paying: Approval, reviewer: User, value: Any) -> None:
    with pytest.raises(Unfitting):
        edited(paying, reviewer, note=value)


@pytest.mark.feature("AP13", "U4")
def test_what_is_hidden_from_the_editor_stays_and_can_be_replaced_but_not_moved(
    paying: Approval, reviewer: User
) -> None:
    shown = paying.invocation.arguments
    assert shown["card_number"] == "[REDACTED]"
    with pytest.raises(Unfitting, match="stands for what is hidden"):
        edited(paying, reviewer, note="[REDACTED]")
    outcome = edited(paying, reviewer, card_number="5500000000000004")
    assert outcome.approval.invocation.arguments["card_number"] == "[REDACTED]"
    assert outcome.approval.invocation.modifications == [
        {"argument": "card_number", "asked": "[REDACTED]", "approved": "[REDACTED]"}
    ]


R = "[REDACTED]"


@pytest.mark.feature("AP13")
@pytest.mark.parametrize(
    "frozen, shown, given, meant",
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": "s", "b": 1}, {"a": R, "b": 1}, {"a": R, "b": 2}, {"a": "s", "b": 2}),
        ({"a": {"b": "s", "c": 1}}, {"a": {"b": R, "c": 1}}, {"a": {"b": R, "c": 2}},
         {"a": {"b": "s", "c": 2}}),
        ([{"t": "s"}, {"t": "u"}], [{"t": R}, {"t": R}], [{"t": R}, {"t": "v"}],
         [{"t": "s"}, {"t": "v"}]),
        ({"a": "mind s"}, {"a": f"mind {R}"}, {"a": f"mind {R}"}, {"a": "mind s"}),
        ({"a": 2**60}, {"a": str(2**60)}, {"a": str(2**60), "b": None}, {"a": 2**60, "b": None}),
        ({"a": 1}, {"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1}, {}, {}),
    ],
)  # fmt: skip
def test_what_was_left_as_it_was_shown_is_what_it_was(
    frozen: Any, shown: Any, given: Any, meant: Any
) -> None:
    found = merged(frozen, shown, given)
    assert (found, repr(found)) == (meant, repr(meant))


@pytest.mark.feature("AP13")
@pytest.mark.parametrize(
    "frozen, shown, given",
    [
        ([{"t": "s"}, {"t": "u"}], [{"t": R}, {"t": R}], [{"t": R}]),
        ({"a": "s"}, {"a": R}, {"b": R}),
        ({"a": "mind s"}, {"a": f"mind {R}"}, {"a": f"do not mind {R}"}),
        ({"a": {"b": "s"}}, {"a": {"b": R}}, {"a": [R]}),
    ],
)
def test_what_was_moved_or_half_rewritten_is_not_guessed(
    frozen: Any, shown: Any, given: Any
) -> None:
    with pytest.raises(Unfitting):
        merged(frozen, shown, given)
