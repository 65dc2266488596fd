"""What must be kept and must not be read: frozen arguments and raw results, under Fernet keys.

The newest of RAMPART_ARGUMENT_KEYS seals, all of them open; so a key is rotated by putting a new
one in front, and dropped once nothing that it sealed is left.
"""

import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from approvals.errors import UnreadableArguments


def seal(value: Any) -> bytes:
    """The JSON value, encrypted and authenticated."""
    return _fernet(tuple(settings.RAMPART_ARGUMENT_KEYS)).encrypt(json.dumps(value).encode())


def unseal(sealed: bytes | memoryview) -> Any:
    """What `seal` was given; UnreadableArguments if no key opens it."""
    try:
        return json.loads(_fernet(tuple(settings.RAMPART_ARGUMENT_KEYS)).decrypt(bytes(sealed)))
    except InvalidToken:
        raise UnreadableArguments from None


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
