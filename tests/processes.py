"""Real processes of a deployment on SQLite: `manage.py`, Celery, plain Python."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rampart.initialise import initialise
from tests.console import ROOT, Console, Done

KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Deployment:
    """A folder with secrets of its own, and an environment that holds nothing else."""

    def __init__(self, folder: Path, **environment: str) -> None:
        initialise(folder)
        self.folder = folder
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment |= {"RAMPART_VAR": str(folder), **environment}

    def python(self, *arguments: str, **options: Any) -> Done:
        """Run this environment's Python in the tree."""
        environment = self.environment | options.pop("environment", {})
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True,
            text=True, timeout=60, **options,
        )  # fmt: skip

    def manage(self, *arguments: str, **environment: str) -> Done:
        """Run a management command."""
        return self.python("manage.py", *arguments, environment=environment)


def heed_interrupts() -> None:
    """A shell's background job is born deaf to Ctrl-C, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Started(Deployment):
    """One whose Django has started: only what wants another environment begins anew."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, **environment)
        self.console = Console(self.environment)

    def manage(self, *arguments: str, **environment: str) -> Done:
        if environment:
            return super().manage(*arguments, **environment)
        return self.console.manage(*arguments)
