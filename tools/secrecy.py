"""A tool's secrets: who holds them, when they are read, and who must not have them.

They are read when the tool is run, after every gate, by the worker that runs it; so a file may be
rotated while workers live. Nobody else has a use for them.
"""

from collections.abc import Iterator

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tools import registry
from tools.definition import ToolDefinition
from tools.errors import SecretUnavailable
from tools.veil import SHORTEST_SECRET

LONGEST_SECRET = 32 * 1024


def secrets_of(tool: ToolDefinition) -> dict[str, str]:
    """The tool's secrets as they are now, by name; SecretUnavailable unless all are here."""
    found = {}
    for name in tool.secrets:
        try:
            found[name] = settings.RAMPART_ENVIRONMENT.secret(name, "")
        except ImproperlyConfigured as error:
            raise SecretUnavailable(f"the secret {error}") from None
        if fault := _fault_of(found[name]):
            raise SecretUnavailable(f"the secret {name} {fault}")
    return found


def lacking() -> Iterator[tuple[ToolDefinition, str]]:
    """Each tool that this process could not run now, and why."""
    for tool in registry.loaded().values():
        try:
            secrets_of(tool)
        except SecretUnavailable as error:
            yield tool, str(error)


def variables() -> frozenset[str]:
    """Every variable that holds, or leads to, a secret of any tool."""
    names = {name for tool in registry.loaded().values() for name in tool.secrets}
    return frozenset(names | {f"{name}_FILE" for name in names})


def _fault_of(value: str) -> str | None:
    """Why this can't be handed out, said without a character of it; None if it can."""
    if not value:
        return "is not here"
    if len(value.strip()) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} characters: it could not be hidden in results"
    if len(value) > LONGEST_SECRET:
        return f"is longer than {LONGEST_SECRET} characters"
    if "\0" in value or not _is_utf8(value):
        return "is no text in UTF-8"
    return None


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
