"""Make what a deployment must have: `python -m rampart.initialise DIR [NAME=VALUE …]`.

Creates the folder, the embedded broker's folders, and `secrets.env` (mode 0600) with fresh
secrets and the settings named. What exists is left as it is, so that it can run before every
start; the key that earlier versions did not have is added to their `secrets.env`.
"""

import base64
import fcntl
import os
import re
import secrets
import sys
from pathlib import Path

from cryptography.fernet import Fernet

HAS_CHECKPOINT_KEY = re.compile(r"^\s*(export\s+)?RAMPART_CHECKPOINT_KEY(_FILE)?\s*=", re.MULTILINE)
"""Also with nothing behind it: whoever wrote that wants no key."""


def initialise(var: Path, *settings: str) -> None:
    """Make what is missing below `var`; each of `settings` is a line NAME=VALUE."""
    for folder in ("", "broker", "broker/messages", "broker/control"):
        (var / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    var.chmod(0o700)  # Also where it was there before: databases and secrets lie in it.
    _write_once(var / "secrets.env", _secrets() + "".join(f"{line}\n" for line in settings))
    _add_checkpoint_key(var / "secrets.env")


def _secrets() -> str:
    return "".join(
        f"{name}={value}\n"
        for name, value in {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "RAMPART_ARGUMENT_KEYS": Fernet.generate_key().decode(),
            "RAMPART_CHECKPOINT_KEY": _checkpoint_key(),
        }.items()
    )


def _checkpoint_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _add_checkpoint_key(path: Path) -> None:
    """A line more, all of it or nothing, for a file of the time before there were checkpoints.

    One that may not be written stays as it is: `rampart.W005` says what is missing.
    """
    if not os.access(path, os.W_OK):
        return
    with path.open("r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # Who begins at the same moment finds the line.
        before = file.read()
        if HAS_CHECKPOINT_KEY.search(before.decode(errors="replace")):
            return
        line = f"RAMPART_CHECKPOINT_KEY={_checkpoint_key()}\n".encode()
        line = line if before.endswith(b"\n") or not before else b"\n" + line
        try:
            if file.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(len(before))
            raise


def _write_once(path: Path, text: str) -> None:
    """Whole or not at all, and never over what is there: written aside, then linked."""
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m rampart.initialise DIR [NAME=VALUE …]")
    initialise(Path(sys.argv[1]), *sys.argv[2:])
