"""`call`: call a tool with a key, as an agent does: the same walk, limits and approvals."""

from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import CommandParser

from approvals import pipeline
from approvals.door import Call
from approvals.idempotency import KEY_FORM, is_key
from approvals.pipeline import Patience
from approvals.results import Answer
from audit import ledger
from audit.events import EventName
from rampart.management import arguments
from rampart.management.arguments import STDIN, BadArguments
from rampart.management.base import Exit, JsonCommand, operator
from tools.authentication import SENTENCES
from tools.errors import UnknownTool
from tools.identity import BadCredentials, Caller, identify

SOURCE = "command"
HERE = "127.0.0.1"
"""A command comes from the machine on which it runs; keys may be limited to networks."""

EXIT_CODES = {
    "success": Exit.DONE,
    "error": Exit.COULD_NOT_RUN,
    "timeout": Exit.COULD_NOT_RUN,
    "killed": Exit.COULD_NOT_RUN,
    "unknown": Exit.COULD_NOT_RUN,
    "unavailable": Exit.COULD_NOT_RUN,
    "validation_error": Exit.USAGE,
    "denied": Exit.DENIED,
    "rejected": Exit.DENIED,
    "expired": Exit.DENIED,
    "cancelled": Exit.DENIED,
    "void": Exit.DENIED,
    "rate_limited": Exit.DENIED,
    "idempotency_conflict": Exit.DENIED,
    "pending": Exit.PENDING,
    "requires_approval": Exit.PENDING,
}
"""By the API's word for where a call stands; docs/reference/commands.md has the same table."""


class Command(JsonCommand):
    help = "Call a tool with a key, as an agent does; nothing here goes round an approval."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tool")
        arguments.add_args(parser)
        parser.add_argument(
            "--key", type=arguments.only_stdin, metavar=STDIN,
            help="read the key from standard input; default: RAMPART_API_KEY",
        )  # fmt: skip
        parser.add_argument(
            "--wait", type=arguments.seconds, metavar="SECONDS", help="also for a person's decision"
        )
        parser.add_argument("--idempotency-key", help="the same call again gets the same outcome")
        parser.add_argument("--approval-id", help="the result of the call that this was for")

    def handle(self, **options: Any) -> None:
        call = self._call(options)
        caller = self._caller(options["key"])
        try:
            answer = pipeline.submit(call, caller, _patience(options["wait"]))
        except UnknownTool as error:
            raise self.fail(str(error), Exit.NOT_FOUND) from None
        self._print(answer, options["json"])
        self.end(exit_code(answer))

    def _call(self, options: dict[str, Any]) -> Call:
        if options["given_args"] == options["key"] == STDIN:
            self.misused("--args and --key can't both come by standard input")
        key = options["idempotency_key"]
        if key is not None and not is_key(key):
            self.misused(f"--idempotency-key: {KEY_FORM}")
        try:
            given = arguments.read_args(options["given_args"])
        except BadArguments as error:
            self.misused(f"--args: {error}")
        return Call(
            tool_name=options["tool"],
            arguments=given,
            request_id=uuid4().hex,
            source=SOURCE,
            approval_id=options["approval_id"],
            idempotency_key=key,
            metadata={"operator": operator()},
        )

    def _caller(self, key: str | None) -> Caller:
        text = arguments.read_key() if key == STDIN else settings.RAMPART_API_KEY
        if not text:
            self.misused("no key: give one by `--key -` and standard input, or RAMPART_API_KEY")
        try:
            return identify(text, HERE)
        except BadCredentials as bad:
            _tell_bad_credentials(bad)
            raise self.fail(SENTENCES[bad.code], Exit.DENIED) from None

    def _print(self, answer: Answer, as_json: bool) -> None:
        body = answer.body()
        if as_json:
            self.print_json(body)
            return
        if answer.status == "success":
            self.print_json(body["data"])
        self.talk(_sentence(body))


def exit_code(answer: Answer) -> Exit:
    """By the status; a call that lacks its idempotency key was made wrongly."""
    if answer.refusal is not None and answer.refusal.error_type == "IdempotencyKeyRequired":
        return Exit.USAGE
    return EXIT_CODES[answer.status]


def _patience(wait: int | None) -> Patience:
    if wait is None:
        return Patience(settings.RAMPART_SYNC_WAIT_SECONDS)
    return Patience(wait, for_people=True)


def _sentence(body: dict[str, Any]) -> str:
    """How the call stands, in a line, with the ids by which it is found again."""
    said = [body["status"], body["error_type"], body["error"] or body["message"]]
    said += [f"{fault['path']}: {fault['message']}" for fault in body.get("fields", ())]
    ids = [f"{name} {body[f'{name}_id']}" for name in ("invocation", "approval", "audit")
           if body[f"{name}_id"]]  # fmt: skip
    said += ["replayed" if body["replayed"] else None, *ids]
    return "; ".join(part for part in said if part)


def _tell_bad_credentials(bad: BadCredentials) -> None:
    ledger.record(
        EventName.CREDENTIALS_REFUSED,
        reason=bad.code,
        source=SOURCE,
        key_prefix=bad.prefix,
        metadata={"operator": operator()},
    )
