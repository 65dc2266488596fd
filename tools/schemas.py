"""From a function's signature to the model that its arguments must fit."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from tools.errors import ToolRegistrationError

CONFIG = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    hide_input_in_errors=True,
)


def arguments_model(
    name: str, function: Callable[..., Any], hints: Mapping[str, Any]
) -> type[BaseModel]:
    """The model of a tool's arguments; unknown ones are refused.

    Each parameter is a field under a name of our own with the parameter's name as alias, because
    a parameter may well be called `copy` or `schema`, which pydantic's models keep for themselves.
    """
    parameters = inspect.signature(function).parameters.values()
    described = {
        f"field_{number}": _field(name, parameter, hints.get(parameter.name, Any))
        for number, parameter in enumerate(parameters)
    }
    return create_model(f"{name}_arguments", __config__=CONFIG, **described)  # type: ignore[call-overload, no-any-return]


def values_of(arguments: BaseModel) -> dict[str, Any]:
    """The validated arguments by parameter name, nested models as models."""
    described = type(arguments).model_fields
    return {str(info.alias): getattr(arguments, name) for name, info in described.items()}


def plain_values(arguments: BaseModel) -> dict[str, Any]:
    """The same for policies and conditions: nested models as dicts, numbers as they are."""
    return arguments.model_dump(by_alias=True)


def frozen(arguments: BaseModel) -> dict[str, Any]:
    """The same as JSON, defaults filled in: what is digested, kept and run."""
    return arguments.model_dump(mode="json", by_alias=True)


def _field(name: str, parameter: inspect.Parameter, annotation: Any) -> tuple[Any, Any]:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ToolRegistrationError(f"{name}: *args and **kwargs have no schema")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ToolRegistrationError(f"{name}: a tool is called by argument names")
    if isinstance(parameter.default, FieldInfo):
        return Annotated[annotation, parameter.default], Field(alias=parameter.name)
    default = ... if parameter.default is parameter.empty else parameter.default
    return annotation, Field(default, alias=parameter.name)
