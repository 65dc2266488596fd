"""`reconcile`: which calls have an unknown outcome; say what became of one."""

from typing import Any
from uuid import uuid4

from django.core.management.base import CommandParser

from approvals.models import Invocation
from approvals.reconciling import LONGEST_NOTE, reconcile
from approvals.states import OPEN, InvocationStatus
from rampart.management.arguments import id_of
from rampart.management.base import Exit, JsonCommand, operator

OUTCOMES = {"succeeded": True, "failed": False}
COLUMNS = ("id", "tool", "actor", "started_at", "lost_at", "worker")
MOST_LISTED = 10_000


class Command(JsonCommand):
    help = "List calls whose outcome is unknown; write down what became of one."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--invocation", metavar="ID", help="the call")
        parser.add_argument("--as", dest="outcome", choices=OUTCOMES, help="what became of it")
        parser.add_argument("--note", help="how you know; for the ledger")

    def handle(self, **options: Any) -> None:
        wanted, outcome, note = options["invocation"], options["outcome"], options["note"]
        if wanted is None:
            if outcome or note:
                self.misused("which call? give --invocation")
            self._list(options["json"])
            return
        if outcome is None or not (note or "").strip():
            self.misused("--invocation needs --as, and a --note that says how you know")
        if len(note) > LONGEST_NOTE:
            self.misused(f"--note is a text of at most {LONGEST_NOTE} characters")
        row = Invocation.objects.filter(pk=id_of(wanted)).first()
        if row is None:
            raise self.fail("no call has this id", Exit.NOT_FOUND)
        self._reconcile(row, OUTCOMES[outcome], note)
        self._tell(row, options["json"])

    def _reconcile(self, row: Invocation, succeeded: bool, note: str) -> None:
        if row.status in OPEN:
            raise self.fail(f"the call is {row.get_status_display()}", Exit.PENDING)
        refused = reconcile(
            row,
            succeeded=succeeded,
            note=note,
            by=operator(),
            source="command",
            request_id=uuid4().hex,
        )
        if refused is not None:
            raise self.fail(refused.sentence, Exit.COULD_NOT_RUN)

    def _list(self, as_json: bool) -> None:
        found = [_described(row) for row in Invocation.objects.unknown()[:MOST_LISTED]]
        if as_json:
            self.print_json(found)
        else:
            self.print_rows(found, COLUMNS)

    def _tell(self, row: Invocation, as_json: bool) -> None:
        if as_json:
            self.print_json(_described(row))
        else:
            word = "succeeded" if row.status == InvocationStatus.SUCCESS else "failed"
            self.talk(f"{row.tool_name} {row.pk}: {word}")


def _described(row: Invocation) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "status": row.status,
        "tool": row.tool_name,
        "actor": row.actor,
        "started_at": row.started_at,
        "lost_at": row.finished_at,
        "worker": row.worker or None,
        "request_id": row.request_id,
    }
