"""What the tests of exec's language layer run below a zygote."""

import abc
import contextlib
import dataclasses
import enum
import functools
import io
import operator
import os
import string
import sys
import types

from sandbox import guards, interpreter, language, library, tripwire


def run(job):
    return globals()[job["do"]](job["code"])


def program(code):
    return interpreter.run(code)


def program_with_small_caps(code):
    caps = interpreter.Caps(output_bytes=100, stream_characters=40, value_json_bytes=20)
    return interpreter.run(code, caps)


def plain(code):
    """The program in plain Python: what it says there."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {"__name__": "__main__"})
    return said.getvalue()


def program_in_an_open_language(code):
    """As if a way out had been found: the alarm alone."""
    said = io.StringIO()
    with tripwire.armed():
        try:
            exec(compile(code, tripwire.SOURCE, "exec"), {"os": os, "said": said})
        except BaseException as error:
            said.write(f"{type(error).__name__}: {error}")
    return said.getvalue()


def faults(code):
    return language.faults_in(code)


def within_reach(code):
    """Forbidden things that a program can come to by reading, from all that it has."""
    made = library.modules()
    start = guards.builtins_of(library.importer(made))
    waiting = [(name, value) for name, value in {**start, **made}.items() if name not in HIDDEN]
    waiting += [(f"{value!r}", value) for value in SAMPLES]
    seen, found = set(), []
    while waiting:
        path, thing = waiting.pop()
        if id(thing) in seen or path.count("/") > 4:
            continue
        seen.add(id(thing))
        KEPT.append(thing)
        if _is_forbidden(thing, made):
            found.append(path)
        waiting += [(f"{path}/{name}", value) for name, value in _readable(thing)]
    return {"found": found, "seen": len(seen)}


HIDDEN = {"__import__", "__build_class__"}
KEPT = []
SAMPLES = [
    *(0, 1.5, 1j, "", b"", bytearray(), (), [], {}, set(), frozenset(), None, ..., slice(1)),
    *((lambda: 0), (x for x in ()), iter(()), iter([]), {}.keys(), {}.items(), range(3), print),
    *([].append, "".join, str.join, property(), super(int, 1), ValueError(), memoryview(b"")),
]


def _readable(thing):
    if isinstance(thing, BOUND):
        return  # made anew at each look, so without end
    for name in guards.dir_(thing):
        with contextlib.suppress(Exception):
            yield name, guards.get(thing, name)
    with contextlib.suppress(Exception):
        yield "type()", guards.Class(thing)
    with contextlib.suppress(Exception):
        yield from guards.vars_(thing).items()
    if isinstance(thing, list | tuple | dict):
        yield from ((f"[{key}]", value) for key, value in list(_items(thing))[:200])


def _items(thing):
    return thing.items() if isinstance(thing, dict) else enumerate(thing)


def _is_forbidden(thing, made):
    if isinstance(thing, types.ModuleType):
        return not any(thing is module for module in made.values())
    return isinstance(thing, FORBIDDEN_KINDS) or any(thing is each for each in FORBIDDEN)


BOUND = (
    types.MethodWrapperType, types.MethodType, types.BuiltinMethodType, types.WrapperDescriptorType,
    types.MethodDescriptorType, types.ClassMethodDescriptorType, int, float, str, bytes,
)  # fmt: skip
FORBIDDEN_KINDS = (types.FrameType, types.CodeType, types.TracebackType, types.CellType)
FORBIDDEN = [
    type, abc.ABCMeta, enum.EnumMeta, getattr, setattr, vars, open, eval, exec, compile, __import__,
    globals, locals, input, str.format, str.format_map, abc.ABCMeta.register, sys.modules,
    object.__getattribute__, type.__getattribute__, type.__new__, type.mro, dataclasses.Field,
    vars(AttributeError)["obj"], functools.update_wrapper, operator.attrgetter, string.Formatter,
    enum.EnumMeta.__call__,
]  # fmt: skip
