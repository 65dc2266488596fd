"""Runs one program of exec in this process, and tells what came of it.

For a process that does nothing else afterwards: the program's outputs, its alarm and its classes
are the process's own. What it answers is for its caller to judge: whoever gets through the
language layer can say anything here.
"""

import ast
import contextlib
import sys
import warnings
from dataclasses import dataclass
from types import FrameType, ModuleType, TracebackType
from typing import Any

from sandbox import guards, language, library, protocol, tripwire

_ENTRIES = 20
"""The lines of a traceback that are told, half of them from either end."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of what a program says is kept."""

    output_bytes: int = 1024 * 1024
    """Of both streams together; if there is more, a part of each is kept."""

    stream_characters: int = 500_000
    """That part."""

    streams_json_bytes: int = 1_900_000
    """Of both streams as JSON, whatever characters they are of."""

    value_json_bytes: int = 64 * 1024
    """A larger value is told as its `repr`, cut."""

    value_depth: int = 64
    """So is one of more lists and objects in each other: what is deep fails far from here."""

    text_characters: int = 4096
    """Of an error's message, or of a `repr`."""


CAPS = Caps()
"""Together less than two mebibytes."""


def run(code: str, caps: Caps = CAPS) -> dict[str, Any]:
    """Run the program; the answer has the same members whatever became of it."""
    warnings.simplefilter("ignore")  # a warning's line would be looked for on the disk
    with tripwire.armed():  # also while it is read: CPython opens a file for a syntax error's line
        try:
            body, last = _compiled(code)
        except language.Refused as refusal:
            return _answer(caps, Tape(caps), Tape(caps), error=str(refusal))
        return _Run(caps, code).of(body, last)


def _compiled(code: str) -> tuple[Any, Any]:
    """The program's code, and its last line's if that is an expression."""
    tree = language.guarded(language.checked(code, library.IMPORTABLE))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value = ast.Expression(last.value if isinstance(last, ast.Expr) else ast.Constant(None))
    try:
        return _code_of(tree, "exec"), _code_of(ast.fix_missing_locations(value), "eval")
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise language.Refused(f"SyntaxError: {getattr(error, 'msg', error)}{where}") from None
    except (MemoryError, RecursionError):
        raise language.Refused("SyntaxError: the code is nested too deeply") from None


def _code_of(tree: Any, mode: str) -> Any:
    return compile(tree, tripwire.SOURCE, mode, dont_inherit=True)


class Tape:
    """An output stream of the program, kept up to a bound and counted beyond it."""

    encoding = "utf-8"

    def __init__(self, caps: Caps) -> None:
        self._room = caps.output_bytes
        self._parts: list[str] = []
        self.bytes = 0

    def write(self, text: str) -> int:
        """Take a text, as a file does."""
        if not isinstance(text, str):
            raise TypeError("write() argument must be str")
        said = _printable(text)
        kept = said[: self._room]
        self._room -= len(kept)
        self._parts.append(kept)
        self.bytes += len(said.encode())
        return len(said)

    def writelines(self, lines: Any) -> None:
        """Take several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Nobody watches."""
        return False

    def text(self) -> str:
        """What was kept."""
        return "".join(self._parts)


