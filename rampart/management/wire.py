"""Speaking to a server over HTTP as an agent does, with nothing but the standard library.

No redirect is followed and no proxy asked, so that the key goes to the named server alone.
"""

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

SECONDS_TO_ANSWER = 30
LARGEST_ANSWER = 2**21


class Unreachable(Exception):
    """The server can't be spoken to; the message says how that shows."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server has answered."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def summary(self) -> str:
        """Such as `200 success`, `200 success replayed`, `403 denied ScopeDenied`."""
        words = [str(self.status), self.body.get("status"), self.body.get("error_type")]
        if "code" in self.body:
            words = [str(self.status), self.body["code"]]
        words.append("replayed" if self.headers.get("idempotency-replayed") == "true" else None)
        return " ".join(str(word) for word in words if word)

    @property
    def told(self) -> str:
        """The summary, and what the server says of it."""
        why = self.body.get("error") or self.body.get("detail")
        return f"{self.summary}: {why}" if why else self.summary


def address(text: str) -> str:
    """The text, if it is an address of http or https; ValueError otherwise."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"{text!r} is not an http(s) address")
    return text


class Server:
    """A server at an address, and the key with which it is spoken to."""

    def __init__(self, base_url: str, key: str) -> None:
        parts = urlsplit(base_url)
        self._connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._root = f"{parts.path.rstrip('/')}/api/v1"
        self._key = key

    def get(self, path: str) -> Reply:
        """GET below the API's base."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: dict[str, Any], **headers: str) -> Reply:
        """POST JSON below the API's base; `Idempotency_Key` stands for that header."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._ask("POST", path, json.dumps(body), given)

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Reply:
        connection = self._connection(self._host, self._port, timeout=SECONDS_TO_ANSWER)
        sent = {"Authorization": f"Bearer {self._key}", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, f"{self._root}{path}", body, sent)
            answer = connection.getresponse()
            read = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, read, _object(answer.read(LARGEST_ANSWER)))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(reason) from None
        finally:
            connection.close()


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object that a body is, or an empty one."""
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
