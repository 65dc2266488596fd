"""Servers unlike the tests' own: an ordinary user's, and one whose kernel lacks something."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sandbox import landlock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NOBODY = 65534


def has_landlock(since: int = 1) -> bool:
    """Whether this kernel knows this version of it."""
    try:
        return landlock.version() >= since
    except OSError:
        return False


needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
_OPENING = f"""
import errno, json, os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
from sandbox import kernel, seccomp
from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.process import Workshop
from sandbox.profiles import FRESH, NATIVE, PROFILES, STRICT, WARM
told = json.loads(sys.stdin.readline())
"""
_LACK = """
kernel.gain_no_rights()
rules = [seccomp.Rule(told.pop("lacking"), seccomp.refuse(errno.ENOSYS))]
kernel.filter_system_calls(seccomp.program(rules, seccomp.ALLOW))
"""


def ask_ordinary_server(body: str, **told: Any) -> Any:
    """What a server of an ordinary user prints as JSON; skips where there can't be one."""
    user = (
        {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if os.geteuid() == 0
        else dict[str, Any]()
    )
    return _ask(_interpreter_for_all(), _OPENING + textwrap.dedent(body), told, **user)


def ask_server_lacking(calls: Iterable[str], body: str, **told: Any) -> Any:
    """What a server prints where the kernel answers these system calls as one that has none."""
    source = _OPENING + _LACK + textwrap.dedent(body)
    return _ask(sys.executable, source, {"lacking": " ".join(calls), **told})


def _ask(python: str, source: str, told: Any, **user: Any) -> Any:
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", source],
        input=json.dumps(told) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        check=True,
        **user,
    )
    return json.loads(done.stdout)


def _interpreter_for_all() -> str:
    """The sandbox needs no package, so any Python of this version will do."""
    if os.geteuid() != 0:
        return sys.executable
    version = "python{}.{}".format(*sys.version_info)
    candidates = [sys.executable, shutil.which(version, path=os.defpath)]
    usable = [each for each in candidates if each and _may_be_reached(os.path.realpath(each))]
    if not usable or not _may_be_reached(str(ROOT)):
        pytest.skip("no Python and no checkout that an ordinary user could read")
    return usable[0]


def _may_be_reached(path: str) -> bool:
    return all(os.stat(each).st_mode & 0o005 == 0o005 for each in (path, *Path(path).parents))
