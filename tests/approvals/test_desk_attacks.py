"""What somebody at the desk, or beside it, might try; each of these once worked."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from approvals import deciding, editing, pipeline, rulebook
from approvals.deciding import Decided, Undecided
from approvals.editing import Unfitting
from approvals.models import Approval, Invocation, Policy
from approvals.policy_changes import changed
from approvals.transitions import Said
from audit.models import Event, local_now
from audit.redaction import REDACTED
from tests.conftest import REVIEWER_PERMISSIONS, Agent, MakeAgent, held, person
from tests.desk_cast import Rule
from tests.kit_tools import Money
from tools.conditions import Condition, Operator
from tools.key_cabinet import rotate_key
from tools.models import ApiKey

pytestmark = pytest.mark.django_db

Member = Callable[..., User]
CARD, OTHER_CARD = "4111222233334444", "5500666677778888"


@pytest.fixture
def other(db: None) -> User:
    """A second person who may decide."""
    return person("other", *REVIEWER_PERMISSIONS)


def asked(agent: Agent, tool: str, **arguments: Any) -> Approval:
    """A call that waits for a person."""
    answer = agent.invoke(tool, **arguments)
    assert answer.status_code == 202, answer.content
    return Approval.objects.with_everything().get(pk=answer.json()["approval_id"])


def edit(approval: Approval, by: User, said: Said = Said(), **changes: Any) -> Any:  # noqa: B008
    """Change some of its arguments."""
    arguments = {**approval.invocation.arguments, **changes}
    return editing.edit(approval, by, arguments, said, expected_digest=approval.invocation.digest)


@pytest.mark.feature("AP13", "U4")
def test_a_secret_that_is_replaced_comes_to_light_nowhere_else(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    given = {"path": str(trace), "amount": 900, "card_number": CARD, "note": f"card {CARD}"}
    approval = asked(agent, "pay", **given)
    with pytest.raises(Unfitting, match="hidden elsewhere too"):
        edit(approval, reviewer, card_number=OTHER_CARD)
    edit(approval, reviewer, card_number=OTHER_CARD, note="another card")
    kept = json.dumps([Invocation.objects.get().arguments, *Event.objects.values_list("metadata")])
    assert CARD not in kept and OTHER_CARD not in kept


@pytest.mark.feature("AP13", "U4", "P3")
def test_a_policy_s_word_on_an_edit_tells_no_secret(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = asked(agent, "judged_pay", path=str(trace), amount=900, card_number=CARD)
    with pytest.raises(Unfitting) as told:
        edit(approval, reviewer, amount=2000)
    assert str(told.value) == f"The rules deny it: card {REDACTED} pays 1000 at most"


@pytest.mark.feature("AP13")
def test_hidden_parts_of_a_list_are_not_moved_to_other_items(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    to = [{"iban": "DE-ONE", "sum": 10}, {"iban": "DE-TWO", "sum": 20}]
    approval = asked(agent, "judged_pay", path=str(trace), amount=900, to=to)
    moved = [{"iban": REDACTED, "sum": 20}, {"iban": "DE-NEW", "sum": 5}]
    with pytest.raises(Unfitting, match="one item is changed"):
        edit(approval, reviewer, to=moved)
    one_changed = [{"iban": REDACTED, "sum": 11}, {"iban": REDACTED, "sum": 20}]
    assert isinstance(edit(approval, reviewer, to=one_changed), Decided)


@pytest.mark.feature("AP13")
def test_a_hidden_name_is_not_taken_for_a_name(agent: Agent, trace: Path, reviewer: User) -> None:
    given = {"path": str(trace), "amount": 900, "card_number": CARD, "to": {CARD: 10, "x": 1}}
    approval = asked(agent, "judged_pay", **given)
    assert approval.invocation.arguments["to"] == {REDACTED: 10, "x": 1}
    with pytest.raises(Unfitting, match="stands for what is hidden"):
        edit(approval, reviewer, to={REDACTED: 10, "x": 2})


@pytest.mark.feature("AP13", "V6")
@pytest.mark.parametrize("depth", [65, 110, 900])
def test_nothing_is_edited_in_that_is_too_deep_to_be_seen(
    agent: Agent, trace: Path, reviewer: User, depth: int
) -> None:
    approval = asked(agent, "judged_pay", path=str(trace), amount=900, to=[1])
    deep: Any = "far down"
    for _ in range(depth):
        deep = [deep]
    with pytest.raises(Unfitting, match="too deeply"):
        edit(approval, reviewer, to=deep)


@pytest.mark.feature("AP13")
def test_an_edit_that_leaves_no_time_to_decide_is_refused(
    agent: Agent, trace: Path, reviewer: User, write_rule: Rule
) -> None:
    dear = [{"field": "amount", "operator": ">", "value": 1000}]
    write_rule("quick", tool="pay", conditions=dear, expires_after=timedelta(minutes=1))
    approval = asked(agent, "pay", path=str(trace), amount=900)
    an_hour_ago = local_now() - timedelta(hours=1)
    Approval.objects.filter(pk=approval.pk).update(requested_at=an_hour_ago)
    with pytest.raises(Unfitting, match="the time to decide it would be over"):
        edit(deciding.fresh_approval(approval.pk), reviewer, amount=2000.0)


@pytest.mark.feature("AP6", "AP13")
def test_an_editor_s_slow_yes_does_not_count_for_what_was_put_back(
    agent: Agent, trace: Path, reviewer: User, other: User
) -> None:
    approval = held(agent, trace)
    slow = deciding.fresh_approval(approval.pk)
    once = edit(approval, reviewer, text="less").approval
    edit(once, other, text="ran")
    outcome = deciding.approve(slow, reviewer)
    assert isinstance(outcome, Undecided)
    assert outcome.code == "self_approval"


@pytest.mark.feature("AP7", "AP13")
def test_an_edit_that_crosses_a_vote_says_what_happened(
    agent: Agent, trace: Path, write_rule: Rule, member: Member
) -> None:
    write_rule("two", [(1, "ops"), (1, "finance")], tool="guarded_*")
    approval = held(agent, trace)
    stale = deciding.fresh_approval(approval.pk)
    deciding.approve(approval, member("olaf", "ops"))
    outcome = edit(stale, member("both", "ops", "finance"), text="less")
    assert outcome.sentence == "Somebody has voted meanwhile; look again."


@pytest.mark.feature("AP12", "H4")
def test_a_key_that_bears_a_reviewer_s_name_reads_none_of_their_notes(
    make_agent: MakeAgent, agent: Agent, trace: Path, reviewer: User, other: User, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    note = "PRIVATE NOTE"
    edit(held(agent, trace), other, Said(note=note), text="less")
    deciding.approve(held(agent, trace, text="more"), reviewer, Said(note=note))
    for name in ("reviewer", "other"):
        read = make_agent(name, ("audit.read",)).get("audit").content.decode()
        assert note not in read


@pytest.mark.feature("P1", "P8")
def test_a_rule_whose_1_becomes_true_is_another_rule(tools_synced: None) -> None:
    def value(given: Any) -> list[dict[str, Any]]:
        return [{"field": "urgent", "operator": "=", "value": given}]

    policy = Policy.objects.create(name="urgent", tool="pay", conditions=value(1))
    before = policy.describe()
    assert rulebook.rulebook(fresh=True).written[0].conditions[0].value is not True
    policy.conditions = value(True)
    policy.save(update_fields=["conditions"])
    assert rulebook.rulebook(fresh=True).written[0].conditions[0].value is True
    changed(before, policy.describe(), by="somebody", source="admin")
    assert Event.objects.filter(event="policy:changed").count() == 1


@pytest.mark.feature("P2")
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (timedelta(hours=1), "PT1H"),
        (b"abc", "abc"),
        (Money(amount=1, currency="EUR"), "EUR"),
    ],
)
def test_what_has_no_one_text_is_never_silently_different(value: Any, written: str) -> None:
    condition = Condition("x", Operator.EQUAL, written)
    assert condition.reason({"x": value}) == "x cannot be compared"


@pytest.mark.feature("E31")
@pytest.mark.parametrize(
    "forged",
    [
        "[" * 3000,
        json.dumps(["before", "0001-01-01T00:00:00+14:00", "0190a0a0-0000-7000-8000-000000000000"]),
        json.dumps(["after", "9999-12-31T23:59:59-14:00", "0190a0a0-0000-7000-8000-000000000000"]),
    ],
)
def test_a_forged_cursor_of_the_queue_is_refused(reviewer: User, forged: str) -> None:
    client = Client()
    client.force_login(reviewer)
    cursor = base64.urlsafe_b64encode(forged.encode()).decode()
    answer = client.get(reverse("admin:approvals_approval_changelist"), {"cursor": cursor})
    assert answer.status_code == 400


@pytest.mark.feature("AP7")
def test_who_won_is_told_with_the_time_of_the_decision_not_of_the_end(
    agent: Agent, trace: Path, reviewer: User, other: User
) -> None:
    approval = held(agent, trace)
    deciding.approve(approval, reviewer)
    earlier = local_now() - timedelta(minutes=5)
    Approval.objects.filter(pk=approval.pk).update(resolved_at=earlier)
    pipeline.cancel(approval.invocation, by="agent")
    outcome = deciding.approve(deciding.fresh_approval(approval.pk), other)
    assert isinstance(outcome, Undecided)
    assert f"{earlier:%H:%M:%S}" in outcome.sentence


@pytest.mark.feature("E18")
def test_what_was_typed_for_one_content_is_typed_again_for_another(
    agent: Agent, trace: Path, reviewer: User, other: User, write_rule: Rule
) -> None:
    write_rule("type it", tool="guarded_*", typed_confirmation=True)
    approval = held(agent, trace)
    was = approval.invocation.digest
    edit(approval, reviewer, text="something else")
    client = Client()
    client.force_login(other)
    answer = client.post(
        reverse("admin:approvals_approval_approve", args=[approval.pk]),
        {"expected_digest": was, "typed": "guarded_trace", "note": "as before"},
    )
    assert answer.status_code == 409
    html = answer.content.decode()
    assert 'value="guarded_trace"' not in html and "as before" in html


@pytest.mark.feature("AP6", "I3")
def test_who_has_rotated_the_key_decides_none_of_the_lineage_s_calls(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    rotate_key(agent.row.prefix, overlap=timedelta(hours=1), by=reviewer)
    assert ApiKey.objects.get(rotated_from=agent.row).created_by == reviewer
    outcome = deciding.approve(deciding.fresh_approval(approval.pk), reviewer)
    assert isinstance(outcome, Undecided)
    assert outcome.code == "self_approval"
