"""Make what a deployment must have: `python -m rampart.initialise DIR [NAME=VALUE …]`.

Creates the folder, the embedded broker's folders, and `secrets.env` (mode 0600) with fresh
secrets and the settings named. What exists is left as it is, so that it can run before every
start.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

from cryptography.fernet import Fernet


def initialise(var: Path, *settings: str) -> None:
    """Make what is missing below `var`; each of `settings` is a line NAME=VALUE."""
    for folder in ("", "broker", "broker/messages", "broker/control"):
        (var / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    var.chmod(0o700)  # Also where it was there before: databases and secrets lie in it.
    _write_once(var / "secrets.env", _secrets() + "".join(f"{line}\n" for line in settings))


def _secrets() -> str:
    return "".join(
        f"{name}={value}\n"
        for name, value in {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "RAMPART_ARGUMENT_KEYS": Fernet.generate_key().decode(),
            "RAMPART_CHECKPOINT_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        }.items()
    )


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
