"""`verify_audit`: is everything in the ledger as it was written, sealed and signed?"""

import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Any

from django.core.management.base import CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from audit.checkpoints import Statement
from audit.notes import Verifier
from audit.verification import CouldNotVerify, Progress, Report, verify, verify_export
from rampart.management.arguments import STDIN
from rampart.management.base import Exit, JsonCommand

LONGEST_NOTE = 100_000


class Command(JsonCommand):
    help = (
        "Judge the ledger, or an export without any database, against its signed checkpoints;"
        " exit 6 and name the first thing that does not fit."
    )
    requires_system_checks: list[str] = []  # It must be able to speak when others can't.

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--checkpoint", action="append", default=[], metavar="FILE",
            help="a checkpoint that was kept elsewhere (- for standard input); may be repeated",
        )  # fmt: skip
        parser.add_argument(
            "--export", metavar="FILE", help="judge this export (- for standard input) instead"
        )
        parser.add_argument(
            "--key", action="append", default=[], type=_verifier, metavar="KEY",
            help="trust this public key, as name+id+base64; may be repeated",
        )  # fmt: skip

    def handle(self, **options: Any) -> None:
        if [options["export"], *options["checkpoint"]].count("-") > 1:
            self.misused("standard input can be read only once")
        try:
            report = self._judged(**options)
        except CouldNotVerify as error:
            raise self.fail(str(error), Exit.COULD_NOT_RUN) from None
        except DatabaseError as error:
            raise self.fail(f"could not read the ledger: {error}", Exit.COULD_NOT_RUN) from None
        if options["json"]:
            self.print_json(_document(report))
        else:
            self._tell(report, is_export=options["export"] is not None)
        self.end(Exit.FINDINGS if report.finding else Exit.DONE)

    def _judged(
        self, export: str | None, checkpoint: list[str], key: list[Verifier], **_: Any
    ) -> Report:
        notes = [self._note(file) for file in checkpoint]
        with _progress() as progress:
            if export is None:
                return verify(progress, notes, key)
            with self._opened(export) as stream:
                return verify_export(stream, progress, notes, key)

    def _note(self, file: str) -> str:
        with self._opened(file) as stream:
            raw = stream.read(LONGEST_NOTE + 1)
        try:
            return raw[:LONGEST_NOTE].decode()
        except ValueError:
            raise self.fail(f"{file}: this is no checkpoint", Exit.COULD_NOT_RUN) from None

    @contextmanager
    def _opened(self, file: str) -> Iterator[IO[bytes]]:
        try:
            with nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as stream:
                yield stream
        except OSError as error:
            raise self.fail(f"{file}: {error.strerror}", Exit.COULD_NOT_RUN) from None

    def _tell(self, report: Report, is_export: bool) -> None:
        """What was seen, then what was found; without a finding, its first line says so."""
        seen = f"{_several(report.events, 'event')}"
        self.say(seen if report.finding else f"OK: {seen}")
        for line in _of_an_export(report) if is_export else _of_the_ledger(report):
            self.say(line)
        if report.finding is not None:
            event_id = report.finding.event_id
            self.say(f"ALTERED: {f'event {event_id}: ' if event_id else ''}{report.finding.fault}")


def _of_the_ledger(report: Report) -> Iterator[str]:
    yield (
        f"{_several(report.size, 'leaf', 'leaves')}, {report.pruned} of them pruned;"
        f" {_several(report.unsealed, 'event')} not sealed yet"
    )
    if report.checkpoint is None:
        yield "unsigned: no checkpoint says what the ledger was"
    else:
        yield from _signed(report)


def _of_an_export(report: Report) -> Iterator[str]:
    yield (
        f"of {_several(report.size, 'leaf', 'leaves')}; {report.hidden} are not shown,"
        f" {report.pruned} of them pruned"
    )
    if report.checkpoint is not None:
        yield from _signed(report)
    if report.is_own:
        yield "the checkpoint and its key are the export's own: compare the key with one you know"


def _signed(report: Report) -> Iterator[str]:
    size = Statement.from_text(report.checkpoint or "").size
    yield f"checkpoint over {_several(size, 'leaf', 'leaves')}"
    for verifier in report.signed_by:
        yield f"signed by {verifier}"


def _several(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _document(report: Report) -> dict[str, Any]:
    finding = report.finding
    return {
        "events": report.events,
        "ok": finding is None,
        "event_id": finding.event_id or None if finding else None,
        "fault": finding.fault if finding else None,
        "leaf": finding.leaf if finding else None,
        "size": report.size,
        "pruned": report.pruned,
        "hidden": report.hidden,
        "unsealed": report.unsealed,
        "checkpoint": report.checkpoint,
        "signed_by": list(map(str, report.signed_by)),
        "is_own": report.is_own,
    }


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error, if that is a terminal and it takes longer than a second."""
    with tqdm(unit=" events", leave=False, delay=1, disable=None) as bar:

        def told(seen: int, total: int) -> None:
            bar.total = total or None
            bar.update(seen - bar.n)

        yield told


def _verifier(text: str) -> Verifier:
    try:
        return Verifier.from_text(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{error}: it is given as name+id+base64") from None
