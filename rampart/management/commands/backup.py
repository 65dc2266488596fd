"""`backup`: the whole database in one file, taken beside the running servers."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from audit.checkpoints import Statement
from rampart.backups import archive, taking
from rampart.backups.errors import BackupFailed
from rampart.management.base import Exit, RampartCommand, operator


class Command(RampartCommand):
    help = "Write the database into one file, which its owner alone can read."
    requires_system_checks: list[str] = []  # Before a repair above all.

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the file to make")
        parser.add_argument("--force", action="store_true", help="overwrite the file")
        parser.add_argument("--binaries", type=Path, help="the folder of pg_dump; default: PATH")

    def handle(self, **options: Any) -> None:
        path = options["file"]
        try:
            manifest = taking.take(
                path, by=operator(), force=options["force"], binaries=options["binaries"]
            )
        except BackupFailed as error:
            raise self.fail(str(error), Exit.COULD_NOT_RUN) from None
        except OSError as error:
            raise self.fail(f"{path}: {error.strerror}", Exit.COULD_NOT_RUN) from None
        self.talk(f"{path}: {path.stat().st_size} bytes; the secrets are not in it")
        self._talk_of(manifest.checkpoint, path)

    def _talk_of(self, checkpoint: str | None, path: Path) -> None:
        if checkpoint is None:
            self.talk("No checkpoint is in it: no key signs, or the tables wait for migrate")
            return
        size = Statement.from_text(checkpoint).size
        self.talk(
            f"Its newest checkpoint is of {size} events. Keep that somewhere else, to know an old"
            f" backup for one: tar -xOf {path} {archive.CHECKPOINT}"
        )
