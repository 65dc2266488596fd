"""A wrong tool stops the start of every process; a tool module needs no Django."""

import sys
from pathlib import Path

import pytest

from rampart.startup import refuse_errors
from tests.processes import ROOT, Deployment
from tests.tools.conftest import Bench
from tools import registry, require_approval, tool
from tools.checks import tools_are_well_defined

WRONG = {
    "unknown condition field": "@tool\n@require_approval(over_amout=5)\ndef pay(amount: int): ...",
    "bad window": "@tool\n@rate_limit('5/-3 minutes/user')\ndef pay(): ...",
    "no @tool": "@scope('a')\ndef pay(): ...",
    "it does not import": "raise RuntimeError('not today')",
}
ENTRIES = {
    "manage.py check": ["manage.py", "check"],
    "manage.py sync_tools": ["manage.py", "sync_tools"],
    "the web server": ["-c", "import rampart.wsgi"],
    "a worker": ["-m", "celery", "-A", "rampart", "worker", "--loglevel", "WARNING"],
}


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment whose only tool module is `wrong_tools`, beside the tree."""
    modules = tmp_path / "modules"
    modules.mkdir()
    return Deployment(tmp_path / "var", PYTHONPATH=str(modules), RAMPART_TOOL_MODULES="wrong_tools")


def put(deployment: Deployment, source: str) -> None:
    """Write the module."""
    path = Path(deployment.environment["PYTHONPATH"]) / "wrong_tools.py"
    path.write_text(f"from tools import *\n{source}\n")


@pytest.mark.feature("TD3")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_tool_stops_the_start_of(deployment: Deployment, entry: str) -> None:
    put(deployment, WRONG["unknown condition field"])
    done = deployment.python(*ENTRIES[entry])
    assert done.returncode == 1
    assert "tools.E001" in done.stderr and "'amout', which is no parameter" in done.stderr


@pytest.mark.feature("TD3")
@pytest.mark.parametrize("wrong", WRONG)
def test_the_check_names_the_module_of(deployment: Deployment, wrong: str) -> None:
    put(deployment, WRONG[wrong])
    done = deployment.manage("check")
    assert done.returncode == 1
    assert "tools.E001" in done.stderr and "wrong_tools" in done.stderr


@pytest.mark.feature("T27")
def test_a_sound_tool_module_beside_the_tree_starts(deployment: Deployment) -> None:
    put(deployment, "@tool\n@require_approval(over_amount=5)\ndef pay(amount: float): ...")
    assert deployment.manage("check").returncode == 0


@pytest.mark.feature("TD3")
@pytest.mark.django_db
def test_every_problem_is_an_error_of_its_own(bench: Bench) -> None:
    @require_approval
    def forgotten() -> None:
        """Forgotten."""

    @tool
    def anything(*args: int) -> None:
        """Anything."""

    bench.registry()
    assert [found.id for found in tools_are_well_defined()] == ["tools.E001", "tools.E001"]
    with pytest.raises(Exception, match="forgotten") as refused:
        refuse_errors()
    assert type(refused.value).__name__ == "SystemCheckError"


def test_a_module_that_is_not_there_is_a_problem(bench: Bench) -> None:
    found = registry.load(["no.such.module"])
    assert found.problems[0].startswith("module no.such.module: ModuleNotFoundError")


def test_the_tools_of_this_process_have_no_problem() -> None:
    assert registry.problems() == []


@pytest.mark.parametrize("module", ["tools", "tools.running", "tools.prepared", "tests.kit_tools"])
def test_a_tool_module_is_loaded_without_django(module: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; "
    code += "sys.exit('django' in sys.modules)"
    done = Deployment(tmp_path / "var").python("-I", "-c", code)
    assert (done.returncode, done.stderr) == (0, ""), sys.executable
