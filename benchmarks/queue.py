"""A page of the queue where much is stored, beside one where little is.

One process that holds Rampart's Django, on a PostgreSQL that is filled as it goes; pages are asked
for through Django's client, so that middleware and templates count too, and the network doesn't.
"""

import sys
import time
from dataclasses import dataclass, field

from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from approvals.models import Approval, Invocation
from approvals.states import ApprovalStatus, InvocationStatus, Risk
from audit.models import local_now, new_id
from tests.copies import copies_of
from tools.key_cabinet import create_key
from tools.models import Tool, ToolVersion

LITTLE, MUCH = 1_000, 100_000
TIMES = 20
PAGES = {
    "what waits": "",
    "what waits, page 2": "?cursor={after}",
    "highest risk first": "?order=risk",
    "that I may decide": "?whose=decide",
    "all": "?status=all",
    "search by requester": "?q=agent",
    "search by id": "?q={pk}",
}


@dataclass(slots=True)
class Page:
    """One page of the queue, and the milliseconds that it took, by how much was stored."""

    name: str
    query: str
    taken: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, client: Client, stored: str, **known: object) -> None:
        """Ask for it some times."""
        address = reverse("admin:approvals_approval_changelist") + self.query.format(**known)
        for number in range(TIMES + 1):
            begun = time.perf_counter()
            assert client.get(address).status_code == 200
            if number:  # Once for nothing.
                taken = self.taken.setdefault(stored, [])
                taken.append((time.perf_counter() - begun) * 1000)

    def least(self, stored: str) -> float:
        """What it takes when nothing comes between: noise only ever adds."""
        return min(self.taken[stored])


def main() -> None:
    """Measure with little, fill, measure again, print the table."""
    call_command("migrate", verbosity=0)
    first, client = prepared()
    pages = [Page(name, query) for name, query in PAGES.items()]
    steps = {
        "little": (LITTLE // 2, LITTLE // 2),
        "much decided": (0, MUCH - LITTLE),
        "much waiting": (MUCH, 0),
    }
    for stored, (waiting, decided) in steps.items():
        copies_of(first, waiting)
        copies_of(first, decided, status=ApprovalStatus.REJECTED)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE approvals_approval, approvals_invocation")
        shown = client.get(reverse("admin:approvals_approval_changelist")).content.decode()
        after = shown.partition('rel="next" href="?cursor=')[2].partition('"')[0]
        assert after
        for page in pages:
            page.measure(client, stored, pk=first.pk, after=after)
        print(f"queue: {stored}, {Approval.objects.count()} stored", file=sys.stderr, flush=True)
    report(pages, list(steps))


def prepared() -> tuple[Approval, Client]:
    """One held call, and the browser of somebody who may decide it."""
    tool = Tool.objects.create(name="bench.write")
    version = ToolVersion.objects.create(tool=tool, number=1, definition={}, schema_hash="")
    owner, reviewer = (User.objects.create_user(name, is_staff=True) for name in ("owner", "rosa"))
    reviewer.user_permissions.add(Permission.objects.get(codename="decide_approval"))
    key, _ = create_key(actor="agent", scopes=["*"], owner=owner, by="bench")
    row = Invocation.objects.create(
        status=InvocationStatus.HELD, tool_name=tool.name, tool_version=version,
        tool_version_number=1, policy_version="1", key=key, key_prefix=key.prefix,
        lineage=key.lineage, actor="agent", source="rest", request_id=new_id().hex,
        idempotency_key="first", digest="0" * 64, asked_digest="0" * 64, request_digest="0" * 64,
        arguments={"order_id": "A-1001", "amount": 740},
    )  # fmt: skip
    moment = local_now()
    approval = Approval.objects.create(
        invocation=row, tool_name=tool.name, actor="agent", status=ApprovalStatus.PENDING,
        risk=Risk.MEDIUM, reason="amount exceeds 500", requested_at=moment,
        expires_at=moment.replace(year=moment.year + 1),
    )  # fmt: skip
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(reviewer)
    return approval, client


def report(pages: list[Page], stored: list[str]) -> None:
    """The table, in Markdown: milliseconds, and each ratio to little."""
    print(f"| page | {' | '.join(f'{name}, ms' for name in stored)} | ratios |")
    print("|---|" + "---|" * (len(stored) + 1))
    for page in pages:
        least = [page.least(name) for name in stored]
        ratios = ", ".join(f"{one / least[0]:.2f}" for one in least[1:])
        print(f"| {page.name} | {' | '.join(f'{one:.0f}' for one in least)} | {ratios} |")
