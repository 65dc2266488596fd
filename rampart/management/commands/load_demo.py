"""`load_demo`: a reviewer, a key, and lines to paste."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction

from approvals.models import Policy
from approvals.policy_changes import changed
from approvals.states import Effect
from rampart.management.base import RampartCommand, operator
from tools.key_cabinet import create_key
from tools.models import ApiKey

REVIEWER = "demo-reviewer"
AGENT = "demo-agent"
GROUP = "Reviewers"
PERMISSIONS = (
    "decide_approval", "view_approval", "view_invocation", "view_event", "view_tool",
    "view_toolversion", "change_tool", "view_apikey", "rotate_apikey",
    "view_emergencystop", "add_emergencystop", "delete_emergencystop", "view_policy",
)  # fmt: skip
"""What reviewers need. Making keys is not among it: who makes keys should not approve calls."""
POLICIES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"name": "Reports may be rebuilt", "effect": Effect.ALLOW, "tool": "rebuild_report"}, 0),
    (
        {
            "name": "Two people for large refunds",
            "is_enabled": False,
            "tool": "refund_*",
            "conditions": [{"field": "amount", "operator": ">", "value": 5000}],
        },
        2,
    ),
)
"""The demo's policies, and how many reviewers they ask for."""
SCOPES = ("orders.read", "refunds.write", "accounts.delete", "reports.run", "audit.read")

LINES = """\
Try it (each line is one call; README.md has all six ways that a call can go):

  curl -s {api}/tools/lookup_order/invoke -H "Authorization: Bearer $RAMPART_KEY" \\
       -H 'Content-Type: application/json' -d '{{"arguments": {{"order_id": "A-1001"}}}}'
  curl -s {api}/tools/refund_payment/invoke -H "Authorization: Bearer $RAMPART_KEY" \\
       -H 'Content-Type: application/json' \\
       -d '{{"arguments": {{"order_id": "A-1001", "amount": 900}}}}'
  curl -s "{api}/invocations/INVOCATION_ID?wait=30" -H "Authorization: Bearer $RAMPART_KEY"
"""


class Command(RampartCommand):
    help = "Create the demo's reviewer and key, and print how to begin. Nothing is overwritten."

    def handle(self, **options: Any) -> None:
        with transaction.atomic():
            password = self._reviewer()
            key = self._key()
        base = settings.RAMPART_PUBLIC_URL or (
            f"http://{settings.RAMPART_HOST}:{settings.RAMPART_PORT}"
        )
        self.stdout.write(f"\nRampart's admin:  {base}/admin/")
        self.stdout.write(f"Reviewer:         {REVIEWER}")
        if password:
            self.stdout.write(f"Password:         {password}   (shown once)")
        if key:
            self.stdout.write("API key:          shown once; paste this line:")
            self.stdout.write(f"export RAMPART_KEY={key}")
        if not (password or key):
            self.stdout.write(
                "Password and key were shown at the first start; new ones come from"
                f" `.venv/bin/python manage.py changepassword {REVIEWER}` and"
                f" `.venv/bin/python manage.py create_key --actor {AGENT} --scope {SCOPES[0]} …`."
            )
        self.stdout.write("\n" + LINES.format(api=f"{base}/api/v1"))

    def _reviewer(self) -> str | None:
        """The reviewer's password if the reviewer is new."""
        people = get_user_model().objects
        if people.filter(username=REVIEWER).exists():
            return None
        password = secrets.token_urlsafe(12)
        reviewer: User = people.create_user(REVIEWER, password=password, is_staff=True)
        group, _ = Group.objects.get_or_create(name=GROUP)
        group.permissions.set(Permission.objects.filter(codename__in=PERMISSIONS))
        reviewer.groups.add(group)
        self._policies(group)
        return password

    def _policies(self, group: Group) -> None:
        """One says that a writing tool is fine; the other is to look at, and switched off."""
        for columns, needs in POLICIES:
            policy, is_new = Policy.objects.get_or_create(name=columns["name"], defaults=columns)
            if not is_new:
                continue
            if needs:
                policy.stages.create(needs=needs, group=group)
            changed(None, policy.describe(), by=operator(), source="command")

    def _key(self) -> str | None:
        """The agent's key if the agent is new."""
        if ApiKey.objects.filter(actor=AGENT).exists():
            return None
        _, text = create_key(actor=AGENT, scopes=SCOPES, by=operator())
        return text
