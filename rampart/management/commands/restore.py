"""`restore`: put a backup back, and make it safe to start."""

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser

from rampart.backups.errors import BackupFailed
from rampart.backups.restoring import How, restore
from rampart.management.base import Exit, RampartCommand, operator


class Command(RampartCommand):
    help = "Put a backup into an empty database, all of it or nothing."
    requires_system_checks: list[str] = []  # There is no database yet that they could ask.

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a file that backup has made")
        parser.add_argument("--verify", action="store_true", help="verify the ledger; 6 if at odds")
        parser.add_argument(
            "--checkpoint", action="append", default=[], metavar="FILE",
            help="compare with this one, which was kept elsewhere; may be repeated",
        )  # fmt: skip
        parser.add_argument("--replace", action="store_true", help="SQLite: move the old one aside")
        parser.add_argument(
            "--keep-calls", action="store_true",
            help="leave held and queued calls: only if none has run since the backup",
        )  # fmt: skip
        parser.add_argument(
            "--no-privileges", action="store_true", help="leave out grants to roles"
        )
        parser.add_argument("--binaries", type=Path, help="the folder of pg_restore; default: PATH")

    def handle(self, **options: Any) -> None:
        kept = options["checkpoint"]
        if kept and not options["verify"]:
            self.misused("--checkpoint is what --verify compares with: give both")
        if missing := [file for file in kept if not Path(file).is_file()]:
            self.misused(f"{missing[0]}: there is no such file")
        how = How(
            replace=options["replace"],
            keep_calls=options["keep_calls"],
            with_privileges=not options["no_privileges"],
            binaries=options["binaries"],
        )
        try:
            manifest, voided = restore(options["file"], how, by=operator())
        except BackupFailed as error:
            raise self.fail(str(error), Exit.COULD_NOT_RUN) from None
        except OSError as error:
            message = f"{error.filename}: {error.strerror}"
            raise self.fail(message, Exit.COULD_NOT_RUN) from None
        self.talk(f"restored as of {manifest.taken_at}; {voided} calls that waited are void")
        if options["verify"]:
            call_command("verify_audit", checkpoint=kept, stdout=self.stdout, stderr=self.stderr)
