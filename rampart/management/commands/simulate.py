"""`simulate`: what would become of a call, which rule says so, and who could decide it."""

from typing import Any
from uuid import uuid4

from django.core.management.base import CommandParser

from approvals.door import Call
from approvals.simulating import Answer, Simulation, Supposed, Wait, simulate
from approvals.stages import FLAGS
from rampart.management import arguments
from rampart.management.arguments import BadArguments
from rampart.management.base import Exit, JsonCommand
from tools.errors import UnknownTool
from tools.forms import written

EXIT_CODES = {Answer.ALLOW: Exit.DONE, Answer.HOLD: Exit.PENDING, Answer.DENY: Exit.DENIED}
SOURCE = "rest"
"""The way by which agents come; a policy may look at it."""


class Command(JsonCommand):
    help = "Say what would become of a call, and why; nothing is run, written or counted."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tool")
        arguments.add_args(parser)
        parser.add_argument("--actor", required=True, help="who would call")
        parser.add_argument(
            "--scope", action="extend", nargs="+", default=[], dest="scopes",
            help="with these scopes and no key; default: as the actor's newest usable key has it",
        )  # fmt: skip
        parser.add_argument("--key-prefix", help="with this key of the actor, by its visible start")
        parser.add_argument(
            "--idempotency-key", help="as if given; earlier calls are not looked up"
        )

    def handle(self, **options: Any) -> None:
        supposed = self._supposed(options)
        try:
            call = Call(
                tool_name=options["tool"],
                arguments=arguments.read_args(options["given_args"]),
                request_id=uuid4().hex,
                source=SOURCE,
                idempotency_key=options["idempotency_key"],
            )
            found = simulate(call, supposed)
        except BadArguments as error:
            self.misused(f"--args: {error}")
        except UnknownTool as error:
            raise self.fail(str(error), Exit.NOT_FOUND) from None
        self._print(found, call, supposed, options["json"])
        self.end(EXIT_CODES[found.answer])

    def _supposed(self, options: dict[str, Any]) -> Supposed:
        actor, scopes, prefix = options["actor"], options["scopes"], options["key_prefix"]
        if scopes and prefix:
            self.misused("--scope supposes a caller without a key: no --key-prefix")
        supposed = Supposed.of(actor, scopes, prefix)
        if supposed is None:
            raise self.fail("the actor has no such usable key; suppose a --scope", Exit.NOT_FOUND)
        return supposed

    def _print(self, found: Simulation, call: Call, supposed: Supposed, as_json: bool) -> None:
        document = describe(found, call, supposed)
        if as_json:
            self.print_json(document)
            return
        self.print_rows(document["trace"], ("rule", "answer", "reason"))
        made = f", by {document['rule']}: {document['reason']}" if document["rule"] else ""
        self.say(f"\n{found.answer}{made}")
        if found.wait is not None:
            self._print_wait(found.wait)

    def _print_wait(self, wait: Wait) -> None:
        for stage in wait.stages:
            people = ", ".join(stage.people) or "nobody"
            self.say(f"who could decide: {people} ({stage.stage.described})")
        if not wait.is_decidable:
            self.say("nobody can decide it: there are too few people for its stages")
        time = f"to be decided within {written(wait.expires_after)}"
        self.say("; ".join([time, *wait.conditions]))


def describe(found: Simulation, call: Call, supposed: Supposed) -> dict[str, Any]:
    """The document that `--json` prints."""
    decisive = found.decisive
    return {
        "tool_name": call.tool_name,
        "actor": supposed.caller.actor,
        "key_prefix": supposed.caller.prefix or None,
        "decision": found.answer,
        "error_type": decisive[0].error_type if decisive else None,
        "rule": "; ".join(step.rule for step in decisive) or None,
        "reason": "; ".join(step.reason for step in decisive) or None,
        "eligible": list(found.eligible),
        "terms": found.wait and _terms(found.wait),
        "arguments": found.arguments,
        "trace": [
            {"rule": step.rule, "answer": step.answer, "reason": step.reason or None}
            for step in found.steps
        ],
    }


def _terms(wait: Wait) -> dict[str, Any]:
    """What a held call would wait for; the time is in seconds."""
    stages = [
        {"needs": one.stage.needs, "group": one.stage.group or None, "could": list(one.people)}
        for one in wait.stages
    ]
    flags = {name: getattr(wait.terms, name) for name in FLAGS}
    seconds = wait.expires_after.total_seconds()
    return {
        "stages": stages, "is_decidable": wait.is_decidable, "expires_after": seconds, **flags
    }  # fmt: skip
