"""Bodies that come without their length over HTTP/2, where that is usual.

Django reads no body whose length it is not told, so such a call would run without its arguments.
In HTTP/1.1 such a body comes in chunks, which PlainRequestMiddleware refuses.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from rampart.parsers import LARGEST_BODY

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def with_known_length(application: Application) -> Application:
    """The application, told the length of every body; of a longer one, that it is too large."""

    def measured(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        protocol = str(environ.get("SERVER_PROTOCOL", ""))
        if protocol.startswith("HTTP/2") and not environ.get("CONTENT_LENGTH"):
            body = _read(environ["wsgi.input"])
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return measured


def _read(stream: Any) -> bytes:
    """All of it, or one byte more than anybody may send."""
    body = b""
    while len(body) <= LARGEST_BODY and (part := stream.read(LARGEST_BODY + 1 - len(body))):
        body += part
    return body
