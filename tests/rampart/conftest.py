"""One deployment on SQLite for the tests of commands; each test leaves it as it likes."""

from pathlib import Path

import pytest

from tests.processes import Deployment
from tests.tools.conftest import bench

__all__ = ["bench"]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment whose database has its tables, and the demo's tools."""
    deployment = Deployment(
        tmp_path_factory.mktemp("deployment") / "var",
        RAMPART_TOOL_MODULES="tools.examples.demo",
    )
    done = deployment.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return deployment


@pytest.fixture
def bare(tmp_path: Path) -> Deployment:
    """A deployment with secrets and nothing else."""
    return Deployment(tmp_path / "var")
