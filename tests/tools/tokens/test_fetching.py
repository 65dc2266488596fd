"""A document comes whole, soon, and from where it was asked for, or not at all."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest import MonkeyPatch
from requests.auth import HTTPBasicAuth

from tests import servers
from tests.tools.tokens.provider import Asked, Provider, Reply, as_json, running
from tools.tokens import fetching
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.fetching import get_json, post_form


def reason(url: str) -> str:
    """Why nothing could be had."""
    with pytest.raises(IssuerUnavailable) as refused:
        get_json(url)
    return str(refused.value)


def test_a_json_object_is_had(provider: Provider) -> None:
    provider.answer = lambda asked: as_json({"keys": [1]})
    assert get_json(provider.url) == {"keys": [1]}
    assert provider.asked[0].headers["Accept"] == "application/json"


def test_one_of_the_largest_size_is_had(provider: Provider) -> None:
    body = b'{"a":"%s"}' % (b"x" * (fetching.LARGEST - 8))
    provider.answer = lambda asked: Reply(body)
    assert len(body) == fetching.LARGEST and get_json(provider.url)


@pytest.mark.feature("I6")
@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 429, 500, 503])
def test_anything_but_200_is_nothing(provider: Provider, status: int) -> None:
    provider.answer = lambda asked: as_json({"keys": []}, status=status)
    assert reason(provider.url) == f"it answered {status}"


@pytest.mark.feature("I6")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_nowhere(provider: Provider, status: int) -> None:
    with running() as elsewhere:
        provider.answer = lambda asked: Reply(b"{}", status, {"Location": elsewhere.url})
        assert reason(provider.url) == f"it answered {status}"
        assert elsewhere.asked == [] and len(provider.asked) == 1


NOT_OBJECTS = [
    b"", b"[]", b"null", b"<html>", b'{"a":1', b'{"a":NaN}', b'{"a":1e999}', b'{"a":1,"a":2}',
    b"\xff", b"[" * 5000, b'{"a":%s}' % (b"[" * 9000),
]  # fmt: skip


@pytest.mark.feature("I6")
@pytest.mark.parametrize("body", NOT_OBJECTS, ids=lambda body: body[:12])
def test_what_is_no_json_object_is_nothing(provider: Provider, body: bytes) -> None:
    provider.answer = lambda asked: Reply(body)
    assert reason(provider.url)


@pytest.mark.feature("I6")
def test_too_much_is_nothing(provider: Provider) -> None:
    body = b'{"a":"%s"}' % (b"x" * (fetching.LARGEST - 7))
    provider.answer = lambda asked: Reply(body)
    assert reason(provider.url) == "ValueError"


@pytest.mark.feature("I6")
def test_more_without_end_is_left_after_the_largest_size(provider: Provider) -> None:
    sent = itertools.count()

    def pieces() -> Iterator[bytes]:
        for _ in range(10_000):
            next(sent)
            yield b" " * 8192

    provider.answer = lambda asked: Reply(pieces=pieces())
    assert reason(provider.url) == "ValueError"
    assert next(sent) < 9_000


def test_a_compressed_answer_is_not_unpacked(provider: Provider) -> None:
    provider.answer = lambda asked: as_json({}, headers={"Content-Encoding": "gzip"})
    assert reason(provider.url) == "ValueError"


def test_a_body_that_ends_too_soon_is_nothing(provider: Provider) -> None:
    provider.answer = lambda asked: Reply(pieces=iter([b"{}"]), headers={"Content-Length": "10"})
    assert reason(provider.url) in ("IncompleteRead", "ProtocolError")


def test_nobody_there_is_nothing() -> None:
    assert reason(f"http://127.0.0.1:{servers.free_port()}/") == "ConnectionError"
    assert reason("http://name.invalid/") == "ConnectionError"
    assert reason("ftp://127.0.0.1/") == "InvalidSchema"


# Time.


def silence(asked: Asked, end: threading.Event) -> Reply:
    """Nothing at all."""
    return Reply(b"{}", until=end)


def drops(end: threading.Event) -> Iterator[bytes]:
    """A byte now and then, for a minute."""
    for _ in range(600):
        if end.wait(0.1):
            return
        yield b" "


def slow_body(asked: Asked, end: threading.Event) -> Reply:
    return Reply(pieces=drops(end))


def slow_headers(asked: Asked, end: threading.Event) -> Reply:
    return Reply(b"{}", raw_head=itertools.chain([b"HTTP/1.1 200 OK\r\nX-Slow: "], drops(end)))


@pytest.mark.feature("I6")
@pytest.mark.parametrize("manner", [silence, slow_body, slow_headers])
def test_who_hangs_or_drips_is_left_when_the_time_is_over(
    provider: Provider, manner: Callable[..., Reply], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.5)
    end = threading.Event()
    provider.answer = lambda asked: manner(asked, end)
    begun = time.monotonic()
    assert reason(provider.url)
    assert time.monotonic() - begun < 5
    end.set()


def test_the_time_is_three_seconds() -> None:
    assert fetching.SECONDS == 3


# What is sent.


def test_a_form_is_posted_with_our_credentials(provider: Provider) -> None:
    provider.says(active=True)
    answer = post_form(provider.url, HTTPBasicAuth("me", "hush"), {"token": "a b&c=d"})
    (asked,) = provider.asked
    assert answer == {"active": True}
    assert (asked.method, asked.form) == ("POST", {"token": "a b&c=d"})
    assert asked.headers["Authorization"] == "Basic bWU6aHVzaA=="


def test_no_credentials_are_sent_that_a_netrc_has_for_the_host(
    provider: Provider, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_json(provider.url) == {"keys": []}
    assert "Authorization" not in provider.asked[0].headers
