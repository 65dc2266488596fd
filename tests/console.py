"""A Django that has started, and runs management commands, each in a fork of its own.

To start takes a second of a processor's time, and most tests need what a command does, not how it
starts. `python -m tests.console FOLDER` reads the arguments of one command a line, runs `manage.py`
with them on the folder's files `in`, `out` and `err`, and answers with the exit code.
"""

import contextlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import django
from django.urls import get_resolver

ROOT = Path(__file__).resolve().parent.parent
Done = subprocess.CompletedProcess[str]


class Console:
    """The process, as tests see it; it starts when it is first needed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()
        self._belongings = contextlib.ExitStack()

    def manage(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run a management command."""
        with self._turn:
            self._process = self._process or self._started()
            (self._folder / "in").write_text(stdin or "")
            pipe_in, pipe_out = self._process.stdin, self._process.stdout
            assert pipe_in and pipe_out
            print(json.dumps(arguments), file=pipe_in, flush=True)
            code = pipe_out.readline()
            out, err = ((self._folder / name).read_text() for name in ("out", "err"))
            assert code, f"the console has ended: {err}"
            return Done(arguments, int(code), out, err)

    def close(self) -> None:
        """End it; the next command starts another."""
        if self._process:
            self._process.communicate()
            self._process = None
            self._belongings.close()

    def _started(self) -> "subprocess.Popen[str]":
        folder = self._belongings.enter_context(tempfile.TemporaryDirectory(prefix="console-"))
        self._folder = Path(folder)
        with (self._folder / "err").open("w") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.console", folder], cwd=ROOT, text=True,
                env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err,
            )  # fmt: skip


def main(folder: Path) -> None:
    """Read the lines; what is started here is there in each fork."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")
    django.setup()
    get_resolver().reverse_dict  # noqa: B018 - loads every view, as each command's checks would
    fork = multiprocessing.get_context("fork")
    for line in sys.stdin:
        process = fork.Process(target=_manage, args=(json.loads(line), folder))
        process.start()
        process.join()
        print(process.exitcode, flush=True)


def _manage(arguments: list[str], folder: Path) -> None:
    """Go on as `manage.py` would, to its end and exit code."""
    for number, name, how in ((0, "in", "r"), (1, "out", "w"), (2, "err", "w")):
        with (folder / name).open(how) as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it ends with the process
    sys.argv = ["manage.py", *arguments]
    runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
