"""`prune`: take away what is over and old, of every table that has a period."""

import os
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from rampart import retention
from rampart.configuration import FOR_EVER
from rampart.management.base import Exit, JsonCommand
from rampart.retention import Periods, Swept
from tools.durations import parse_duration
from tools.forms import written

MOST_AT_ONCE = 100_000
GIVES_WAY = 10
"""How much nicer than others a process that prunes is: callers wait for theirs, nobody for this."""
COLUMNS = ("table", "older_than", "count")


class Command(JsonCommand):
    help = "Take away what is older than its retention period; what is not over, or held, stays."

    def run_from_argv(self, argv: list[str]) -> None:
        """As a process of its own; called by other code, that code's priority stays."""
        os.nice(GIVES_WAY)
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--older-than", help="in place of every period, such as 90d")
        parser.add_argument("--dry-run", action="store_true", help="only count what would go")
        parser.add_argument(
            "--batch-size", type=int,
            help=f"rows in a transaction; {retention.BATCH} if it is not given, and"
            f" {retention.LEDGER_BATCH} of the ledger",
        )  # fmt: skip

    def handle(self, **options: Any) -> None:
        lines = list(self._swept(options))
        documents = [_described(line) for line in lines]
        if options["json"]:
            self.print_json(documents)
        else:
            self.print_rows(documents, COLUMNS)
        faults = [line for line in lines if line.fault]
        for line in faults:
            self.talk(f"{line.table} could not be pruned: {line.fault}")
        self.end(Exit.COULD_NOT_RUN if faults else Exit.DONE)

    def _swept(self, options: dict[str, Any]) -> Iterator[Swept]:
        periods, most = self._periods(options["older_than"]), options["batch_size"]
        if most is not None and not 1 <= most <= MOST_AT_ONCE:
            self.misused(f"--batch-size is a whole number from 1 to {MOST_AT_ONCE}")
        if options["dry_run"]:
            return retention.foreseen(periods)
        return retention.sweep(periods, most=most)

    def _periods(self, older_than: str | None) -> Periods:
        periods = retention.periods()
        if older_than is None:
            return periods
        try:
            return dict.fromkeys(periods, parse_duration(older_than))
        except ValueError as error:
            self.misused(f"--older-than: {error}")


def _described(line: Swept) -> dict[str, Any]:
    return {
        "table": line.table,
        "older_than": FOR_EVER if line.period is None else written(line.period),
        "count": line.count,
        "fault": line.fault or None,
    }
