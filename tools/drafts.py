"""What the decorators have said of a function so far, before it is judged as a whole."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.profiles import Grants
from tools.errors import ToolRegistrationError
from tools.limits import RateLimit

NOTE = "__rampart__"
"""The attribute of a function under which its draft is kept."""


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
    summary: str | None = None
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
            raise ToolRegistrationError(f"{label(self.function)}: @{decorator} is given twice")
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


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a function's docstring, or nothing."""
    return (inspect.getdoc(function) or "").partition("\n")[0].strip()


def label(function: Callable[..., Any]) -> str:
    """How a function is named in a message."""
    return getattr(function, "__qualname__", repr(function))
