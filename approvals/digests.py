"""Keyed digests of actions: equal for equal actions, and of no use for guessing what they hold."""

import hashlib
import hmac
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings

from audit.canonical import canonical_text, exact

VERSION = "1"
"""Changes when the form that is digested changes."""


def action_digest(
    *, lineage: UUID, tool: str, tool_version: int, arguments: Any, policy_version: str
) -> str:
    """HMAC-SHA-256 over who asks for what exactly, under which rules (frozen arguments)."""
    return _digest("action", [str(lineage), tool, tool_version, arguments, policy_version])


def request_digest(tool: str, arguments: Any) -> str:
    """HMAC-SHA-256 over a call as it was posted, before validation: for idempotency keys."""
    return _digest("request", [tool, arguments])


def _digest(purpose: str, value: Any) -> str:
    text = canonical_text([VERSION, exact(value)])
    return hmac.digest(_key(purpose, settings.SECRET_KEY), text.encode(), "sha256").hex()


@lru_cache(maxsize=8)
def _key(purpose: str, secret: str) -> bytes:
    """A key of the purpose's own, as Django's `salted_hmac` derives it."""
    return hashlib.sha256(f"rampart.{purpose}{secret}".encode()).digest()
