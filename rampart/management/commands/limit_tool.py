"""`limit_tool`: how many calls of a tool run at once, and how early they are taken."""

import argparse
from typing import Any

from django.core.management.base import CommandParser

from rampart.management.base import Exit, JsonCommand, operator
from tools.catalogue import set_limits
from tools.models import Tool

NO_LIMIT = 0
MOST, HIGHEST = 10_000, 1_000
MOST_DIGITS = 9


class Command(JsonCommand):
    help = "Show or set how many calls of a tool run at once, and their priority."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tool", help="its name")
        parser.add_argument(
            "--running", type=_places, metavar="N|none", help="at most so many at once; none: any"
        )
        parser.add_argument("--priority", type=_priority, help="higher is earlier; 0 is usual")

    def handle(self, **options: Any) -> None:
        row = Tool.objects.filter(name=options["tool"]).first()
        if row is None:
            raise self.fail("no tool is called so", Exit.NOT_FOUND)
        running, priority = options["running"], options["priority"]
        if running is not None or priority is not None:
            set_limits(
                row,
                max_running=row.max_running if running is None else running or None,
                priority=row.priority if priority is None else priority,
                by=operator(),
            )
            row.refresh_from_db()
        self._show(row, options["json"])

    def _show(self, row: Tool, as_json: bool) -> None:
        found = {"tool": row.name, "max_running": row.max_running, "priority": row.priority}
        if as_json:
            self.print_json(found)
        else:
            self.print_fields(found)


def _places(given: str) -> int:
    """A number of calls; `none` is no limit."""
    if given == "none":
        return NO_LIMIT
    is_number = given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS
    if not is_number or not 1 <= int(given) <= MOST:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1 to {MOST}, or none")
    return int(given)


def _priority(given: str) -> int:
    digits = given.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS
    if not is_number or int(digits) > HIGHEST:
        raise argparse.ArgumentTypeError(f"takes a whole number from -{HIGHEST} to {HIGHEST}")
    return int(given)
