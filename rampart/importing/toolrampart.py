"""ToolRampart's configuration, read for what can be taken over; nothing here writes.

Texts of keys, hashes and values of settings never leave this module but in a `HashedKey`.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

INSTEAD = {
    "auth.required": "nothing: credentials are always required",
    "auth.trust_headers": "RAMPART_TRUSTED_HEADERS and RAMPART_TRUSTED_PROXIES",
    "auth.jwt_secret": "RAMPART_JWT_SECRET",
    "auth.jwt_issuer": "RAMPART_JWT_ISSUER",
    "auth.jwt_audience": "RAMPART_JWT_AUDIENCE",
    "auth.jwt_jwks_url": "RAMPART_JWT_JWKS_URL",
    "auth.jwt_algorithms": "RAMPART_JWT_ALGORITHMS",
    "execution.timeout_seconds": "@timeout on the tool",
    "execution.max_retries": "@max_retries on the tool",
    "storage.audit_path": "DATABASE_URL",
    "storage.storage_url": "DATABASE_URL",
    "storage.redis_url": "REDIS_URL",
    "storage.retention_days": "nothing: it was never read",
    "telemetry.enabled": "nothing: /metrics is always there",
    "telemetry.service_name": "nothing: /metrics is always there",
}
"""What ToolRampart reads beside keys, and what stands for it here."""

PLACE = re.compile(r"\(at ([^()]*)\)\Z")
"""Where the TOML is wrong. The message before it may quote a name, and names of keys are keys."""


class Unreadable(Exception):
    """The file is not a configuration of ToolRampart's; the message says how that shows."""


class HashedKey(BaseModel):
    """An entry of `[auth.hashed_api_keys]`, read more strictly: `active = "off"` is no boolean."""

    model_config = ConfigDict(strict=True)

    actor: str
    scopes: list[str] = []
    hash: str = Field(repr=False)
    active: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that the file makes, and what to set here instead."""

    name: str
    instead: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file holds: entries by their ids, as they stand; of plaintext keys the actors."""

    hashed: dict[str, Any]
    plaintext_actors: tuple[str, ...]
    settings: tuple[Setting, ...]


def read(path: Path) -> Configuration:
    """The configuration in the file; Unreadable if there is none."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from None
    except tomllib.TOMLDecodeError as error:
        found = PLACE.search(str(error))
        raise Unreadable(f"it is not TOML, {found[1] if found else 'somewhere'}") from None
    except UnicodeDecodeError:
        raise Unreadable("it is not text in UTF-8") from None
    auth = _table(document, "auth")
    return Configuration(
        hashed=_table(auth, "hashed_api_keys"),
        plaintext_actors=tuple(map(actor_of, _table(auth, "api_keys").values())),
        settings=tuple(_settings(document)),
    )


def actor_of(entry: Any) -> str:
    """The actor that an entry names; nothing if it names none."""
    actor = entry.get("actor") if isinstance(entry, dict) else None
    return actor if isinstance(actor, str) else ""


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise Unreadable(f"{name} is not a table")
    return table


def _settings(document: dict[str, Any]) -> Iterator[Setting]:
    for name, instead in INSTEAD.items():
        section, _, field = name.partition(".")
        if field in _table(document, section):
            yield Setting(name, instead)
