"""A body that comes over HTTP/2 without its length is read like any other."""

from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest

from rampart.lengths import with_known_length
from rampart.parsers import LARGEST_BODY

HTTP_2 = {"SERVER_PROTOCOL": "HTTP/2.0"}


class Slow(BytesIO):
    """A stream that gives what has come so far, as sockets do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(50_000 if size is None or size < 0 else min(size, 50_000))


def body_of(body: bytes, **environ: str) -> bytes:
    """What Django reads of such a request."""
    seen: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(WSGIRequest(environ).read())
        return []

    given = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "wsgi.input": Slow(body)}
    with_known_length(application)({**given, **environ}, None)
    return seen[0]


@pytest.mark.feature("H2")
@pytest.mark.parametrize("length", [0, 1, 40, 200_000, LARGEST_BODY])
def test_a_body_without_its_length_is_read_to_its_end(length: int) -> None:
    assert body_of(b"x" * length, **HTTP_2) == b"x" * length


@pytest.mark.feature("H2")
def test_of_an_endless_body_no_more_is_read_than_shows_that_it_is_too_large() -> None:
    assert len(body_of(b"x" * (3 * LARGEST_BODY), **HTTP_2)) == LARGEST_BODY + 1


def test_a_body_with_its_length_is_left_alone() -> None:
    assert body_of(b"x" * 40, CONTENT_LENGTH="10", **HTTP_2) == b"x" * 10


def test_a_request_that_says_nothing_of_a_body_has_none() -> None:
    assert body_of(b"the next request on this connection", SERVER_PROTOCOL="HTTP/1.1") == b""
