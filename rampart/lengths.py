"""Bodies that come without their length: in chunks, or over HTTP/2.

Django reads no body whose length it is not told, so such a call would run without its arguments.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from rampart.parsers import LARGEST_BODY

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def with_known_length(application: Application) -> Application:
    """The application, told the length of every body; of a longer one, that it is too large."""

    def measured(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and _may_have_a_body(environ):
            body = _read(environ["wsgi.input"])
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return measured


def _may_have_a_body(environ: dict[str, Any]) -> bool:
    """In HTTP/1.1 a body says how it ends; the server knows of itself where one of HTTP/2 does."""
    protocol = str(environ.get("SERVER_PROTOCOL", ""))
    return "HTTP_TRANSFER_ENCODING" in environ or protocol.startswith("HTTP/2")


def _read(stream: Any) -> bytes:
    """All of it, or one byte more than anybody may send."""
    body = b""
    while len(body) <= LARGEST_BODY and (part := stream.read(LARGEST_BODY + 1 - len(body))):
        body += part
    return body
