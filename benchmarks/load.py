"""A load of HTTP/1.1 requests over kept-alive connections, light enough to share the machine.

One thread and one selector: each connection sends the same request again as soon as its answer is
there. What a request costs here (about 40 µs) is the same for every server measured.
"""

import selectors
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


class UnexpectedAnswer(Exception):
    """A server answered something else than the load is meant to measure."""


@dataclass(slots=True)
class Sample:
    """What one stretch of load saw: seconds per request, in the order of their ends."""

    latencies: list[float]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Milliseconds below which this share of the requests were answered."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [
        f"Content-Length: {len(body)}",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(port: int, message: bytes, connections: int, seconds: float, expect: bytes) -> Sample:
    """Load the server for some seconds; every answer must be a 200 whose body holds `expect`."""
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(socket.create_connection(("127.0.0.1", port), 30))
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            _send(connection, message)
        started = time.perf_counter()
        until = started + seconds
        waiting = connections
        while waiting:
            for key, _ in selector.select(30) or _silent():
                if not _is_whole(key.data, expect):
                    continue
                ended = time.perf_counter()
                latencies.append(ended - key.data.sent_at)
                if ended < until:
                    _send(key.data, message)
                else:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()
                    waiting -= 1
        return Sample(latencies, time.perf_counter() - started)


def _silent() -> list[tuple[selectors.SelectorKey, int]]:
    raise UnexpectedAnswer("no answer within 30 seconds")


def _send(connection: _Connection, message: bytes) -> None:
    connection.received.clear()
    connection.sent_at = time.perf_counter()
    connection.socket.sendall(message)


def _is_whole(connection: _Connection, expect: bytes) -> bool:
    """Take in what has come; whether the answer is complete, and what it should be."""
    piece = connection.socket.recv(65536)
    if not piece:
        raise UnexpectedAnswer(f"the server hung up after {bytes(connection.received)!r}")
    connection.received += piece
    head, _, body = connection.received.partition(b"\r\n\r\n")
    _, has_length, length = head.lower().partition(b"\r\ncontent-length:")
    if has_length:
        whole = len(body) >= int(length.partition(b"\r\n")[0])
    else:
        whole = body.endswith(b"0\r\n\r\n")  # Chunked: a bare view knows no length.
    if not whole:
        return False
    if not head.startswith(b"HTTP/1.1 200") or expect not in body:
        raise UnexpectedAnswer(bytes(connection.received[:2000]).decode(errors="replace"))
    return True
