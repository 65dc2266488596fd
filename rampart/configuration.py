"""Reading settings strictly: a wrong value stops the start in one line that names its variable."""

import ipaddress
import os
import stat
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ImproperlyConfigured

from sandbox.layers import Layer
from tools.durations import parse_duration
from tools.strict_json import json_object
from tools.tokens.keysets import parse_keys

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SEED_BYTES = 32
LONGEST_FILE = 2**20
"""Characters of a file that holds a secret."""
FOR_EVER = "forever"


class Configuration:
    """The environment, after `secrets.env` has filled in what it does not set."""

    def __init__(self, env: environ.Env, inherited: Iterable[str] = ()) -> None:
        self.env = env
        self._inherited = frozenset(inherited)

    def inherited(self) -> dict[str, str]:
        """What this process was started with, but for what it was told to forget."""
        return {name: value for name, value in self.env.ENVIRON.items() if name in self._inherited}

    def forget(self, names: Iterable[str]) -> None:
        """Have these variables no more, wherever they came from."""
        for name in names:
            self.env.ENVIRON.pop(name, None)

    def _given(self, name: str, default: str = "") -> str:
        """The variable as it stands: django-environ would take `$x` for the variable x."""
        return str(self.env.ENVIRON.get(name, default))

    def read(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        """The variable, or its default, through `parse`; ValueError names the variable."""
        try:
            return parse(self._given(name, default).strip())
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {error}") from None

    def text(self, name: str, default: str = "") -> str:
        """A plain value that is no secret."""
        return self.read(name, default, str)

    def secret(self, name: str, default: str | None = None) -> str:
        """A secret, from NAME or from the file that NAME_FILE names, never from both."""
        given, file = self._given(name), self._given(f"{name}_FILE")
        if given and file:
            raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: keep one")
        if file:
            given = _content(f"{name}_FILE", file)
        if not given and default is None:
            raise ImproperlyConfigured(f"{name} is not set: `make run` makes one, see README")
        return given or default or ""

    def address(self, name: str) -> str:
        """An http(s) address without a slash at its end, or nothing."""
        return self.exact_address(name).rstrip("/")

    def exact_address(self, name: str) -> str:
        """An http(s) address as it stands, or nothing: the slash at its end may be part of it."""

        def parse(text: str) -> str:
            parts = urlsplit(text)
            if "@" in parts.netloc:
                raise ValueError("an address holds no name and no password: logs would show them")
            if text and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise ValueError(f"{text!r} is not an http(s) address")
            return text

        return self.read(name, "", parse)

    def whole_number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""

        def parse(text: str) -> int:
            if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
                raise ValueError(f"{text!r} is not a whole number from {least} to {most}")
            return int(text)

        return self.read(name, str(default), parse)

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """One of a few words."""

        def parse(text: str) -> str:
            if text not in choices:
                raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
            return text

        return self.read(name, default, parse)

    def flag(self, name: str, default: str = "false") -> bool:
        """True or false, off unless the default says otherwise."""
        return self.choice(name, default, ("true", "false", "1", "0", "on", "off")) in (
            "true", "1", "on",
        )  # fmt: skip

    def duration(self, name: str, default: str, least: str = "0d") -> timedelta:
        """`90d`, `24h`, `30m`, `4s`, `0d`, and no less than `least`."""

        def parse(text: str) -> timedelta:
            if (span := parse_duration(text)) < parse_duration(least):
                raise ValueError(f"{text!r} is less than {least}")
            return span

        return self.read(name, default, parse)

    def period(self, name: str, default: str) -> timedelta | None:
        """How long something is kept: a duration, or None for ever."""

        def parse(text: str) -> timedelta | None:
            return None if text == FOR_EVER else parse_duration(text)

        return self.read(name, default, parse)

    def is_set(self, name: str) -> bool:
        """Whether somebody has chosen a value, be it the default's."""
        return bool(self._given(name).strip())

    def words(self, name: str, default: str = "") -> list[str]:
        """A comma list."""
        return self.read(name, default, _words)

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A comma list of `left=right`; a word without `=` stands on both sides."""

        def pair(word: str) -> tuple[str, str]:
            left, equals, right = (part.strip() for part in word.rpartition("="))
            if equals and not (left and right):
                raise ValueError(f"{word!r} names only one side of its =")
            return left or right, right

        return self.read(name, "", lambda text: [pair(word) for word in _words(text)])

    def networks(self, name: str, default: str = "") -> list[Network]:
        """A comma list of CIDRs."""
        return self.read(
            name, default, lambda text: [ipaddress.ip_network(part) for part in _words(text)]
        )


def fill_in(env: environ.Env, file: Path) -> set[str]:
    """Set from the file what the environment sets neither by NAME nor by NAME_FILE.

    Returns what was set before.
    """
    before = set(env.ENVIRON)
    if file.exists():
        env.read_env(str(file))
    for name in set(env.ENVIRON) - before:
        if f"{name}_FILE" in before:
            del env.ENVIRON[name]
    return before


def all_set(needed: dict[str, object], because: str) -> None:
    """ImproperlyConfigured, naming the first of the variables that is empty."""
    for name, value in needed.items():
        if not value:
            raise ImproperlyConfigured(f"{name} is not set, and {because} needs it")


def fernet_keys(text: str) -> list[str]:
    """A comma list of Fernet keys, newest first; ValueError unless each is one."""
    keys = _words(text)
    if not keys:
        raise ValueError("at least one Fernet key is needed")
    for key in keys:
        try:
            Fernet(key)
        except ValueError:
            raise ValueError("a key is not 32 bytes in URL-safe base64") from None
    return keys


def ed25519_seeds(text: str) -> list[bytes]:
    """A comma list of Ed25519 private keys, newest first: 32 bytes in base64 or hex, or PEM."""
    return [_seed(word) for word in _words(text)]


def _seed(text: str) -> bytes:
    with suppress(ValueError, TypeError):
        if text.startswith("-----BEGIN"):
            key = load_pem_private_key(text.encode(), None)
            if isinstance(key, Ed25519PrivateKey):
                return key.private_bytes_raw()
        raw = bytes.fromhex(text) if len(text) == 2 * SEED_BYTES else _base64(text)
        if len(raw) == SEED_BYTES:
            return raw
    raise ValueError("a key is not an Ed25519 private key: 32 bytes in base64 or hex, or PEM")


def _base64(text: str) -> bytes:
    """Base64 in either alphabet, with or without what fills it up."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    return b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _words(text: str) -> list[str]:
    return [part for piece in text.split(",") if (part := piece.strip())]


def _content(name: str, file: str) -> str:
    """The text in a file; a pipe would keep its reader waiting, and a device might never end."""
    try:
        with open(file, encoding="utf-8-sig", opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ImproperlyConfigured(f"{name}: not a regular file")
            text = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ImproperlyConfigured(f"{name}: the file is not text in UTF-8") from None
    if len(text) > LONGEST_FILE:
        raise ImproperlyConfigured(f"{name}: the file is longer than {LONGEST_FILE} characters")
    return text.strip()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def key_set_file(path: str) -> str:
    """The path of a JSON Web Key Set, or nothing; ValueError unless one of its keys is of use."""
    try:
        if path and not parse_keys(json_object(Path(path).read_bytes())):
            raise ValueError("the file has no key that can check a signature")
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except ValueError as error:
        raise ValueError(f"no JSON Web Key Set that can be used: {error}") from None
    return path


def layers(text: str) -> list[Layer]:
    """A comma list of the jail's layers by name; ValueError names the first word that is none."""
    names = _words(text)
    for name in names:
        if name not in list(Layer):
            raise ValueError(f"{name!r} is none of {', '.join(Layer)}")
    return [layer for layer in Layer if layer in names]


def name_of_at_most(longest: int) -> Callable[[str], str]:
    """What reads a name; ValueError if it is too long to be stored, or can't be shown."""

    def parse(text: str) -> str:
        if len(text) > longest or not text.isprintable():
            raise ValueError(f"not a name of at most {longest} printable characters")
        return text

    return parse


POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    # Parameters travel beside the statement, and one that is often used is planned once.
    "server_side_binding": True,
    "prepare_threshold": 2,
}


def database(url: str, var: Path) -> dict[str, Any]:
    """Django's settings for the database: SQLite in `var` unless a URL says otherwise."""
    if not url:
        url = f"sqlite:///{var / 'rampart.sqlite3'}"
    try:
        config: dict[str, Any] = environ.Env.db_url_config(url)
    except Exception:
        raise ImproperlyConfigured("DATABASE_URL can't be read as a database's URL") from None
    engine = config.get("ENGINE", "")
    if engine.endswith("sqlite3"):
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    elif engine.endswith("postgresql"):
        config["ENGINE"] = "rampart.postgresql"
        config["OPTIONS"] = POSTGRESQL_OPTIONS | config.get("OPTIONS", {})
    else:
        raise ImproperlyConfigured("DATABASE_URL names neither PostgreSQL nor SQLite")
    config["TEST"] = {"NAME": str(var / "test.sqlite3") if engine.endswith("sqlite3") else None}
    return config | {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
