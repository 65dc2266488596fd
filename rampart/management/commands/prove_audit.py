"""`prove_audit`: a proof about the tree, for whoever has a checkpoint and not the ledger."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from audit import proofs
from audit.models import Event, Leaf
from audit.proofs import NoCheckpoint, NotSealedYet
from rampart.management.arguments import id_of
from rampart.management.base import Exit, JsonCommand


class Command(JsonCommand):
    help = "Prove that an event is in the newest checkpoint, or that a tree has only been added to."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--event", metavar="ID", type=id_of, help="the event")
        what.add_argument("--from", dest="old", metavar="SIZE", type=int, help="the older tree")
        parser.add_argument("--to", dest="new", metavar="SIZE", type=int, help="the newer tree")

    def handle(self, **options: Any) -> None:
        event_id, old, new = options["event"], options["old"], options["new"]
        if event_id and new is not None:
            self.misused("--to goes with --from")
        try:
            if event_id:
                self._inclusion(event_id, options["json"])
            else:
                self._consistency(old, new, options["json"])
        except NoCheckpoint:
            raise self.fail("nothing is signed yet: run seal_audit", Exit.COULD_NOT_RUN) from None

    def _inclusion(self, event_id: UUID, as_json: bool) -> None:
        if not (_is_in(Event, pk=event_id) or _is_in(Leaf, event_id=event_id)):
            raise self.fail("no event has this id", Exit.NOT_FOUND)
        try:
            proof = proofs.inclusion(event_id)
        except NotSealedYet:
            raise self.fail("the newest checkpoint is older than it", Exit.PENDING) from None
        if as_json:
            self.print_json(proof.described())
        else:
            self.stdout.write(proof.text(), ending="")

    def _consistency(self, old: int, new: int | None, as_json: bool) -> None:
        try:
            proof = proofs.consistency(old, new)
        except ValueError as error:
            self.misused(str(error))
        if as_json:
            self.print_json(proof)
        else:
            self.stdout.write("\n".join([*proof["path"], "", proof["checkpoint"]]), ending="")


def _is_in(table: type[Event] | type[Leaf], **where: UUID) -> bool:
    return table.objects.filter(**where).exists()
