"""Defining a tool: decorators that write down what its author says, in any order.

Each decorator only notes something in the function's `Draft` and returns the function as it was.
What can be judged alone (a negative retry count) raises at once; what depends on the whole (a
condition on a parameter that does not exist) is judged by `ToolDefinition.build`, when the
tool's module has been read to its end. Either way a wrong definition stops the start.
"""

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar, get_type_hints, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from audit.canonical import canonical_text, exact, recordable
from tools.conditions import Condition, Operator
from tools.errors import OutputValidationError, ToolRegistrationError
from tools.limits import RateLimit
from tools.schemas import arguments_model, values_of

Function = TypeVar("Function", bound=Callable[..., Any])


class Decorator(Protocol):
    """Takes a function and gives it back, with a note made of it."""

    def __call__(self, function: Function, /) -> Function: ...


NOTE = "__rampart__"
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
"""What MCP and a path of the API take for a tool's name."""
EXECUTION_MODES = {"thread": False, "subprocess": True}


@dataclass(frozen=True, slots=True)
class SideEffectMetadata:
    """What a tool does to the world. What is not declared `read_only` counts as writing."""

    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    external_network: bool = False
    money_movement: bool = False
    writes_data: bool = False
    changes_permissions: bool = False


@dataclass(frozen=True, slots=True)
class Grants:
    """What a jailed tool may reach; everything else is closed to it."""

    network: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """A callable that allows (True, None), or denies (False, or a message)."""

    check: Callable[..., Any]
    name: str
    description: str


@dataclass(slots=True)
class Draft:
    """What the decorators have said of one function so far."""

    function: Callable[..., Any]
    is_tool: bool = False
    name: str | None = None
    description: str | None = None
    scope: str | None = None
    always_approve: bool = False
    conditions: list[tuple[str, Any]] = field(default_factory=list)
    redacts: set[str] = field(default_factory=set)
    rate_limit: RateLimit | None = None
    policies: list[PolicyCheck] = field(default_factory=list)
    timeout_seconds: float | None = None
    has_timeout: bool = False
    max_retries: int | None = None
    side_effects: SideEffectMetadata | None = None
    isolated: bool = False
    grants: Grants | None = None
    requires_idempotency_key: bool = False
    secrets: tuple[str, ...] = ()
    preview: Callable[..., Any] | None = None

    def say_once(self, attribute: str, value: Any, decorator: str) -> None:
        """Note what may be said only once; two answers would leave a reader guessing."""
        if getattr(self, attribute) is not None:
            raise ToolRegistrationError(f"{_label(self.function)}: @{decorator} is given twice")
        setattr(self, attribute, value)


drafts: list[Draft] = []
"""Every function that a decorator of this module has touched, in order."""


def draft_of(function: Callable[..., Any]) -> Draft:
    """The function's draft, begun at the first decorator that touches it."""
    if not callable(function) or isinstance(function, type):
        raise ToolRegistrationError(f"{function!r} is not a function")
    draft = getattr(function, NOTE, None)
    if draft is None:
        draft = Draft(function)
        setattr(function, NOTE, draft)
        drafts.append(draft)
    return draft


@overload
def tool(function: Function) -> Function: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
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
    side_effects: SideEffectMetadata | Mapping[str, bool] | None = None,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    execution_mode: str | None = None,
    scope: str | None = None,
    approval: bool | Mapping[str, Any] | None = None,
) -> Function | Decorator:
    """Make a function a tool. Its name and first docstring line serve where none are given."""

    def register(target: Any) -> Any:
        draft = draft_of(target)
        if draft.is_tool:
            raise ToolRegistrationError(f"{_label(target)}: @tool is given twice")
        draft.is_tool, draft.function = True, target
        draft.name, draft.description = name, description
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
    rule = PolicyCheck(check, called, description or _first_line(check))
    return _noting(lambda draft: draft.policies.append(rule))


def timeout(seconds: float | None) -> Decorator:
    """End the tool's process after so many seconds; None means no deadline."""
    if seconds is not None and not (
        isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    ):
        raise ToolRegistrationError(f"timeout {seconds!r} is not a number above zero")

    def note(draft: Draft) -> None:
        if draft.has_timeout:
            raise ToolRegistrationError(f"{_label(draft.function)}: @timeout is given twice")
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
    """Name the secrets that the tool needs to do its work."""
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ToolRegistrationError("@secrets takes the names of secrets")

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


