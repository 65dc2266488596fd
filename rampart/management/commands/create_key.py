"""`create_key`: hand out an API key; its text is printed once and kept nowhere."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import CommandParser

from rampart.management.base import Exit, operator
from rampart.management.new_keys import NewKeyCommand
from tools.errors import KeyRefused
from tools.key_cabinet import create_key


class Command(NewKeyCommand):
    help = "Create an API key for a service and print it, once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--actor", required=True, help="the name that the ledger shows")
        parser.add_argument("--scope", action="extend", nargs="+", required=True, dest="scopes")
        parser.add_argument("--owner", help="the person who answers for it; default: nobody")
        parser.add_argument("--tool", action="extend", nargs="+", default=[], dest="tools")
        parser.add_argument("--cidr", action="extend", nargs="+", default=[], dest="cidrs")
        parser.add_argument("--rate-tier", default="", help="such as 600/minute")
        parser.add_argument("--expires", help="such as 90d (the default)")

    def handle(self, **options: Any) -> None:
        try:
            row, text = create_key(
                actor=options["actor"],
                scopes=options["scopes"],
                owner=self._owner(options["owner"]),
                tools=options["tools"],
                cidrs=options["cidrs"],
                rate_tier=options["rate_tier"],
                lifetime=self.duration("--expires", options["expires"]),
                by=operator(),
            )
        except KeyRefused as error:
            raise self.fail(str(error), Exit.USAGE) from None
        self.show_once(row, text, options["json"])

    def _owner(self, name: str | None) -> User | None:
        if name is None:
            return None
        owner = get_user_model().objects.filter(username=name).first()
        if owner is None:
            raise self.fail(f"no user is called {name!r}", Exit.NOT_FOUND)
        return owner
