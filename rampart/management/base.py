"""What all commands share: exit codes, JSON on request, data on stdout and talk on stderr."""

import getpass
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.canonical import rfc3339


class Exit(IntEnum):
    """What a command's exit code means; docs/reference/commands.md has the same table."""

    DONE = 0
    COULD_NOT_RUN = 1
    USAGE = 2
    DENIED = 3
    PENDING = 4
    NOT_FOUND = 5
    FINDINGS = 6


class RampartCommand(BaseCommand):
    """A command that parses, calls one function and prints."""

    def fail(self, message: str, code: Exit) -> CommandError:
        """The error that ends the command with this exit code."""
        return CommandError(message, returncode=int(code))

    def print_json(self, data: Any) -> None:
        """One document on stdout."""
        self.stdout.write(json.dumps(data, default=_plain, indent=2))

    def print_rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """A table for people, columns aligned."""
        cells = [[_text(row[column]) for column in columns] for row in rows]
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for line in [list(columns), *cells]:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


class JsonCommand(RampartCommand):
    """A command that prints data, and as one JSON document with `--json`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")


def operator() -> str:
    """The name under which the ledger shows who ran a command."""
    return f"command:{getpass.getuser()}"


def _plain(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "-" if value in (None, "") else str(value)
