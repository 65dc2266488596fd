"""An issuer's public keys, kept for five minutes, and for an hour while it does not answer.

A known key costs no waiting: while one request fetches, the others use what is there. An unknown
one may have been published since, so it is looked for, but not more often than twice a minute,
whatever names strangers make up.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tools.identity import BadCredentials
from tools.strict_json import json_object
from tools.tokens import fetching
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.keysets import PublicKey, fitting, parse_keys

log = logging.getLogger(__name__)

SECONDS_FRESH = 300.0
SECONDS_USABLE = 3600.0
SECONDS_BETWEEN_FETCHES = 30.0
SECONDS_BETWEEN_FAILURES = 5.0
"""While there is no key at all, every token is refused: then it is tried sooner again."""
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class _Held:
    """The keys as they were read, and when."""

    keys: tuple[PublicKey, ...] = ()
    read_at: float = NEVER

    def age(self) -> float:
        return time.monotonic() - self.read_at


class KeySource:
    """Where an issuer's keys come from; `load` raises IssuerUnavailable, OSError or ValueError."""

    def __init__(self, name: str, load: Callable[[], tuple[PublicKey, ...]]) -> None:
        self.name, self._load = name, load
        self._held, self._tried_at = _Held(), NEVER
        self._loading = threading.Lock()

    def key_for(self, algorithm: str, kid: str | None) -> PublicKey:
        """The key that is meant; BadCredentials without one, IssuerUnavailable if none can be."""
        found = self._known(algorithm, kid)
        if self._is_due() and (found is None or self._held.age() > SECONDS_FRESH):
            self._refresh(may_wait=found is None)
            found = self._known(algorithm, kid)
        if found is not None:
            return found
        if not self._is_usable():
            raise IssuerUnavailable(f"the keys of {self.name} cannot be had")
        raise BadCredentials("unknown_signing_key")

    def _known(self, algorithm: str, kid: str | None) -> PublicKey | None:
        return fitting(self._held.keys, algorithm, kid) if self._is_usable() else None

    def _is_usable(self) -> bool:
        return self._held.age() <= SECONDS_USABLE

    def _refresh(self, may_wait: bool) -> None:
        """Read the keys anew. If another request is about it, wait for that, or leave it to it."""
        with fetching.place() if may_wait else nullcontext():
            if not self._loading.acquire(timeout=fetching.SECONDS + 1 if may_wait else 0):
                return
            try:
                if self._is_due():
                    self._read()
            finally:
                self._loading.release()

    def _is_due(self) -> bool:
        pause = SECONDS_BETWEEN_FETCHES if self._is_usable() else SECONDS_BETWEEN_FAILURES
        return time.monotonic() - self._tried_at >= pause

    def _read(self) -> None:
        try:
            self._held = _Held(self._load(), time.monotonic())
        except (IssuerUnavailable, OSError, ValueError) as error:
            log.warning("the keys of %s cannot be read: %s", self.name, _reason(error))
        finally:
            # Not before: until then it is due, so that whoever needs what comes waits for it.
            self._tried_at = time.monotonic()


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, IssuerUnavailable) else type(error).__name__


@lru_cache(maxsize=16)
def at_address(url: str) -> KeySource:
    """The keys that are published there; one source for all who ask."""
    return KeySource(url, lambda: parse_keys(fetching.get_json(url)))


@lru_cache(maxsize=16)
def in_file(path: str) -> KeySource:
    """The keys in a file, which may be replaced while we run."""
    return KeySource(path, lambda: _read_file(path))


def _read_file(path: str) -> tuple[PublicKey, ...]:
    return parse_keys(json_object(Path(path).read_bytes()))


def forget() -> None:
    """Drop all keys that this process holds."""
    at_address.cache_clear()
    in_file.cache_clear()
