"""What all commands share: exit codes, JSON on request, data on stdout and talk on stderr."""

import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError

from audit.canonical import rfc3339
from audit.plain_text import visible


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
    """A command that parses, calls one function and prints, never in colours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"no_color": True})

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run; a database that does not answer, or lacks its tables, ends it in one line.

        A reader that has seen enough, as `head` has, ends it without a complaint.
        """
        try:
            return self._said_to_the_end(*args, **options)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # For what is unsaid.
            raise SystemExit(int(Exit.COULD_NOT_RUN)) from None
        except (OperationalError, ProgrammingError, InterfaceError) as error:
            reason = str(error).partition("\n")[0]
            raise self.fail(f"the database: {reason}", Exit.COULD_NOT_RUN) from None

    def _said_to_the_end(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        finally:
            self.stdout.flush()

    def fail(self, message: str, code: Exit) -> CommandError:
        """The error that ends the command with this exit code."""
        return CommandError(message, returncode=int(code))

    def misused(self, message: str) -> NoReturn:
        """End with the exit code of wrong usage."""
        raise self.fail(message, Exit.USAGE)

    def end(self, code: Exit) -> None:
        """Nothing if all is well; else end with this exit code, all being said."""
        if code is not Exit.DONE:
            raise SystemExit(int(code))

    def say(self, text: str) -> None:
        """A line of data for people, on stdout."""
        self.stdout.write(visible(text))

    def talk(self, text: str) -> None:
        """A line for the person at the terminal, on stderr."""
        self.stderr.write(visible(text))

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

    def print_fields(self, document: Mapping[str, Any]) -> None:
        """One document for people, a field a line."""
        width = max(map(len, document))
        for name, value in document.items():
            self.stdout.write(f"{name.ljust(width)}  {_text(value)}")


class JsonCommand(RampartCommand):
    """A command that prints data, and as one JSON document with `--json`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")


def operator() -> str:
    """The name under which the ledger shows who ran a command: the process's own user.

    Not what the environment says, as `getpass.getuser` would: that is whatever one likes.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # Containers may run under a number that has no name.
        name = str(os.getuid())
    return f"command:{name}"


def _plain(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _text(value: Any) -> str:
    """One line, in which a stranger's text can't move the terminal's cursor."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ",".join(value)
    if isinstance(value, list | dict):
        return json.dumps(value, default=_plain)
    return "-" if value in (None, "") else " ".join(visible(str(value)).split())
