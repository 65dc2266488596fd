"""Keys that ToolRampart kept as slow hashes: whose they are, and their one slow check.

A slow hash is computed once for each key, at its first use here, and never for a list of keys: the
caller says which one it means (`X-ToolRampart-Key-Id`). From then on the SHA-256 finds the key, as
it finds any other. Who names a key that does not wait for its first use pays for a hash as well,
so that names can't be told apart by the time; when no key waits, nobody pays.
"""

import hashlib
import hmac
import re
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import F
from django.db.models.lookups import Exact

from audit import ledger
from audit.events import EventName
from audit.models import local_now
from tools import guessing, keys
from tools.errors import KeyRefused
from tools.models import ApiKey, ApiKeyQuerySet

KEY_ID = re.compile(r"[!-~]([ -~]{0,198}[!-~])?", re.ASCII)
"""What a header can carry as it stands."""
SLOW_HASH = re.compile(
    r"pbkdf2_sha256\$(?P<iterations>[1-9][0-9]{0,8})\$(?P<salt>[!-#%-~]{1,128})"
    r"\$(?P<digest>[A-Za-z0-9_-]{43}=)",
    re.ASCII,
)
FEWEST_ITERATIONS = 100_000
MOST_ITERATIONS = 2_000_000
"""About a second of a processor; ToolRampart's own command makes it 210 000."""
SHORTEST_SECRET = 16
"""Characters. What is shorter was made up by a person, and no fast hash may be kept of that."""

SECONDS_TO_WAIT = 1.0
_places = threading.BoundedSemaphore(3)
"""One is hashing and two wait: strangers can't fill the server's threads with waiters."""
_hashing = threading.Lock()


class TooManyFirstUses(Exception):
    """Other imported keys are being checked for the first time: ask again in a second."""


@dataclass(frozen=True, slots=True)
class SlowHash:
    """PBKDF2 with SHA-256, as ToolRampart writes it: `pbkdf2_sha256$iterations$salt$digest`."""

    iterations: int
    salt: str = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "SlowHash":
        """What the text says; KeyRefused, which never repeats it, if that is no good."""
        if not text.startswith("pbkdf2_sha256$"):
            raise KeyRefused("hash: its algorithm is not pbkdf2_sha256")
        match = SLOW_HASH.fullmatch(text)
        if match is None:
            raise KeyRefused("hash: it is not `pbkdf2_sha256$iterations$salt$digest`")
        iterations = int(match["iterations"])
        if iterations < FEWEST_ITERATIONS:
            raise KeyRefused(f"hash: {iterations} iterations are too weak, {FEWEST_ITERATIONS} not")
        if iterations > MOST_ITERATIONS:
            raise KeyRefused(f"hash: {iterations} iterations would hold up the server")
        return cls(iterations, match["salt"], urlsafe_b64decode(match["digest"]))

    def matches(self, text: str) -> bool:
        """Whether it is the hash of this text, in constant time; slow on purpose."""
        made = hashlib.pbkdf2_hmac("sha256", text.encode(), self.salt.encode(), self.iterations)
        return hmac.compare_digest(made, self.digest)


def find(text: str, key_id: str = "", address: str = "") -> ApiKey | None:
    """The imported key whose text this is, be it usable or not; `key_id` is needed once.

    One query on `imported_keys_by_digest`, and where a key is named, one more on the same index:
    what waits for its first use has no digest. TooManyFirstUses asks for another try.
    """
    digest = keys.digest_of(text)
    return _used(digest) or _first_used(text, digest, key_id, address)


def _imported() -> ApiKeyQuerySet:
    return ApiKey.objects.select_related("owner").filter(imported_id__isnull=False)


def _used(digest: str) -> ApiKey | None:
    return _imported().filter(digest=digest).first()


def _first_used(text: str, digest: str, key_id: str, address: str) -> ApiKey | None:
    """The key that is named, if it waits for its first use and this is that."""
    if len(text) < SHORTEST_SECRET or not KEY_ID.fullmatch(key_id):
        return None
    row = _waiting(key_id)
    if row is None:
        return None
    if not guessing.may_try_slowly(address):
        raise TooManyFirstUses
    with _turn():
        if used := _used(digest):  # By another caller, while this one waited for its turn.
            return used
        is_right = SlowHash.parse(row.slow_hash).matches(text)
    if not is_right or row.imported_id != key_id:
        return None
    _rehash(row, digest)
    return _used(digest)


def _waiting(key_id: str) -> ApiKey | None:
    """The usable key of this name that was not used yet; any other such key if there is none."""
    rows = _imported().usable(local_now()).filter(digest="")
    return rows.order_by(Exact(F("imported_id"), key_id).desc()).first()


@contextmanager
def _turn() -> Iterator[None]:
    """One slow hash at a time in each process, and a short queue."""
    if not _places.acquire(blocking=False):
        raise TooManyFirstUses
    try:
        if not _hashing.acquire(timeout=SECONDS_TO_WAIT):
            raise TooManyFirstUses
        try:
            yield
        finally:
            _hashing.release()
    finally:
        _places.release()


@transaction.atomic
def _rehash(row: ApiKey, digest: str) -> None:
    """Keep the fast digest instead of the slow hash, unless somebody else just has."""
    waiting = ApiKey.objects.filter(pk=row.pk, digest="", slow_hash=row.slow_hash)
    if waiting.update(digest=digest, slow_hash=""):
        ledger.record(
            EventName.KEY_REHASHED,
            actor=row.actor,
            key_prefix=row.prefix,
            metadata={"imported_id": row.imported_id},
        )
