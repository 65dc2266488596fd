"""`export_audit`: a copy of the ledger, with what proves it; whole, or as it grows."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time, timezone
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

from django.core.management.base import CommandParser, OutputWrapper
from django.utils.dateparse import parse_date, parse_datetime
from tqdm import tqdm

from audit import export
from audit.export import CSV, FORMATS, Format, Selection, files
from audit.export.files import InUse, NotAnExport
from audit.export.formats import Place
from audit.proofs import TreeIsIncomplete
from rampart.management.base import Exit, RampartCommand, operator

MILLISECONDS_BETWEEN_LOOKS = 1000
MOST_DIGITS = 18
Out = TextIO | OutputWrapper


class Command(RampartCommand):
    help = "Print or write a copy of the ledger, line by line, with proofs; or follow it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", required=True, choices=FORMATS)
        parser.add_argument("--since", metavar="TIME", help="events that ended then or later")
        parser.add_argument("--until", metavar="TIME", help="events that ended before then")
        parser.add_argument("--after", metavar="LEAF", help="only what follows this leaf")
        parser.add_argument("--output", metavar="FILE", help="default: standard output")
        parser.add_argument(
            "--resume", action="store_true", help="go on at the end of the output file"
        )
        parser.add_argument(
            "--follow", action="store_true", help="don't end: print events as they are sealed"
        )

    def handle(self, **options: Any) -> None:
        form, selection = FORMATS[options["format"]], self._selection(options)
        self._check_use(options)
        output = Path(options["output"]) if options["output"] else None
        try:
            with self._opened(output, form, options) as (out, place):
                if options["follow"]:
                    self._follow(form, selection, out, place)
                else:
                    self._export(form, selection, out, place)
                out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._could_not_write(options["output"], error)
        except (NotAnExport, InUse) as error:
            self._stop(f"{output}: {error}")
        except TreeIsIncomplete as error:
            self._stop(f"the ledger's tree is damaged ({error}); verify_audit says more")

    def _export(self, form: Format, selection: Selection, out: Out, place: Place | None) -> None:
        extent = export.begin(form, selection, by=operator(), source="command")
        if extent.checkpoint is None:
            self.talk("RAMPART_CHECKPOINT_KEY is not set: no checkpoint says that this is all")
        elif extent.unsigned:
            self.talk(
                "RAMPART_CHECKPOINT_KEY is not set: this ends where the newest checkpoint does,"
                f" and leaves out {extent.unsigned} sealed events"
            )
        told = _start(form, out, place)
        lines = export.lines(form, selection, extent, told=told)
        at_a_terminal = isinstance(out, OutputWrapper) and out.isatty()
        for line in tqdm(lines, unit=" events", leave=False, disable=at_a_terminal or None):
            out.write(line)

    def _follow(self, form: Format, selection: Selection, out: Out, place: Place | None) -> None:
        export.tell(form, selection, by=operator(), source="command", follows=True)
        told = max(_start(form, out, place), selection.first)
        with _ended_by_signals() as ended:
            lines = export.follow(
                form, selection, told=told, pause=lambda: _waited(out) and not ended
            )
            for line in lines:
                out.write(line)
                if ended:
                    return

    @contextmanager
    def _opened(
        self, output: Path | None, form: Format, options: dict[str, Any]
    ) -> Iterator[tuple[Out, Place | None]]:
        """Where to write, and the last line that stands there already."""
        if output is None:
            if isinstance(sys.stdout, TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")
            self.stdout.ending = ""
            yield self.stdout, None
        elif options["resume"] or options["follow"]:
            with files.continued(output, form) as found:
                yield found
        else:
            with files.replaced(output) as out:
                yield out, None

    def _selection(self, options: dict[str, Any]) -> Selection:
        after = options["after"]
        if after is not None and not (after.isascii() and after.isdigit()):
            self.misused("--after takes the number of a leaf")
        if after is not None and len(after) > MOST_DIGITS:
            self.misused("--after: no ledger has so many leaves")
        return Selection(
            self._moment("--since", options["since"]),
            self._moment("--until", options["until"]),
            None if after is None else int(after),
        )

    def _moment(self, option: str, given: str | None) -> datetime | None:
        try:
            return None if given is None else _read_moment(given)
        except (ValueError, OverflowError):
            self.misused(f"{option} takes a date, or an RFC 3339 time with a zone")

    def _check_use(self, options: dict[str, Any]) -> None:
        output, follows = options["output"], options["follow"]
        if options["resume"] and output is None:
            self.misused("--resume goes on with a file: give --output")
        if options["resume"] and options["after"] is not None:
            self.misused("--resume goes on after the file's last line: leave --after out")
        if follows and (options["until"] is not None or options["format"] == CSV.name):
            self.misused("--follow has no end, and its lines are JSON: no --until, no csv")
        if follows and output and not options["resume"] and Path(output).exists():
            self.misused(f"{output} is there already: go on with it by --resume")

    def _could_not_write(self, output: str | None, error: OSError) -> NoReturn:
        if output is None:
            _forget_what_is_unsaid()
        self._stop(f"{output or 'standard output'}: {error.strerror}")

    def _stop(self, message: str) -> NoReturn:
        raise self.fail(message, Exit.COULD_NOT_RUN)


def _read_moment(given: str) -> datetime:
    """RFC 3339 with a zone, or a date for its beginning in UTC; ValueError otherwise."""
    if day := parse_date(given):
        return datetime.combine(day, time(), timezone.utc)
    moment = parse_datetime(given)
    if moment is None or moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(timezone.utc)


def _start(form: Format, out: Out, place: Place | None) -> int:
    """Write the header of what is new; the first leaf that no line has spoken for."""
    if place is None:
        out.write(form.header)
        return 0
    return place.leaf + 1


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """A list that holds a signal once one has asked to end."""
    asked: list[int] = []
    asking = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, lambda number, _: asked.append(number)) for one in asking]
    try:
        yield asked
    finally:
        for one, handler in zip(asking, before, strict=True):
            signal.signal(one, handler)


def _waited(out: Out) -> bool:
    """Send what is written on its way and wait a while; notice a reader that has gone meanwhile."""
    out.flush()
    watch = select.poll()
    watch.register(out.fileno(), 0)
    if watch.poll(MILLISECONDS_BETWEEN_LOOKS):
        raise BrokenPipeError
    return True


def _forget_what_is_unsaid() -> None:
    """What standard output did not take would be tried again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
