"""What a program of exec can import: modules made anew of the harmless names of real ones.

A real module holds more than its documentation says: `statistics.sys` is a way to everything that
is loaded. Where a documented function takes attributes' names or runs code that it has put
together, one that asks `sandbox.guards` stands in its place, or none.
"""

import contextlib
import copy
import dataclasses
import enum
import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from sandbox import guards
from sandbox.language import words

_NEEDED = words(
    "__future__ abc base64 binascii bisect calendar cmath collections collections.abc contextlib "
    "copy csv dataclasses datetime decimal difflib enum fractions functools hashlib heapq html io "
    "itertools json locale math numbers operator pprint random re statistics string textwrap time "
    "types typing unicodedata uuid weakref zlib "
    "_strptime encodings.ascii encodings.cp1252 encodings.hex_codec encodings.latin_1 "
    "encodings.unicode_escape encodings.utf_16 encodings.utf_16_be encodings.utf_16_le "
    "encodings.utf_32 encodings.utf_8 encodings.utf_8_sig"
)
PRELOADED = tuple(sorted(_NEEDED))
"""What has to be in memory before the jail shuts the disk: these, and what they import late."""

for _name in PRELOADED:
    importlib.import_module(_name)


# Functions in the place of documented ones.


_real_update_wrapper = functools.update_wrapper


def _update_wrapper(wrapper: Any, wrapped: Any) -> Any:
    """The real one takes names of attributes, and copies all that a class of a library holds."""
    whose = wrapped if isinstance(wrapped, type) else type(wrapped)
    is_open = isinstance(wrapped, FunctionType) or guards.is_own(whose)
    copied = functools.WRAPPER_UPDATES if is_open else ()
    return _real_update_wrapper(guards.write(wrapper), wrapped, updated=copied)


def _library_wraps(wrapper: Any, wrapped: Any, **_names: Any) -> Any:
    """The same for the decorators of libraries, which name the usual attributes."""
    return _update_wrapper(wrapper, wrapped)


def _wraps(wrapped: Any) -> Callable[[Any], Any]:
    return lambda wrapper: _update_wrapper(wrapper, wrapped)


def _single_dispatch(function: Any) -> Any:
    """The real one evaluates annotations that are texts."""
    chosen: Any = functools.singledispatch(function)
    real = chosen.register

    def register(cls: Any, function: Any = None) -> Any:
        if not isinstance(cls, type):
            function, cls = cls, next(iter(cls.__annotations__.values()), None)
        if not isinstance(cls, type):
            raise TypeError("register needs a class, or an annotation that is one")
        return real(cls, function)

    chosen.register = register
    return chosen


def _dataclass(cls: Any = None, /, **options: Any) -> Any:
    """The real one writes code of the fields' names."""
    if cls is None:
        return lambda cls: _dataclass(cls, **options)
    guards.write(cls)
    for name in vars(cls).get("__annotations__", {}):
        if not guards.check_name(name).isidentifier():
            raise TypeError("a field's name must be an identifier")
    if issubclass(cls, str) or guards.is_own(type(cls)):  # what either can say of its fields
        raise TypeError("a dataclass can be no str and have no metaclass of its own here")
    return dataclasses.dataclass(cls, **options)


def _replace(instance: Any, /, **changes: Any) -> Any:
    """The real one reads whatever a field's name says."""
    kept = {
        field.name: guards.get(instance, field.name)
        for field in dataclasses.fields(instance)
        if field.init and field.name not in changes
    }
    return type(instance)(**kept, **changes)


@contextlib.contextmanager
def _redirect_stdout(target: Any) -> Iterator[Any]:
    """The real one is a class that reads the name of what it redirects from itself."""
    with contextlib.redirect_stdout(target):
        yield target


@contextlib.contextmanager
def _redirect_stderr(target: Any) -> Iterator[Any]:
    with contextlib.redirect_stderr(target):
        yield target


_call_of_enum = enum.EnumMeta.__call__


def _enum_called(cls: Any, value: Any, names: Any = None, **options: Any) -> Any:
    """`Enum("E", names)` puts the names into a class as they come."""
    if names is None:
        return _call_of_enum(cls, value, **options)
    found = names.replace(",", " ").split() if type(names) is str else names
    if type(found) not in (list, tuple, dict):
        raise TypeError("the names of an Enum must be a str, list, tuple or dict here")
    kept = list(found.items()) if type(found) is dict else [*found]
    for each in kept:
        guards.check_name(each if type(each) is str else tuple.__getitem__(each, 0))
    return _call_of_enum(cls, value, kept, **{"module": guards.MAIN} | options)


_real_reconstruct = copy._reconstruct  # type: ignore[attr-defined]


