"""One JSON document by HTTP, within three seconds and 256 KiB, from exactly this address.

requests has a time-out for each wait, but none for the whole, and none for the resolving of names.
So the request is made in a thread of its own, and whoever asked leaves when the time is over;
what then still hangs ends by itself.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

import requests
from django.conf import settings
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError

from tools.strict_json import json_object
from tools.tokens.errors import IssuerUnavailable

SECONDS = 3.0
SECONDS_FOR_A_PLACE = 0.25
LARGEST = 256 * 1024
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rampart"}


class NoCredentials(AuthBase):
    """Else requests would send what it finds for the host in a `.netrc`."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@contextmanager
def place() -> Iterator[None]:
    """To be held by whoever waits for a provider; IssuerUnavailable if none gets free soon.

    Half of the server's threads may wait at once, so that a provider that hangs, or whoever makes
    us ask it, leaves the others to callers with keys and to people.
    """
    places = _places(settings.RAMPART_WEB_THREADS // 2)
    if not places.acquire(timeout=SECONDS_FOR_A_PLACE):
        raise IssuerUnavailable("too many wait for an answer")
    try:
        yield
    finally:
        places.release()


@lru_cache
def _places(count: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(count)


def get_json(url: str) -> dict[str, object]:
    """The JSON object at the address; IssuerUnavailable whatever else is there or goes wrong."""
    return _fetched(lambda: _answer("GET", url, NoCredentials()))


def post_form(url: str, auth: HTTPBasicAuth, form: Mapping[str, str]) -> dict[str, object]:
    """The JSON object that answers the form; IssuerUnavailable if anything else does."""
    return _fetched(lambda: _answer("POST", url, auth, form))


def _fetched(request: Callable[[], bytes]) -> dict[str, object]:
    done: Future[bytes] = Future()
    threading.Thread(target=_settle, args=(done, request), name="fetch", daemon=True).start()
    try:
        return json_object(done.result(SECONDS))
    except (OSError, HTTPError, ValueError) as error:  # A TimeoutError is an OSError.
        raise IssuerUnavailable(type(error).__name__) from None


def _settle(done: Future[bytes], request: Callable[[], bytes]) -> None:
    try:
        done.set_result(request())
    except Exception as error:  # It is raised where it is waited for.
        done.set_exception(error)


def _answer(method: str, url: str, auth: AuthBase, form: Mapping[str, str] | None = None) -> bytes:
    with (
        requests.Session() as session,
        session.request(
            method, url, data=form, auth=auth, headers=HEADERS, timeout=SECONDS,
            allow_redirects=False, stream=True,
        ) as response,
    ):  # fmt: skip
        if response.status_code != 200:
            raise IssuerUnavailable(f"it answered {response.status_code}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("compressed, though nobody asked for it")
        return _body(response.raw, time.monotonic() + SECONDS)


class _Readable(Protocol):
    def read1(self, amt: int) -> bytes: ...


def _body(raw: _Readable, deadline: float) -> bytes:
    body = b""
    while piece := raw.read1(LARGEST):
        body += piece
        if len(body) > LARGEST or time.monotonic() > deadline:
            raise ValueError("too much, or too slowly")
    return body
