"""`seal_audit`: everything that is committed gets its place in the tree, and the tree is signed."""

from typing import Any

from audit import checkpoints
from audit.sealing import seal
from rampart.management.base import JsonCommand


class Command(JsonCommand):
    help = "Seal every event that is committed, and print a signed checkpoint over all of them."

    def handle(self, **options: Any) -> None:
        sealed = seal()
        newest = checkpoints.latest()
        note = newest.note if newest and newest.size >= sealed.size else None
        if options["json"]:
            self.print_json({"sealed": sealed.events, "size": sealed.size, "checkpoint": note})
        elif note:
            self.stdout.write(note, ending="")
        self.talk(f"{sealed.events} events sealed, {sealed.size} in all")
        if sealed.size and note is None:
            self.talk("nothing is signed: RAMPART_CHECKPOINT_KEY is not set")
