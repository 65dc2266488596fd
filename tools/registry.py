"""Which tools exist: those that the named modules define, and no others.

The database refers to a tool by name only; what the name means is looked up here.
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tools.definition import ToolDefinition
from tools.drafts import Draft, drafts
from tools.errors import UnknownTool

DEFAULT_TIMEOUT_SECONDS = 30.0
"""For tools that name none of their own."""
ROOMS = frozenset({"approvals", "audit", "rampart", "sandbox", "tools"})
"""A tool module of such a name is never found: Rampart's own package is, and holds no tool."""


@dataclass(slots=True)
class Registry:
    """The tools of this process, and what is wrong with their definitions."""

    tools: dict[str, ToolDefinition] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def read(self, modules: Iterable[str]) -> None:
        """Import the modules, then build every tool that was defined by then."""
        for module in modules:
            if module in ROOMS:
                self.problems.append(f"module {module}: Rampart's own; give yours another name")
                continue
            try:
                importlib.import_module(module)
            except Exception as error:
                self.problems.append(f"module {module}: {type(error).__name__}: {error}")
        for draft in drafts:
            self._add(draft)

    def _add(self, draft: Draft) -> None:
        label = f"{draft.function.__module__}.{draft.function.__qualname__}"
        if not draft.is_tool:
            self.problems.append(f"{label} has decorators of a tool but no @tool")
            return
        try:
            built = ToolDefinition.build(draft, DEFAULT_TIMEOUT_SECONDS)
            _ = built.schema_hash  # What can't be written down, such as a default of NaN, shows.
        except Exception as error:
            self.problems.append(f"{label}: {error}")
            return
        if built.name in self.tools:
            self.problems.append(f"{label}: the name {built.name!r} is taken")
            return
        self.tools[built.name] = built


_registry: Registry | None = None


def load(modules: Iterable[str]) -> Registry:
    """Read the modules into this process's registry, replacing what it held."""
    global _registry
    _registry = Registry()
    _registry.read(modules)
    return _registry


def loaded() -> Mapping[str, ToolDefinition]:
    """The tools of this process by name; built from what is imported if nothing was loaded."""
    current = _registry if _registry is not None else load(())
    return MappingProxyType(current.tools)


def problems() -> list[str]:
    """What is wrong with the definitions, one line each."""
    return list(_registry.problems) if _registry is not None else []


def canonical(name: str) -> str:
    """The tool's own name where this is another of it: `rlm_exec_run` is `rlm.exec.run`."""
    dotted = name.replace("_", ".") if name.startswith("rlm_") else name
    return dotted if name not in loaded() and dotted in loaded() else name


def find(name: str) -> ToolDefinition:
    """The tool of this name, or UnknownTool."""
    try:
        return loaded()[canonical(name)]
    except KeyError:
        raise UnknownTool(f"no tool is called {name!r}") from None
