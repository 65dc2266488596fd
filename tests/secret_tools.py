"""Tools that are given secrets, and give them away in each way that happens by accident."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tools import (
    max_retries,
    progress,
    require_approval,
    scope,
    secrets,
    side_effects,
    timeout,
    tool,
)

NAME = "STRIPE_KEY"


def digest_of(secret: str) -> str:
    """What shows that a tool has its secret, without showing it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def written_out(secret: str) -> dict[str, Any]:
    """The secret in every form that is looked for, by what wrote it."""
    header = base64.b64encode(f"user:{secret}".encode()).decode()
    return {
        "plain": secret,
        "in a text": f"POST /v1/charges key={secret}&amount=5",
        "in a list": [[{"deep": secret}]],
        "key": {secret: 1, f"{secret}/1": 2},
        "repr": repr({"key": secret}),
        "bytes": repr(secret.encode()),
        "json": json.dumps({"key": secret}),
        "url": f"https://example.org/?key={quote(secret, safe='')}",
        "path": quote(secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        "basic": f"Authorization: Basic {header}",
        "hex": secret.encode().hex(),
    }


@tool
@scope("kit.secrets")
@secrets(NAME)
@timeout(20)
def shows_that_it_has_it() -> dict[str, Any]:
    """What it was given, and where it runs."""
    return {"digest": digest_of(os.environ[NAME]), "environment": sorted(os.environ)}


@tool
@scope("kit.secrets")
@secrets(NAME)
@timeout(20)
def gives_it_away() -> dict[str, Any]:
    """Says it in every form, as progress and as its result."""
    progress({"using": os.environ[NAME]})
    return written_out(os.environ[NAME])


@tool
@scope("kit.secrets")
@secrets(NAME)
@timeout(20)
def fails_with_it() -> None:
    """Raises with it, cut off in its midst."""
    kind = type(f"No{os.environ[NAME]}", (Exception,), {})
    message = f"refused: {written_out(os.environ[NAME])}"
    raise kind(message.ljust(4090, ".") + os.environ[NAME])


@tool
@scope("kit.secrets")
@side_effects(read_only=True)
@secrets(NAME)
@timeout(20)
def reads_with_it() -> int:
    """Only reads, yet is nowhere near the web process; tells its process."""
    return os.getpid()


@tool
@scope("kit.secrets")
@secrets(NAME)
@require_approval
@timeout(20)
def waits_with_it(path: str, go: str) -> str:
    """Says that it has begun, and goes on when a file appears."""
    Path(path).write_text(f"{os.getpid()} {digest_of(os.environ[NAME])}")
    while not Path(go).exists():
        time.sleep(0.02)
    return "done"


@tool
@scope("kit.secrets")
@timeout(20)
def is_given_none() -> dict[str, str]:
    """A tool beside them: what it finds in its environment."""
    return dict(os.environ)


@tool
@scope("kit.secrets")
@side_effects(idempotent=True)
@max_retries(2)
@secrets("NEVER_SET_KEY")
@timeout(20)
def lacks_it(path: str) -> None:
    """Its secret is nowhere."""
    Path(path).touch()
