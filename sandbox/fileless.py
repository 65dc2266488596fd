"""Settles beforehand what Python would look up late, by calls that its jail forbids.

Where opening a file is death, the interpreter's own habits would kill honest code.
"""

import os
import sys
from importlib.machinery import PathFinder


def look_for_no_files() -> None:
    """Make a module that is not loaded an ImportError, and keep to the time zone as it was read."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
    os.environ.setdefault("TZ", ":/etc/localtime")  # unset, it would be looked at each time
    os.urandom(1)  # newer C libraries count processors before the first of it
