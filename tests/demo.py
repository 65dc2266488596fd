"""Data to look at: rules with stages, calls in every state, and a month behind them.

Functions for the inside of a deployment; what can be done from outside, tests/screenshots.py does.
"""

import random
from datetime import timedelta

from django.contrib.auth.models import Group, User

from approvals import deciding, editing, transitions
from approvals.models import Approval, Invocation, Policy, Preset
from approvals.transitions import Said
from audit import sealing, verifying
from audit.models import local_now
from tests.past import Habits, Past, weeks_of_work
from tools.models import ApiKey, Tool

GROUPS = {"finance": ("ana", "rosa"), "ops": ("rosa", "kai")}
DAYS, CALLS = 30, 420


def rules() -> None:
    """Groups, three policies, and reasons to reject."""
    for name, people in GROUPS.items():
        Group.objects.create(name=name).user_set.set(User.objects.filter(username__in=people))
    large = Policy.objects.create(
        name="Large refunds", description="Two pairs of eyes above 2000.", priority=10,
        tool="refund_*", conditions=[{"field": "amount", "operator": ">", "value": 2000}],
        no_bulk=True,
    )  # fmt: skip
    for position, group in enumerate(GROUPS, 1):
        large.stages.create(position=position, group=Group.objects.get(name=group))
    Policy.objects.create(
        name="Deletions", description="What is gone is gone.", side_effect="destructive",
        reason_required=True, typed_confirmation=True, step_up=True,
        expires_after=timedelta(hours=4),
    )  # fmt: skip
    Policy.objects.create(
        name="Refunds in dollars", tool="refund_*", expires_after=timedelta(minutes=40),
        conditions=[{"field": "currency", "operator": "=", "value": "USD"}],
    )  # fmt: skip
    Preset.objects.create(label="No invoice", text="Attach the invoice, then ask again.")
    Preset.objects.create(label="Wrong amount", text="The order's total is less.", position=2)


def edited(approval_id: str, **changes: object) -> None:
    """Ana changes what would run."""
    approval, ana = deciding.fresh_approval(approval_id), User.objects.get(username="ana")
    arguments = {**approval.invocation.arguments, **changes}
    said = Said(source="admin", reason_to_agent="Only what was paid.")
    editing.edit(approval, ana, arguments, said, expected_digest=approval.invocation.digest)


def expired(approval_id: str) -> None:
    """Its time is over, and that is written down."""
    Approval.objects.filter(pk=approval_id).update(expires_at=local_now() - timedelta(minutes=2))
    transitions.expire(Approval.objects.get(pk=approval_id))


def asked_some_time_ago() -> None:
    """What waits was not asked within the same second."""
    for number, approval in enumerate(Approval.objects.pending().order_by("-id")):
        earlier = approval.requested_at - timedelta(minutes=2 + 3 * number)
        Approval.objects.filter(pk=approval.pk).update(requested_at=earlier)


def voided(invocation_id: str) -> None:
    """Its tool has changed."""
    transitions.void(Invocation.objects.get(pk=invocation_id), "tool_changed")


def a_month() -> None:
    """Four weeks of decisions, by people of different habits."""
    version = Tool.objects.get(name="refund_payment").current
    assert version is not None
    team = [
        Habits(User.objects.get(username="rosa"), (8, 120), 0.2),
        Habits(User.objects.get(username="ana"), (4, 60), 0.12),
        Habits(User.objects.get(username="kai"), (0.5, 9), 0.03, in_bulk=0.4),
    ]
    past = Past(ApiKey.objects.get(actor="shop-agent"), version)
    tools = ["refund_payment"] * 5 + ["delete_account"] * 2 + ["close_shop"]
    weeks_of_work(
        past, local_now(), days=DAYS, calls=CALLS, tools=tools, team=team, dice=random.Random(7)
    )
    past.write()


def a_verification() -> None:
    """Ana has had the ledger verified."""
    sealing.seal()
    verifying.run(verifying.ask("ana").pk)
