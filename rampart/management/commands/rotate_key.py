"""`rotate_key`: replace an API key; both work until the overlap ends."""

from typing import Any

from django.core.management.base import CommandParser

from rampart.management.base import Exit, operator
from rampart.management.new_keys import NewKeyCommand
from tools.errors import KeyRefused
from tools.key_cabinet import DEFAULT_OVERLAP, rotate_key
from tools.models import ApiKey


class Command(NewKeyCommand):
    help = "Replace an API key by another of the same caller and print it, once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("prefix", help="the visible start of the key")
        parser.add_argument("--overlap", help="how long the old key goes on working; default: 24h")
        parser.add_argument(
            "--expires", help="such as 90d; default: as long as the old one was for"
        )

    def handle(self, **options: Any) -> None:
        overlap = self.duration("--overlap", options["overlap"])
        lifetime = self.duration("--expires", options["expires"])
        try:
            row, text = rotate_key(
                options["prefix"],
                overlap=DEFAULT_OVERLAP if overlap is None else overlap,
                lifetime=lifetime,
                by=operator(),
            )
        except ApiKey.DoesNotExist:
            raise self.fail("no key has this prefix", Exit.NOT_FOUND) from None
        except KeyRefused as error:
            raise self.fail(str(error), Exit.USAGE) from None
        self.show_once(row, text, options["json"])
