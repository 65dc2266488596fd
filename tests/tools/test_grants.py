"""What a tool declares that it needs is what it has when it runs."""

from pathlib import Path

import pytest
from django.conf import settings

from sandbox.outcomes import Outcome
from sandbox.profiles import NATIVE
from tests.kit_tools import DOCS
from tools import registry
from tools.workshop import profile_of, run_tool


def read(path: Path | str) -> Outcome:
    """Have the tool that may read the documentation read this."""
    tool = registry.find("reads_what_is_granted")
    return run_tool(tool, {"path": str(path)}, fresh=True)


@pytest.mark.feature("S3")
def test_a_tool_reads_what_it_is_granted() -> None:
    assert read(Path(DOCS, "index.md")).data == Path(DOCS, "index.md").read_text()


@pytest.mark.feature("S3", "X9")
def test_it_reads_nothing_else_that_the_server_can() -> None:
    hidden = settings.RAMPART_VAR / "secrets.env"
    assert hidden.exists()
    for path in (hidden, Path(DOCS).parent / "README.md"):
        assert read(path).error_type == "FileNotFoundError"


@pytest.mark.parametrize("fresh", [True, False])
def test_a_tool_with_grants_is_jailed_wherever_it_runs(fresh: bool) -> None:
    """Also where only reads, and so could be answered at once, by a process that waits."""
    assert profile_of(registry.find("reads_what_is_granted"), fresh=fresh) is NATIVE