def _reconstruct(original: Any, *parts: Any, **options: Any) -> Any:
    """An object that itself says what it is made of could have `deepcopy` write any attribute.

    A class can't say that name; an object's dictionary holds whatever was put into it.
    """
    for name in getattr(original, "__dict__", ()):
        if type(name) is not str or name == "__reduce_ex__":
            raise AttributeError(f"Blocked attribute access: {name}")
    return _real_reconstruct(original, *parts, **options)


# Modules.


_IN_PLACE: Mapping[str, Mapping[str, Any]] = {
    "abc": {"ABCMeta": guards.AbstractClass},
    "contextlib": {"redirect_stdout": _redirect_stdout, "redirect_stderr": _redirect_stderr},
    "dataclasses": {
        "dataclass": _dataclass,
        "replace": _replace,
    },
    "functools": {
        "singledispatch": _single_dispatch,
        "update_wrapper": _update_wrapper,
        "wraps": _wraps,
    },
    "operator": {"attrgetter": guards.attrgetter, "methodcaller": guards.methodcaller},
}

_ONLY: Mapping[str, str] = {
    "abc": "ABC ABCMeta abstractmethod",
    "dataclasses": "dataclass field fields asdict astuple replace is_dataclass FrozenInstanceError "
    "InitVar KW_ONLY MISSING",
    "io": "StringIO BytesIO SEEK_SET SEEK_CUR SEEK_END UnsupportedOperation",
    "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time sleep "
    "gmtime localtime mktime asctime ctime strftime strptime struct_time timezone tzname",
    "types": "SimpleNamespace MappingProxyType NoneType",
    "uuid": "UUID uuid3 uuid4 uuid5 NAMESPACE_DNS NAMESPACE_URL NAMESPACE_OID NAMESPACE_X500 "
    "RFC_4122",
}

_WITHOUT: Mapping[str, str] = {
    "calendar": "LocaleTextCalendar LocaleHTMLCalendar",
    "collections": "UserString",  # its `format` is the real one
    "contextlib": "chdir aclosing AsyncExitStack asynccontextmanager AsyncContextDecorator "
    "AbstractAsyncContextManager",
    "csv": "",
    "enum": "EnumMeta EnumType EnumCheck property global_enum global_enum_repr global_flag_repr "
    "global_str",
    "functools": "singledispatchmethod WRAPPER_ASSIGNMENTS WRAPPER_UPDATES",
    "hashlib": "file_digest",
    "random": "SystemRandom",
    "re": "template",
    "string": "Formatter",
    "typing": "ForwardRef no_type_check no_type_check_decorator get_type_hints get_overloads "
    "clear_overloads runtime_checkable Type "
    "TypedDict SupportsAbs SupportsBytes SupportsComplex SupportsFloat SupportsIndex SupportsInt "
    "SupportsRound is_typeddict",
}

_WHOLE = words(
    "base64 binascii bisect cmath copy datetime decimal difflib fractions heapq html itertools "
    "json math numbers operator pprint statistics textwrap unicodedata zlib "
    "__future__ collections.abc"
)

IMPORTABLE = tuple(sorted({*_WHOLE, *_ONLY, *_WITHOUT}))


def modules() -> Mapping[str, ModuleType]:
    """Those of the one program of this process, which makes the real ones safe for it as well."""
    enum.EnumMeta.__call__ = _enum_called  # type: ignore[method-assign]
    functools.update_wrapper = _library_wraps  # type: ignore[assignment]
    copy._reconstruct = _reconstruct  # type: ignore[attr-defined]
    return _MADE


def importer(made: Mapping[str, ModuleType]) -> Callable[..., ModuleType]:
    """`__import__` for a program; `sandbox.language` has refused other names before."""

    def import_(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        if name in made and not level:
            return made[name if fromlist else name.partition(".")[0]]
        if name in sys.modules:
            return ModuleType(name)  # native code asks in the program's name and finds its own
        raise ImportError(f"Blocked import: {name.partition('.')[0]}")

    return import_


def _module(name: str) -> ModuleType:
    real = importlib.import_module(name)
    module = ModuleType(name, real.__doc__)
    found = {each: getattr(real, each) for each in _names(name, real)}
    found.update(_IN_PLACE.get(name, {}))
    vars(module).update(found, __all__=sorted(found), __loader__=None, __spec__=None)
    return module


def _names(name: str, real: ModuleType) -> Iterable[str]:
    if name in _ONLY:
        return _ONLY[name].split()
    public = getattr(real, "__all__", None) or [n for n in dir(real) if not n.startswith("_")]
    without = _WITHOUT.get(name, "").split()
    return [each for each in public if each not in without and not each.startswith("__")]


def _make() -> dict[str, ModuleType]:
    made = {name: _module(name) for name in IMPORTABLE}
    for name, module in made.items():
        package, _, last = name.rpartition(".")
        if package:
            setattr(made[package], last, module)
    return made


_MADE = _make()
"""Made before any process is forked: no program feels what another has changed in its own."""
