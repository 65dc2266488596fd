"""All tests: on PostgreSQL with Redis, then those of storage and pipeline on SQLite without.

`python -m tests.everything [--only postgres|sqlite] [pytest's arguments]`
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rampart.initialise import initialise
from tests import servers

TOOL_MODULES = "tools.examples.demo,tests.kit_tools"
ON_SQLITE = [
    "tests/audit",
    "tests/tools",
    "tests/approvals",
    "tests/concurrency",
    "tests/rampart",
    "tests/properties",
    "tests/peers/test_toolrampart_defects.py",
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH")


def main() -> int:
    """Run both sets; the exit code is the first that is not zero."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["postgres", "sqlite"])
    options, rest = parser.parse_known_args()
    find_browser()
    codes = []
    if options.only != "sqlite":
        codes.append(on_postgres(rest))
    if options.only != "postgres":
        codes.append(on_sqlite(rest))
    return next((code for code in codes if code), 0)


def find_browser() -> None:
    """Install Chromium where that is possible; else say in one line what will be left out."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("== installing Chromium for the browser tests", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
        for command in (["apt-get", "update", "-q"], install):
            subprocess.run(
                command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **quiet
            )
    if not any(shutil.which(name) for name in BROWSERS):
        print("== no Chromium here: the browser tests are left out", flush=True)


def on_postgres(arguments: list[str]) -> int:
    """Every test, on PostgreSQL and Redis."""
    with contextlib.ExitStack() as stack:
        _, database = stack.enter_context(servers.postgres())
        _, redis = stack.enter_context(servers.redis_server())
        return _pytest(arguments, {"DATABASE_URL": database, "REDIS_URL": redis})


def on_sqlite(arguments: list[str]) -> int:
    """The tests of storage and pipeline, on SQLite and without Redis."""
    named = any(Path(argument.partition("::")[0]).exists() for argument in arguments)
    chosen = arguments if named else [*ON_SQLITE, *arguments]
    return _pytest([*chosen, "-m", "not postgres and not stack and not browser"], {})


def _pytest(arguments: list[str], stores: dict[str, str]) -> int:
    with tempfile.TemporaryDirectory(prefix="rampart-var-") as var:
        initialise(Path(var))
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"RAMPART_VAR": var, "RAMPART_TOOL_MODULES": TOOL_MODULES, **stores}
        print(f"== tests on {'PostgreSQL and Redis' if stores else 'SQLite'}", flush=True)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments], env=environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
