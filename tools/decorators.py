"""The decorators of a tool module, in any order: each makes a note and gives the function back.

What can be judged alone (a negative retry count) raises at once; what depends on the whole (a
condition on a parameter that does not exist) is judged when the module has been read to its end.
Either way a wrong definition stops the start.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol, TypeVar, overload

from sandbox.profiles import Grants
from sandbox.root import fault_of_grant
from tools.drafts import (
    Draft,
    PolicyCheck,
    SideEffectMetadata,
    draft_of,
    first_line,
    label,
)
from tools.errors import ToolRegistrationError
from tools.limits import RateLimit
from tools.secret_names import fault_of

Function = TypeVar("Function", bound=Callable[..., Any])

EXECUTION_MODES = {"thread": False, "subprocess": True}


class Decorator(Protocol):
    """Takes a function and gives it back, with a note made of it."""

    def __call__(self, function: Function, /) -> Function: ...


@overload
def tool(function: Function) -> Function: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    summary: str | None = None,
    side_effects: SideEffectMetadata | Mapping[str, bool] | None = None,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    execution_mode: str | None = None,
    scope: str | None = None,
    approval: bool | Mapping[str, Any] | None = None,
) -> Decorator: ...
def tool(
    function: Function | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    summary: str | None = None,
    side_effects: SideEffectMetadata | Mapping[str, bool] | None = None,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    execution_mode: str | None = None,
    scope: str | None = None,
    approval: bool | Mapping[str, Any] | None = None,
) -> Function | Decorator:
    """Make a function a tool. Its name and first docstring line serve where none are given.

    `summary` is what a reviewer reads after the caller's name: `wants to pay {amount} to {payee}`.
    """

    def register(target: Any) -> Any:
        draft = draft_of(target)
        if draft.is_tool:
            raise ToolRegistrationError(f"{label(target)}: @tool is given twice")
        draft.is_tool, draft.function = True, target
        draft.name, draft.description, draft.summary = name, description, summary
        for decorator in _decorators_of(
            side_effects, timeout_seconds, max_retries, execution_mode, scope, approval
        ):
            decorator(target)
        return target

    return register if function is None else register(function)


def _decorators_of(
    effects: SideEffectMetadata | Mapping[str, bool] | None,
    seconds: float | None,
    retries: int | None,
    mode: str | None,
    needed: str | None,
    approval: bool | Mapping[str, Any] | None,
) -> Iterable[Decorator]:
    """The decorators that `@tool`'s own arguments stand for."""
    if effects is not None:
        said = asdict(effects) if isinstance(effects, SideEffectMetadata) else effects
        yield side_effects(**said)
    if seconds is not None:
        yield timeout(seconds)
    if retries is not None:
        yield max_retries(retries)
    if mode is not None:
        if mode not in EXECUTION_MODES:
            raise ToolRegistrationError(f"execution_mode {mode!r} is not thread or subprocess")
        if EXECUTION_MODES[mode]:
            yield isolated_process()
    if needed is not None:
        yield scope(needed)
    if approval is not None and approval is not False:
        yield require_approval(**(approval if isinstance(approval, Mapping) else {}))


def scope(name: str) -> Decorator:
    """The one scope that a caller needs."""
    if not isinstance(name, str) or not name or any(c.isspace() for c in name):
        raise ToolRegistrationError(f"scope {name!r} is not a word")
    return _noting(lambda draft: draft.say_once("scope", name, "scope"))


@overload
def require_approval(function: Function) -> Function: ...
@overload
def require_approval(**conditions: Any) -> Decorator: ...
def require_approval(*functions: Function, **conditions: Any) -> Function | Decorator:
    """Hold a call for a person: always when bare, else when any condition is met.

    `over_X=n` is X > n, `at_or_over_X=n` is X ≥ n, `field=value` is equality.
    """

    def note(draft: Draft) -> None:
        draft.always_approve |= not conditions
        draft.conditions += conditions.items()

    if not functions:
        return _noting(note)
    note(draft_of(functions[0]))
    return functions[0]


def redact(names: Iterable[str]) -> Decorator:
    """Hide these keys, at any depth and in any case, wherever the call is written down."""
    said = tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in said):
        raise ToolRegistrationError("@redact takes a list of names")
    return _noting(lambda draft: draft.redacts.update(said))


def rate_limit(expression: str) -> Decorator:
    """At most so many calls in a window: `N/window/scope`."""
    limit = RateLimit.parse(expression)
    return _noting(lambda draft: draft.say_once("rate_limit", limit, "rate_limit"))


