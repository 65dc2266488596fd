"""`verify_audit`: does every line of the ledger still say what it said when it was written?"""

from typing import Any

from django.db import DatabaseError

from audit.verification import verify
from rampart.management.base import Exit, JsonCommand


class Command(JsonCommand):
    help = "Recompute every event's digest; exit 6 and name the first that does not match."
    requires_system_checks: list[str] = []  # It must be able to speak when others can't.

    def handle(self, **options: Any) -> None:
        try:
            report = verify()
        except DatabaseError as error:
            raise self.fail(f"could not read the ledger: {error}", Exit.COULD_NOT_RUN) from None
        finding = report.finding
        if options["json"]:
            self.print_json(
                {
                    "events": report.events,
                    "ok": finding is None,
                    "event_id": finding.event_id if finding else None,
                    "fault": finding.fault if finding else None,
                }
            )
        elif finding is None:
            self.stdout.write(f"OK: {report.events} events")
        else:
            self.stdout.write(f"ALTERED: event {finding.event_id}: {finding.fault}")
        if finding is not None:
            raise SystemExit(int(Exit.FINDINGS))
