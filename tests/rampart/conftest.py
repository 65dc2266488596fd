"""One deployment on SQLite for the tests of commands; each test leaves it as it likes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Deployment, Started
from tests.tools.conftest import bench

__all__ = ["bench"]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose database has its tables, and the demo's tools."""
    deployment = Started(
        tmp_path_factory.mktemp("deployment") / "var",
        RAMPART_TOOL_MODULES="tools.examples.demo",
    )
    done = deployment.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    yield deployment
    deployment.console.close()


@pytest.fixture
def bare(tmp_path: Path) -> Deployment:
    """A deployment with secrets and nothing else."""
    return Deployment(tmp_path / "var")