def policy(
    check: Callable[..., Any], name: str | None = None, description: str | None = None
) -> Decorator:
    """Ask `check(context, arguments)`, sync or async, whether the call may be made."""
    if not callable(check):
        raise ToolRegistrationError("@policy takes a callable")
    called = str(name or getattr(check, "__name__", "policy"))
    rule = PolicyCheck(check, called, description or first_line(check))
    return _noting(lambda draft: draft.policies.append(rule))


def timeout(seconds: float | None) -> Decorator:
    """End the tool's process after so many seconds; None means no deadline."""
    if seconds is not None and not (
        isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    ):
        raise ToolRegistrationError(f"timeout {seconds!r} is not a number above zero")

    def note(draft: Draft) -> None:
        if draft.has_timeout:
            raise ToolRegistrationError(f"{label(draft.function)}: @timeout is given twice")
        draft.has_timeout, draft.timeout_seconds = True, seconds

    return _noting(note)


def max_retries(count: int) -> Decorator:
    """How often an idempotent tool is tried again after an error."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"max_retries {count!r} is not a whole number from zero up")
    return _noting(lambda draft: draft.say_once("max_retries", count, "max_retries"))


def side_effects(**declared: bool) -> Decorator:
    """Say what the tool does: any of `SideEffectMetadata`'s fields."""
    known = {item.name for item in fields(SideEffectMetadata)}
    if unknown := sorted(set(declared) - known):
        raise ToolRegistrationError(f"unknown side effects: {', '.join(unknown)}")
    if not all(isinstance(value, bool) for value in declared.values()):
        raise ToolRegistrationError("side effects are True or False")
    said = SideEffectMetadata(**declared)
    return _noting(lambda draft: draft.say_once("side_effects", said, "side_effects"))


@overload
def isolated_process(function: Function) -> Function: ...
@overload
def isolated_process(
    *, network: bool | None = None, read: Iterable[str] | None = None,
    write: Iterable[str] | None = None,
) -> Decorator: ...  # fmt: skip
def isolated_process(
    function: Function | None = None,
    *,
    network: bool | None = None,
    read: Iterable[str] | None = None,
    write: Iterable[str] | None = None,
) -> Function | Decorator:
    """Run in a fresh process of its own; with any argument, with only what is granted."""
    jailed = not (network is None and read is None and write is None)
    grants = Grants(bool(network), _paths(read), _paths(write)) if jailed else None

    def note(draft: Draft) -> None:
        draft.isolated = True
        if grants is not None:
            draft.say_once("grants", grants, "isolated_process")

    if function is None:
        return _noting(note)
    note(draft_of(function))
    return function


@overload
def require_idempotency_key(function: Function) -> Function: ...
@overload
def require_idempotency_key() -> Decorator: ...
def require_idempotency_key(
    function: Function | None = None,
) -> Function | Decorator:
    """Refuse a call that does not carry an idempotency key."""

    def note(draft: Draft) -> None:
        draft.requires_idempotency_key = True

    if function is None:
        return _noting(note)
    note(draft_of(function))
    return function


def secrets(*names: str) -> Decorator:
    """Name the secrets that the tool finds in its environment while it runs, and nobody else."""
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ToolRegistrationError("@secrets takes the names of secrets")
    for name in names:
        if fault := fault_of(name):
            raise ToolRegistrationError(f"@secrets: {name!r} {fault}")

    def note(draft: Draft) -> None:
        draft.secrets += names

    return _noting(note)


def preview(function: Callable[..., Any]) -> Decorator:
    """Name the function that tells, without doing it, what a call would do."""
    if not callable(function):
        raise ToolRegistrationError("@preview takes a callable")
    return _noting(lambda draft: draft.say_once("preview", function, "preview"))


def _noting(note: Callable[[Draft], object]) -> Decorator:
    def decorate(function: Any) -> Any:
        note(draft_of(function))
        return function

    return decorate


def _paths(paths: Iterable[str] | None) -> tuple[str, ...]:
    given = tuple(paths or ())
    if isinstance(paths, str) or not all(isinstance(path, str) for path in given):
        raise ToolRegistrationError("@isolated_process takes lists of absolute paths")
    for path in given:
        if fault := fault_of_grant(path):
            raise ToolRegistrationError(f"@isolated_process: {path!r} {fault}")
    return given
