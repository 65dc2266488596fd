"""`import_toolrampart`: take over the hashed keys of a ToolRampart configuration."""

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import IntegrityError

from rampart.importing import toolrampart
from rampart.importing.keys import Outcome, default_lifetime, import_keys
from rampart.importing.toolrampart import Unreadable
from rampart.management.base import Exit, JsonCommand, operator
from tools.durations import parse_duration
from tools.errors import KeyRefused

COLUMNS = ("id", "actor", "outcome", "prefix", "reason")
NO_HISTORY = "not imported: this version takes over keys only; keep the file"


class Command(JsonCommand):
    help = "Take over ToolRampart's hashed keys; exit 6 if anything was left out, and say why."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--config", type=Path, required=True, help="its toolrampart.toml")
        parser.add_argument("--db", type=Path, help="its audit.db; is not imported yet")
        parser.add_argument("--lifetime", help="of the imported keys, such as 30d (the default)")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, **options: Any) -> None:
        path: Path = options["config"]
        dry_run: bool = options["dry_run"]
        lifetime = self._lifetime(options["lifetime"])
        try:
            found = toolrampart.read(path)
            lines = import_keys(found, lifetime=lifetime, by=operator(), dry_run=dry_run)
        except Unreadable as error:
            raise self.fail(f"{path}: {error}", Exit.COULD_NOT_RUN) from None
        except KeyRefused as error:
            self.misused(f"--lifetime: {error}")
        except IntegrityError:
            message = "another import has just taken over the same keys; nothing was written"
            raise self.fail(message, Exit.COULD_NOT_RUN) from None
        left_out = sum(line.outcome in (Outcome.SKIPPED, Outcome.REFUSED) for line in lines)
        document = {
            "dry_run": dry_run,
            "keys": [asdict(line) for line in lines],
            "settings": [asdict(setting) for setting in found.settings],
            "history": NO_HISTORY if options["db"] else None,
        }
        if options["json"]:
            self.print_json(document)
        else:
            self._print(document)
        done = "would be imported" if dry_run else "imported"
        self.talk(f"{len(lines) - left_out} {done}, {left_out} left out")
        self.end(Exit.FINDINGS if left_out or options["db"] else Exit.DONE)

    def _lifetime(self, text: str | None) -> timedelta:
        try:
            return default_lifetime() if text is None else parse_duration(text)
        except ValueError as error:
            self.misused(f"--lifetime: {error}")

    def _print(self, document: dict[str, Any]) -> None:
        self.print_rows(document["keys"], COLUMNS)
        if document["settings"]:
            self.say("\nNot imported; set here instead:\n")
            self.print_rows(document["settings"], ("name", "instead"))
        if document["history"]:
            self.say(f"\nhistory  {document['history']}")
