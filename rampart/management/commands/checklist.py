"""`checklist`: what should be mended before agents are let in, each with its fix."""

from dataclasses import asdict
from typing import Any

from rampart import checklist
from rampart.checklist import Line, Verdict
from rampart.management.base import Exit, JsonCommand

MARKS = {Verdict.PASS: "✔", Verdict.FAIL: "✖", Verdict.NOT_APPLICABLE: "–"}


class Command(JsonCommand):
    help = "Judge this deployment point by point; exit 6 if anything should be mended."
    requires_system_checks: list[str] = []  # What they find is on the list.

    def handle(self, **options: Any) -> None:
        lines = checklist.run()
        if options["json"]:
            self.print_json([asdict(line) for line in lines])
        else:
            for line in lines:
                self._print(line)
        failed = sum(line.status is Verdict.FAIL for line in lines)
        self.talk(f"{failed} of {len(lines)} lines fail" if failed else "nothing to mend")
        self.end(Exit.FINDINGS if failed else Exit.DONE)

    def _print(self, line: Line) -> None:
        self.say(f"{MARKS[line.status]} {line.title} ({line.id}): {line.finding}")
        if line.fix:
            self.say(f"    fix: {line.fix}")
            self.say(f"    see: {line.docs}")
