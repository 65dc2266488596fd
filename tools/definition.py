"""A tool as its author defined it: judged as a whole, checked and complete."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from string import Formatter
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from audit.canonical import recordable, short_digest
from sandbox.profiles import Grants
from tools.conditions import Condition, Operator
from tools.drafts import Draft, PolicyCheck, SideEffectMetadata, first_line
from tools.errors import OutputValidationError, ToolRegistrationError
from tools.limits import RateLimit
from tools.schemas import arguments_model, values_of

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
"""What MCP and a path of the API take for a tool's name."""


@dataclass(frozen=True)
class ToolDefinition:
    """One tool as its author defined it, checked and complete."""

    name: str
    description: str
    summary: str
    """What a call of it wants, with `{argument}` in places; empty: its name and arguments say."""
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
            description=draft.description or first_line(draft.function),
            summary=_summary(name, draft.summary, arguments),
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
        return short_digest(self._policies())

    @cached_property
    def schema_hash(self) -> str:
        """A digest of everything that an approval relies on; how a call is put in words is not."""
        grants = recordable(asdict(self.grants)) if self.grants else None
        return short_digest([self.public_schema, grants, list(self.secrets)])

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


def _summary(tool_name: str, template: str | None, model: type[BaseModel]) -> str:
    """The template of a call's sentence: words, and parameters' names in braces."""
    try:
        parts = list(Formatter().parse(template or ""))
    except ValueError as error:
        raise ToolRegistrationError(f"{tool_name}: summary: {error}") from None
    parameters = {info.alias for info in model.model_fields.values()}
    for _, named, specification, conversion in parts:
        if named is not None and (named not in parameters or specification or conversion):
            written = named + (f"!{conversion}" if conversion else "")
            written += f":{specification}" if specification else ""
            raise ToolRegistrationError(
                f"{tool_name}: summary names {{{written}}}, which is no parameter"
            )
    return template or ""


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the top"