@dataclass(frozen=True)
class ToolDefinition:
    """One tool as its author defined it, checked and complete."""

    name: str
    description: str
    function: Callable[..., Any]
    arguments: type[BaseModel]
    result: TypeAdapter[Any]
    scope: str | None
    always_approve: bool
    conditions: tuple[Condition, ...]
    redacts: frozenset[str]
    rate_limit: RateLimit | None
    policies: tuple[PolicyCheck, ...]
    timeout_seconds: float | None
    max_retries: int
    side_effects: SideEffectMetadata
    isolated: bool
    grants: Grants | None
    requires_idempotency_key: bool
    secrets: tuple[str, ...]

    @classmethod
    def build(cls, draft: Draft, default_timeout: float) -> "ToolDefinition":
        """Judge the draft as a whole; ToolRegistrationError says what is wrong."""
        name = draft.name or draft.function.__name__
        if not NAME.fullmatch(name):
            raise ToolRegistrationError(f"the name {name!r} is not 1 to 128 of A-Z a-z 0-9 . _ -")
        try:
            hints = get_type_hints(draft.function, include_extras=True)
            arguments = arguments_model(name, draft.function, hints)
            result = TypeAdapter(hints.get("return", Any))
            result.json_schema(mode="serialization")
        except ToolRegistrationError:
            raise
        except Exception as error:
            raise ToolRegistrationError(f"{name}: {type(error).__name__}: {error}") from error
        return cls(
            name=name,
            description=draft.description or _first_line(draft.function),
            function=draft.function,
            arguments=arguments,
            result=result,
            scope=draft.scope,
            always_approve=draft.always_approve,
            conditions=_conditions(name, draft.conditions, arguments),
            redacts=frozenset(draft.redacts),
            rate_limit=draft.rate_limit,
            policies=tuple(draft.policies),
            timeout_seconds=draft.timeout_seconds if draft.has_timeout else default_timeout,
            max_retries=draft.max_retries or 0,
            side_effects=draft.side_effects or SideEffectMetadata(),
            isolated=draft.isolated,
            grants=draft.grants,
            requires_idempotency_key=draft.requires_idempotency_key,
            secrets=tuple(sorted(set(draft.secrets))),
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The arguments' names in the author's order."""
        return tuple(str(info.alias) for info in self.arguments.model_fields.values())

    @property
    def is_read_only(self) -> bool:
        """Whether the tool only reads: such a call may run at once in a warm process."""
        return self.side_effects.read_only

    @property
    def may_run_again(self) -> bool:
        """Whether running twice does no more than running once."""
        return self.side_effects.idempotent or self.side_effects.read_only

    @property
    def attempts_allowed(self) -> int:
        """How often the tool may be tried in all: retries are only for what may run again."""
        return 1 + (self.max_retries if self.may_run_again else 0)

    @property
    def approval_reasons_possible(self) -> bool:
        """Whether the code itself ever asks for a person."""
        return self.always_approve or bool(self.conditions)

    def approval_reason(self, values: Mapping[str, Any]) -> str | None:
        """Why these arguments need a person, all reasons joined with `; `; None if they don't."""
        if self.always_approve:
            return "approval is required"
        reasons = [reason for rule in self.conditions if (reason := rule.reason(values))]
        return "; ".join(reasons) or None

    def validate(self, arguments: Any) -> BaseModel:
        """The arguments as the tool's types; raises pydantic's ValidationError."""
        return self.arguments.model_validate(arguments)

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Run the function on JSON arguments; the result may be awaitable."""
        return self.function(**values_of(self.validate(arguments)))

    def checked_result(self, value: Any) -> Any:
        """The result as JSON of the declared type; OutputValidationError without its values."""
        try:
            return self.result.dump_python(self.result.validate_python(value), mode="json")
        except ValidationError as error:
            where = ", ".join(_path(item["loc"]) for item in error.errors(include_input=False))
            raise OutputValidationError(f"the result does not match its type at {where}") from None
        except (PydanticSerializationError, ValueError) as error:
            raise OutputValidationError(
                f"the result cannot be written as JSON: {type(error).__name__}"
            ) from None

    @cached_property
    def public_schema(self) -> dict[str, Any]:
        """What callers may know of the tool; its keys are ToolRampart's."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": self.arguments.model_json_schema(),
            "output_schema": self.result.json_schema(mode="serialization"),
            "side_effects": asdict(self.side_effects),
            "policies": self._policies(),
        }

    @cached_property
    def policy_version(self) -> str:
        """A short digest of the rules that the code sets; it changes when they do."""
        return _short_digest(self._policies())

    @cached_property
    def schema_hash(self) -> str:
        """A digest of everything that an approval relies on."""
        grants = recordable(asdict(self.grants)) if self.grants else None
        return _short_digest([self.public_schema, grants, list(self.secrets)])

    def _policies(self) -> dict[str, Any]:
        conditions = [
            {"field": rule.field, "operator": rule.operator.value, "value": _plain(rule.value)}
            for rule in self.conditions
        ]
        custom = [{"name": rule.name, "description": rule.description} for rule in self.policies]
        return {
            "scope": self.scope,
            "approval": {"conditions": conditions, "always": self.always_approve},
            "rate_limit": self.rate_limit.text if self.rate_limit else None,
            "redacts": sorted(self.redacts),
            "custom": custom,
            "timeout_seconds": self.timeout_seconds,
            "max_retries": self.max_retries,
            "execution_mode": "subprocess" if self.isolated else "thread",
            "requires_idempotency_key": self.requires_idempotency_key,
        }


def _conditions(
    tool_name: str, said: Iterable[tuple[str, Any]], model: type[BaseModel]
) -> tuple[Condition, ...]:
    parameters = {info.alias for info in model.model_fields.values()}
    rules = tuple(_condition(name, value, parameters) for name, value in said)
    for rule in rules:
        if rule.field not in parameters:
            raise ToolRegistrationError(
                f"{tool_name}: @require_approval names {rule.field!r}, which is no parameter"
            )
        if fault := rule.fault():
            raise ToolRegistrationError(f"{tool_name}: @require_approval: {fault}")
    return rules


def _condition(name: str, value: Any, parameters: set[str | None]) -> Condition:
    """`at_or_over_amount=5` is amount ≥ 5, unless a parameter really has the longer name."""
    if name not in parameters:
        if name.startswith("at_or_over_"):
            return Condition(name.removeprefix("at_or_over_"), Operator.AT_LEAST, value)
        if name.startswith("over_"):
            return Condition(name.removeprefix("over_"), Operator.OVER, value)
    return Condition(name, Operator.EQUAL, value)


def _short_digest(value: Any) -> str:
    return hashlib.sha256(canonical_text(exact(value)).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the top"


def _paths(paths: Iterable[str] | None) -> tuple[str, ...]:
    given = tuple(paths or ())
    if isinstance(paths, str) or not all(isinstance(p, str) and p.startswith("/") for p in given):
        raise ToolRegistrationError("@isolated_process takes lists of absolute paths")
    return given


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0].strip()


def _label(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
