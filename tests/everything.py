"""All tests: on PostgreSQL with Redis, and those of storage and pipeline on SQLite without.

`python -m tests.everything [--only postgres|sqlite] [pytest's arguments]`

Without arguments three lanes run side by side, each on stores of its own: two share the tests on
PostgreSQL (`tests/lanes.py`), one has those on SQLite and is then a third on PostgreSQL.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    "-m", "database and not postgres and not stack and not browser",
    *(
        f"--ignore=tests/{module}.py"
        for module in (
            "rampart/test_oidc", "rampart/test_schema", "rampart/test_problems",
            "rampart/test_parsers", "tools/tokens/test_at_the_gate",
            "approvals/notices/test_channel_pages", "approvals/notices/test_payloads",
        )
    ),
]  # fmt: skip
"""Storage, pipeline and commands. What touches no database, and what is about the words that go
over a wire, is the same on all of them and runs once."""
LANES = ("postgres", "postgres", "sqlite", "postgres")
AT_ONCE = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH")


def main() -> int:
    """Run the tests; the exit code is the first that is not zero."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["postgres", "sqlite"])
    options, rest = parser.parse_known_args()
    find_browser()
    stores = [options.only] if options.only else ["postgres", "sqlite"]
    if _name_tests(rest):
        codes = [RUN[store](rest, sys.stdout.fileno()) for store in stores]
    else:
        codes = side_by_side([store for store in LANES if store in stores], rest)
    return next((code for code in codes if code), 0)


def side_by_side(lanes: list[str], rest: list[str]) -> list[int]:
    """Run the lanes, and show what each has said when it is over."""
    with (
        tempfile.TemporaryDirectory(prefix="rampart-lanes-") as claims,
        ThreadPoolExecutor(AT_ONCE) as pool,
        contextlib.ExitStack() as stack,
    ):
        running = {}
        for number, store in enumerate(lanes):
            output = stack.enter_context(tempfile.TemporaryFile())
            chosen = ON_SQLITE if store == "sqlite" else ["--lane", f"{claims}:{number}"]
            run = pool.submit(RUN[store], [*chosen, *rest], output.fileno())
            running[run] = output
        for done in as_completed(running):
            running[done].seek(0)
            print(running[done].read().decode(errors="replace"), flush=True)
        return [done.result() for done in running]


def _name_tests(arguments: list[str]) -> bool:
    return any(Path(argument.partition("::")[0]).exists() for argument in arguments)


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


def on_postgres(arguments: list[str], output: int) -> int:
    """On PostgreSQL and Redis."""
    with contextlib.ExitStack() as stack:
        _, database = stack.enter_context(servers.postgres(durable=False))
        _, redis = stack.enter_context(servers.redis_server())
        return _pytest(arguments, {"DATABASE_URL": database, "REDIS_URL": redis}, output)


def on_sqlite(arguments: list[str], output: int) -> int:
    """On SQLite and without Redis."""
    return _pytest(["-m", "not postgres and not stack and not browser", *arguments], {}, output)


RUN = {"postgres": on_postgres, "sqlite": on_sqlite}


def _pytest(arguments: list[str], stores: dict[str, str], output: int) -> int:
    with tempfile.TemporaryDirectory(prefix="rampart-var-") as var:
        initialise(Path(var))
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"RAMPART_VAR": var, "RAMPART_TOOL_MODULES": TOOL_MODULES, **stores}
        os.write(output, f"== tests on {'PostgreSQL and Redis' if stores else 'SQLite'}\n".encode())
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "tests.lanes", "-q", *arguments],
            env=environment, stdout=output, stderr=output,
        ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
