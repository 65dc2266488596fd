"""The interpreter's own alarm: what a program that got past the guards can't do by Python.

An audit hook sees files, processes, sockets and imports whatever name they were reached by, and
can't be taken off. It sees nothing that native code does: that is the kernel's part.
"""

import contextlib
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from sandbox.language import words

SOURCE = "<exec>"
"""The file name of the program's code."""

_HARMLESS = words("compile sys._getframe sys.unraisablehook builtins.id time.sleep")
_ATTRIBUTES = words("object.__getattr__ object.__setattr__ object.__delattr__")
"""Of code, frames and functions, where they lead further."""

_WAYS_OUT = words(
    "__subclasses__ __globals__ __builtins__ __getattribute__ __base__ __bases__ __mro__ __code__ "
    "__import__ __self__ __dict__ __traceback__"
)


@contextlib.contextmanager
def armed() -> Iterator[None]:
    """Refuse all but a few events inside; for the last run of a process, since a hook stays."""
    is_armed = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_armed
        if not is_armed or event in _HARMLESS:
            return
        is_armed = False  # to judge is to look at frames, and that is an event too
        try:
            _judge(event, arguments)
        finally:
            is_armed = True

    sys.addaudithook(hook)
    try:
        yield
    finally:
        is_armed = False


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    match event:
        case "exec" if not _is_suspicious(arguments[0]):
            return
        case event if event in _ATTRIBUTES and not _is_the_programs(sys._getframe(2)):
            return  # a library looks at what the program has no name for
        case "import":
            raise ImportError("Blocked import: nothing more is loaded from here")
    raise PermissionError(f"Blocked: {event}")


def _is_the_programs(frame: Any) -> bool:
    return bool(frame.f_code.co_filename == SOURCE)


def _is_suspicious(code: CodeType) -> bool:
    """Code that a library put together; of the program's own the names were judged before."""
    if code.co_filename == SOURCE:
        return False
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return not _WAYS_OUT.isdisjoint(code.co_names) or any(map(_is_suspicious, inner))
