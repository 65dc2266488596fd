"""A bench on which tests define tools, right and wrong, that no other test ever sees."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tools import drafts as workbench
from tools import registry
from tools.definition import ToolDefinition
from tools.registry import Registry


class Bench:
    """What is defined on it is built by `build`, as at the start of a process."""

    def registry(self) -> Registry:
        """Everything defined so far."""
        return registry.load(())

    def build(self, function: Callable[..., Any]) -> ToolDefinition:
        """The only tool on the bench."""
        read = self.registry()
        assert read.problems == []
        return read.tools[workbench.draft_of(function).name or function.__name__]

    def problem(self) -> str:
        """The one thing that is wrong with what is on the bench."""
        (problem,) = self.registry().problems
        return problem

    def clear(self) -> None:
        """Take everything off."""
        workbench.drafts.clear()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An empty bench; the process has its own tools back afterwards."""
    own, loaded = list(workbench.drafts), registry._registry
    workbench.drafts.clear()
    yield Bench()
    workbench.drafts[:] = own
    registry._registry = loaded
