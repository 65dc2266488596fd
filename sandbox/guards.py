"""What a program of exec has in the place of Python's built-in functions, where those are too much.

Whatever takes an attribute's name as a text is here: the names in the code are judged before it
runs (`sandbox.language`), those that it puts together while it runs are judged here.
"""

import abc
import builtins
import dataclasses
import enum
import string
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from types import (
    BuiltinMethodType,
    FunctionType,
    GenericAlias,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any, cast

from sandbox.language import WATCHED, is_permitted, is_watched, words

MAIN = "__main__"
"""The module in which a program's classes are defined."""

_NOTHING = object()
_UNTOUCHABLE = (
    ModuleType,
    dataclasses.Field,
    typing._BaseGenericAlias,  # type: ignore[attr-defined]  # what it is told, it tells its class
)
_MADE_BY_PYTHON = words(
    "__module__ __qualname__ __annotations__ __classcell__ __firstlineno__ "
    "__static_attributes__ __orig_bases__"
)
"""What a class statement puts into its body by itself."""


def check_name(name: object) -> str:
    """The name itself: exactly a str, since a subclass could be another text at the next look."""
    if not is_permitted(_exact(name)):
        raise AttributeError(f"Blocked attribute access: {name}")
    return _exact(name)


def _exact(name: object) -> str:
    if type(name) is not str:
        raise TypeError("an attribute's name must be a str")
    return name


# Attributes.


def get(owner: Any, name: Any, *default: Any) -> Any:
    """`getattr`, and what the code's own `owner.name` becomes for a watched name."""
    value = getattr(owner, check_name(name), *default)
    if name in WATCHED:
        return _JUDGES[name](owner, value)
    return _judged_private(owner, name, value) if is_watched(name) else value


def has(owner: Any, name: Any) -> bool:
    """`hasattr`."""
    return get(owner, name, _NOTHING) is not _NOTHING


def write(owner: Any) -> Any:
    """The object itself, if a program may change its attributes."""
    is_foreign_class = isinstance(owner, type) and not is_own(owner)
    if is_foreign_class or isinstance(owner, _UNTOUCHABLE):
        raise AttributeError("Blocked attribute change: it is a library's")
    return owner


def change(owner: Any, name: str) -> Any:
    """The object itself, if a program may also read its private attribute of this name."""
    return _judged_private(owner, name, owner)


def set_(owner: Any, name: Any, value: Any) -> None:
    """`setattr`."""
    setattr(write(owner), check_name(name), value)


def delete(owner: Any, name: Any) -> None:
    """`delattr`."""
    delattr(write(owner), check_name(name))


def vars_(*owner: Any) -> dict[str, Any]:
    """`vars` of an object, as a copy without what a program may not see."""
    (one,) = owner or _no_frames("vars")
    if isinstance(one, type) and not is_own(one):
        raise TypeError("Blocked: vars() of a library's class")
    hidden = "__" if is_own(one) or _has_open_attributes(one) else "_"
    return {
        name: value
        for name, value in vars(one).items()
        if type(name) is str and is_permitted(name) and name not in WATCHED
        if not name.startswith(hidden)
    }


def dir_(*owner: Any) -> list[str]:
    """`dir` of an object, without the names that lead nowhere."""
    (one,) = owner or _no_frames("dir")
    return [name for name in dir(one) if is_permitted(name)]


def _no_frames(name: str) -> Any:
    raise TypeError(f"{name}() needs an object here")


def is_own(made: Any) -> bool:
    """Whether a class or function is the program's: it can't name `__module__`."""
    return getattr(made, "__module__", None) == MAIN


# Watched attributes.


def _judged_private(owner: Any, name: str, value: Any) -> Any:
    """A class of a library may do by a private method what its public ones would not."""
    is_class = isinstance(owner, type)
    for each in (*(_ancestry(owner) if is_class else ()), *_ancestry(type(owner))):
        if name in type.__getattribute__(each, "__dict__"):
            if is_own(each) or name in _OPEN_PRIVATE:
                return value
            break
    else:
        if _has_open_attributes(owner):
            return value
    raise AttributeError(f"Blocked attribute access: {name}")


def _has_open_attributes(owner: Any) -> bool:
    """Whether what is in the object itself, and in no class, is the program's to read."""
    return is_own(type(owner)) or isinstance(owner, ModuleType | FunctionType | SimpleNamespace)


def _ancestry(cls: type) -> tuple[type, ...]:
    return cast(tuple[type, ...], type.__getattribute__(cls, "__mro__"))


_OPEN_PRIVATE = words("_name_ _value_ _missing_ _generate_next_value_ _ignore_ _order_")
"""What an Enum documents; a named tuple's are in a class of the program."""


def _judged_format(owner: Any, value: Any) -> Any:
    if value is str.format or value is str.format_map:
        return format_ if value is str.format else format_map
    if isinstance(value, BuiltinMethodType) and isinstance(value.__self__, str):
        text = value.__self__
        if value.__name__ == "format":
            return lambda *args, **kwargs: format_(text, *args, **kwargs)
        return lambda mapping: format_map(text, mapping)
    return value


def _judged_register(owner: Any, value: Any) -> Any:
    """A class that poses as another would have patterns read foreign attributes."""
    if getattr(value, "__func__", value) is abc.ABCMeta.register:
        raise AttributeError("Blocked attribute access: register of an abstract class")
    return value


def _judged_obj(owner: Any, value: Any) -> Any:
    """Where an AttributeError arose in a library, its `obj` may be that library."""
    if AttributeError in _ancestry(type(owner)) + (
        _ancestry(owner) if isinstance(owner, type) else ()
    ):
        raise AttributeError("Blocked attribute access: obj of an AttributeError")
    return value


def _judged_new(owner: Any, value: Any) -> Any:
    """Classes are made by `Class` alone, also by a metaclass that asks past it."""
    metaclass = getattr(value, "__self__", None)
    is_maker = isinstance(metaclass, type) and issubclass(metaclass, type)
    return Class.__new__ if is_maker or any(value is maker for maker in _MAKERS) else value


def _judged_access(owner: Any, value: Any) -> Any:
    """Like the functions they stand behind, these take a name; the program's own are its code."""
    if not isinstance(value, MethodWrapperType | WrapperDescriptorType):
        if not is_own(getattr(value, "__func__", value)):
            raise AttributeError("Blocked attribute access: a library's own way to attributes")
        return value
    bound_to: list[Any] = [value.__self__] if isinstance(value, MethodWrapperType) else []

    def ask(*args: Any) -> Any:
        target, name, *rest = [*bound_to, *args]
        if value.__name__ != "__getattr__":
            write(target)
        return value(*([] if bound_to else [target]), check_name(name), *rest)

    return ask


def _judged_descriptor(owner: Any, value: Any) -> Any:
    """A slot of a library's class writes into its objects."""
    if not isinstance(value, MethodWrapperType | WrapperDescriptorType):
        return value
    at = 0 if isinstance(value, MethodWrapperType) else 1

    def ask(*args: Any) -> Any:
        write(args[at])
        return value(*args)

    return ask


def _judged_naming(owner: Any, value: Any) -> Any:
    """A library's descriptor that is told its name puts something there."""
    if is_own(getattr(value, "__func__", value)):
        return value

    def ask(*args: Any) -> Any:
        return value(*args[:-1], check_name(args[-1]))

    return ask


_JUDGES: Mapping[str, Callable[[Any, Any], Any]] = {
    "format": _judged_format,
    "format_map": _judged_format,
    "register": _judged_register,
    "obj": _judged_obj,
    "__new__": _judged_new,
    "__getattr__": _judged_access,
    "__setattr__": _judged_access,
    "__delattr__": _judged_access,
    "__set__": _judged_descriptor,
    "__delete__": _judged_descriptor,
    "__set_name__": _judged_naming,
}


# Texts that name attributes.


class _Formatter(string.Formatter):
    """`str.format` by our own `get`: a field like `{0.__class__}` is refused."""

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        first, rest = _split(field_name)
        found = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            found = get(found, name) if is_attribute else found[name]
        return found, first


def _split(field_name: str) -> tuple[Any, Any]:
    """As `string.Formatter` does it: the first part, then (is it an attribute, its name)."""
    return string._string.formatter_field_name_split(field_name)  # type: ignore[attr-defined, no-any-return]


_FORMATTER = _Formatter()


def format_(text: Any, /, *args: Any, **kwargs: Any) -> str:
    """`str.format`."""
    return _FORMATTER.vformat(str.__str__(text), args, kwargs)


def format_map(text: Any, mapping: Any, /) -> str:
    """`str.format_map`."""
    return _FORMATTER.vformat(str.__str__(text), (), mapping)


def attrgetter(*names: Any) -> Callable[[Any], Any]:
    """`operator.attrgetter`."""
    paths = [[check_name(part) for part in _exact(name).split(".")] for name in names]

    def fetch(owner: Any) -> Any:
        found = [_follow(owner, path) for path in paths]
        return found[0] if len(found) == 1 else tuple(found)

    return fetch


def methodcaller(name: Any, /, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """`operator.methodcaller`."""
    check_name(name)
    return lambda owner: get(owner, name)(*args, **kwargs)


def _follow(owner: Any, path: Sequence[str]) -> Any:
    for name in path:
        owner = get(owner, name)
    return owner


# Classes.


class _ClassOfClass(type):
    """Makes `Class` look like `type`: it knows every class, and tells an object's class."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Class and len(args) == 1 and not kwargs:
            found = type(args[0])
            return Class if issubclass(found, type) and not is_own(found) else found
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, type) if cls is Class else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return issubclass(subclass, type) if cls is Class else super().__subclasscheck__(subclass)

    def __repr__(cls) -> str:
        return "<class 'type'>" if cls is Class else super().__repr__()


class Class(type, metaclass=_ClassOfClass):
    """`type` as a program has it: no class of it holds a name that the code could not say."""

    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def __new__(cls, name: Any, bases: Any, namespace: Any, /, **kwargs: Any) -> Any:
        return super().__new__(cls, name, bases, checked_namespace(namespace), **kwargs)


class AbstractClass(Class, abc.ABCMeta):
    """`abc.ABCMeta`."""


_MAKERS = (abc.ABCMeta.__new__, enum.EnumMeta.__new__)


def checked_namespace(namespace: Any) -> dict[str, Any]:
    """A copy, so that nothing is slipped in later."""
    own = dict(namespace)
    for name in own:
        if name not in _MADE_BY_PYTHON:
            check_name(name)
    own["__module__"] = MAIN
    if "__annotations__" in own:
        own["__annotations__"] = {check_name(k): v for k, v in dict(own["__annotations__"]).items()}
    return own


# Functions.


def print_(
    *values: object,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,
    flush: bool = False,
) -> None:
    """`print`, to what stands for standard output now."""
    print(*values, sep=sep, end=end, file=sys.stdout if file is None else file, flush=flush)


def builtins_of(importer: Callable[..., Any]) -> dict[str, Any]:
    """Everything that a program has without an import."""
    found = {name: getattr(builtins, name) for name in _AS_THEY_ARE}
    found |= {name: error for name, error in vars(builtins).items() if _is_single_error(error)}
    found |= dict.fromkeys(_ABSENT)
    return found | {
        "__build_class__": builtins.__build_class__,
        "__import__": importer,
        "__name__": "builtins",
        "delattr": delete,
        "dir": dir_,
        "getattr": get,
        "hasattr": has,
        "print": print_,
        "setattr": set_,
        "type": Class,
        "vars": vars_,
    }


_AS_THEY_ARE = words(
    "len str int float list dict set tuple bool isinstance issubclass enumerate zip map filter "
    "sorted reversed range min max sum abs round any all pow divmod chr ord hex bin oct repr ascii "
    "format hash id iter next slice callable bytes bytearray memoryview complex object super "
    "property staticmethod classmethod frozenset NotImplemented Ellipsis True False None"
)
_ABSENT = words("input eval exec compile globals locals open file breakpoint help")


def _is_single_error(value: Any) -> bool:
    """Groups of exceptions are left out: `except*` is, and they serve nothing else."""
    is_error = isinstance(value, type) and issubclass(value, BaseException)
    return is_error and not issubclass(value, BaseExceptionGroup)
