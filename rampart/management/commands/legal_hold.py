"""`legal_hold`: keep what retention would take; look at such holds, and release one."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from django.core.management.base import CommandParser

from audit import holds
from audit.canonical import storable_text
from audit.hold_forms import HoldForm
from audit.holds import AlreadyReleased, described
from audit.models import LegalHold
from rampart.management.arguments import id_of
from rampart.management.base import Exit, JsonCommand, operator

OPTIONS = {
    "reason": "why; for the ledger",
    "actor": "only what this caller did",
    "tool": "only what was asked of this tool",
    "invocation": "only this call",
    "session": "only this session",
    "since": "only from this time on, such as 2026-01-31 or 2026-01-31T12:00:00Z",
    "until": "only up to this time",
}
FIELDS = {"tool": "tool_name", "invocation": "invocation_id", "session": "session_id"}
"""What a field is called where it is not called as the option."""
COLUMNS = (
    "id", "reason", "actor", "tool_name", "invocation_id", "session_id", "since", "until",
    "placed_by", "placed_at", "released_at",
)  # fmt: skip


class Command(JsonCommand):
    help = "Place a legal hold, list those that hold, release one."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["place", "list", "release"])
        parser.add_argument("id", nargs="?", help="the hold to release")
        for option, meaning in OPTIONS.items():
            parser.add_argument(f"--{option}", help=meaning)
        parser.add_argument("--all", action="store_true", help="list released ones, too")

    def handle(self, **options: Any) -> None:
        said = {name: options[name] for name in OPTIONS if options[name] is not None}
        self._check_use(options, said)
        if options["verb"] == "list":
            self._list(options["all"], options["json"])
            return
        hold = self._place(said) if options["verb"] == "place" else self._release(options["id"])
        if options["json"]:
            self.print_json(described(hold))
        else:
            self.say(str(hold.pk))

    def _check_use(self, options: Mapping[str, Any], said: Mapping[str, str]) -> None:
        if (options["verb"] == "release") != (options["id"] is not None):
            self.misused("release takes the id of a hold; the others take none")
        if said and options["verb"] != "place":
            self.misused(f"--{min(said)} is for place")

    def _place(self, said: Mapping[str, str]) -> LegalHold:
        form = HoldForm(
            {FIELDS.get(name, name): storable_text(text) for name, text in said.items()}
        )
        if not form.is_valid():
            field, (fault, *_) = next(iter(form.errors.items()))
            names = {column: option for option, column in FIELDS.items()}
            where = "" if field == "__all__" else f"--{names.get(field, field)}: "
            self.misused(f"{where}{fault}")
        holds.place(form.instance, by=operator(), source="command", request_id=uuid4().hex)
        hold: LegalHold = form.instance
        return hold

    def _release(self, given: str) -> LegalHold:
        told = {"by": operator(), "source": "command", "request_id": uuid4().hex}
        try:
            return holds.release(id_of(given), **told)
        except LegalHold.DoesNotExist:
            raise self.fail("no hold has this id", Exit.NOT_FOUND) from None
        except AlreadyReleased:
            raise self.fail("it was released before", Exit.COULD_NOT_RUN) from None

    def _list(self, with_released: bool, as_json: bool) -> None:
        rows = LegalHold.objects.all() if with_released else LegalHold.objects.active()
        found = [described(hold) for hold in rows]
        if as_json:
            self.print_json(found)
        else:
            self.print_rows(found, COLUMNS)
