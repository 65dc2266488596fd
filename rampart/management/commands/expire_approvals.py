"""`expire_approvals`: write down which held calls have run out of time."""

from typing import Any

from approvals.transitions import now
from approvals.upkeep import expire_due
from rampart.management.base import RampartCommand


class Command(RampartCommand):
    help = "Expire what has run out of time; the workers do it every few seconds by themselves."

    def handle(self, **options: Any) -> None:
        self.stdout.write(f"{expire_due(now())} expired")
