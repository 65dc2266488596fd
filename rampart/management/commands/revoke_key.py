"""`revoke_key`: take keys back, for ever."""

from typing import Any

from django.core.management.base import CommandParser

from rampart.management.base import Exit, RampartCommand, operator
from tools.key_cabinet import revoke_keys
from tools.models import ApiKey


class Command(RampartCommand):
    help = "Revoke API keys, for ever; they stop working within a second everywhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", nargs="+", help="a key's visible start")
        parser.add_argument("--lineage", action="store_true", help="and all keys of these callers")
        parser.add_argument("--reason", default="", help="for the ledger")

    def handle(self, **options: Any) -> None:
        try:
            revoked = revoke_keys(
                options["prefix"],
                with_lineage=options["lineage"],
                by=operator(),
                reason=options["reason"],
            )
        except ApiKey.DoesNotExist:
            raise self.fail("no key has this prefix; nothing was revoked", Exit.NOT_FOUND) from None
        for prefix, changed in revoked.items():
            self.talk(f"{prefix} " + ("revoked" if changed else "was revoked already"))
