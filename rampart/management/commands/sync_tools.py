"""`sync_tools`: write the tools that the code defines into the database."""

from typing import Any

from django.core.management.base import CommandParser

from approvals.upkeep import void_outdated
from rampart.management.base import RampartCommand, operator
from tools import catalogue


class Command(RampartCommand):
    help = "Record the tools' definitions; calls held for an older version become void."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print what would change")

    def handle(self, **options: Any) -> None:
        found = catalogue.changes() if options["dry_run"] else catalogue.sync(by=operator())
        for word, names in (
            ("new", found.added), ("changed", found.changed), ("gone", found.gone)
        ):  # fmt: skip
            for name in names:
                self.stdout.write(f"{word} {name}")
        if not options["dry_run"] and (voided := void_outdated()):
            self.stdout.write(f"void {voided} held calls")