class _Run:
    """One program between its start and its answer."""

    def __init__(self, caps: Caps, code: str) -> None:
        self._caps = caps
        self._lines = code.splitlines()
        self._stdout, self._stderr = Tape(caps), Tape(caps)

    def of(self, body: Any, last: Any) -> dict[str, Any]:
        main = ModuleType(guards.MAIN)
        importer = library.importer(library.modules())
        vars(main)["__builtins__"] = guards.builtins_of(importer) | {
            language.GET: guards.get,
            language.WRITE: guards.write,
            language.CHANGE: guards.change,
        }
        sys.modules[guards.MAIN] = main  # where `dataclasses` looks for the classes' surroundings
        with (
            contextlib.redirect_stdout(self._stdout),
            contextlib.redirect_stderr(self._stderr),
        ):
            return self._run(body, last, vars(main))

    def _run(self, body: Any, last: Any, namespace: dict[str, Any]) -> dict[str, Any]:
        try:
            exec(body, namespace)
            value = self._shown(eval(last, namespace))
        except BaseException as error:
            # Also SystemExit and what a program defines: it ends the program, not this process.
            kind, message = self._told(error)
            namespace.clear()  # a program out of memory leaves room for its answer
            return self._finish(error=f"{kind}: {message}" if message else kind, error_type=kind)
        return self._finish(value=value)

    def _finish(self, **members: Any) -> dict[str, Any]:
        return _answer(self._caps, self._stdout, self._stderr, **members)

    def _told(self, error: BaseException) -> tuple[str, str]:
        """The error's kind and message, and its traceback on the program's stderr."""
        entries = self._entries(sys.exc_info()[2])
        try:
            kind = _printable(type(error).__name__)[:200]
        except BaseException:  # a metaclass of the program's
            kind = "Exception"
        try:
            message = _printable(str(error))[: self._caps.text_characters]
        except BaseException:
            message = "(its message cannot be printed)"
        self._stderr.write("Traceback (most recent call last):\n" + "".join(entries))
        self._stderr.write(f"{kind}: {message}\n" if message else f"{kind}\n")
        return kind, message

    def _entries(self, traceback: TracebackType | None) -> list[str]:
        entries: list[str] = []
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == tripwire.SOURCE:
                entries.append(self._entry(traceback.tb_frame, traceback.tb_lineno))
            traceback = traceback.tb_next
        left_out = len(entries) - _ENTRIES
        if left_out > 0:
            half = _ENTRIES // 2
            entries[half:-half] = [f"  ... {left_out} more\n"]
        return entries

    def _entry(self, frame: FrameType, number: int) -> str:
        line = self._lines[number - 1].strip() if 0 < number <= len(self._lines) else ""
        return f'  File "{tripwire.SOURCE}", line {number}, in {frame.f_code.co_name}\n    {line}\n'

    def _shown(self, value: Any) -> Any:
        """The value as plain JSON, or its `repr`; a hostile one shows nothing."""
        try:
            payload = protocol.encode(value)
            if len(payload) <= self._caps.value_json_bytes:
                plain = protocol.decode(payload)
                if _is_within(self._caps.value_depth, plain):
                    return plain
        except MemoryError:
            raise
        except BaseException:  # not JSON, or a class of the program's that raises anything
            pass
        try:
            return _printable(repr(value))[: self._caps.text_characters]
        except MemoryError:
            raise
        except BaseException:
            return "(it cannot be shown)"


def _is_within(depth: int, value: Any) -> bool:
    """Whether lists and objects are in each other no more often than that."""
    level = [value]
    for _ in range(depth + 1):
        held = [each for each in level if isinstance(each, dict | list)]
        if not held:
            return True
        level = [one for each in held for one in (each.values() if type(each) is dict else each)]
    return False


def _answer(
    caps: Caps,
    stdout: Tape,
    stderr: Tape,
    *,
    value: Any = None,
    error: str | None = None,
    error_type: str | None = None,
) -> dict[str, Any]:
    if error is not None and error_type is None:
        stderr.write(f"{error}\n")
        error_type = "Refused"
    texts, is_cut = _fitted(caps, stdout, stderr)
    return {
        "success": error is None,
        "stdout": texts[0],
        "stderr": texts[1],
        "truncated": is_cut,
        "value": value,
        "error": error,
        "error_type": error_type,
    }


def _fitted(caps: Caps, *tapes: Tape) -> tuple[list[str], bool]:
    """What the streams said, in full or the first part of each."""
    texts = [tape.text() for tape in tapes]
    is_cut = sum(tape.bytes for tape in tapes) > caps.output_bytes
    if is_cut:
        texts = [text[: caps.stream_characters] for text in texts]
    sizes = [len(protocol.encode(text)) for text in texts]
    if sum(sizes) > caps.streams_json_bytes:  # control characters take six bytes each
        texts = [_cut_to_json(text, caps.streams_json_bytes // len(tapes)) for text in texts]
        is_cut = True
    return texts, is_cut


def _cut_to_json(text: str, size: int) -> str:
    """The longest start whose JSON has at most so many bytes, found by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(protocol.encode(text[:middle])) <= size:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _printable(text: str) -> str:
    """A true str that UTF-8 can carry, whatever a subclass makes of itself."""
    return str.__str__(text).encode("utf-8", "replace").decode()
