"""`revoke_key`: take a key back, for ever."""

from typing import Any

from django.core.management.base import CommandParser

from rampart.management.base import Exit, RampartCommand, operator
from tools.key_cabinet import revoke_key
from tools.models import ApiKey


class Command(RampartCommand):
    help = "Revoke an API key, for ever; it stops working within a second everywhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the visible start of the key")

    def handle(self, **options: Any) -> None:
        try:
            revoked = revoke_key(options["prefix"], by=operator())
        except ApiKey.DoesNotExist:
            raise self.fail("no key has this prefix", Exit.NOT_FOUND) from None
        self.stderr.write("revoked" if revoked else "it was revoked already")
