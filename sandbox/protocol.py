"""Frames between the server and the processes below it: a length and UTF-8 JSON.

JSON and not pickle, because the far end runs a tool's code: what comes from there is data to
judge and must not be able to build objects here.
"""

import json
import math
import socket
import struct
from array import array
from collections.abc import Iterable
from typing import Any

from sandbox.errors import BadFrame

LARGEST_FRAME = 64 * 1024 * 1024
"""The most that is read where the sender is trusted; elsewhere the caller gives a smaller cap."""

_HEADER = struct.Struct(">I")
_CHUNK = 64 * 1024
_DESCRIPTOR_BYTES = array("i").itemsize


def encode(value: Any) -> bytes:
    """Compact JSON, or TypeError or ValueError where the value is not JSON."""
    return _ENCODER.encode(value).encode()


def decode(payload: bytes) -> Any:
    try:
        value = _DECODER.decode(payload.decode())
        if b"\\ud" in payload or b"\\uD" in payload:
            encode(value)  # half a surrogate pair would only fail later, far from here
    except (ValueError, RecursionError) as error:
        raise BadFrame from error
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 is written like JSON and cannot be written as JSON again
        raise ValueError("number out of range")
    return number


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def frame(payload: bytes) -> bytes:
    return _HEADER.pack(len(payload)) + payload


def send(sock: socket.socket, value: Any, descriptors: Iterable[int] = ()) -> None:
    data = frame(encode(value))
    numbers = array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
    sent = sock.sendmsg([data], ancillary)
    sock.sendall(data[sent:])


def receive(sock: socket.socket, cap: int = LARGEST_FRAME) -> Any:
    """The next frame, waiting for it; EOFError once the far end is closed."""
    return receive_with_descriptor(sock, cap)[0]


def receive_with_descriptor(
    sock: socket.socket, cap: int = LARGEST_FRAME
) -> tuple[Any, int | None]:
    """A frame and the descriptor that came with it.

    The kernel hands a descriptor over with the first byte it was sent with: the header.
    """
    header, ancillary, _flags, _address = sock.recvmsg(
        _HEADER.size, socket.CMSG_LEN(_DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC
    )
    header += _read_exactly(sock, _HEADER.size - len(header)) if header else b""
    if not header:
        raise EOFError
    payload = _read_exactly(sock, _checked_length(header, cap))
    return decode(payload), _descriptor_in(ancillary)


def _descriptor_in(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            return array("i", data)[0]
    return None


def _checked_length(header: bytes | bytearray, cap: int) -> int:
    length: int = _HEADER.unpack(header)[0]
    if length > cap:
        raise BadFrame(f"a frame of {length} bytes is over the cap of {cap}")
    return length


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(size - len(data), _CHUNK))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


class Reader:
    """Frames out of a socket whose far end is not trusted: never waits, never over the cap."""

    def __init__(self, sock: socket.socket, cap: int) -> None:
        self._sock = sock
        self._cap = cap
        self._buffer = bytearray()
        self.at_end = False

    def fill(self) -> bool:
        """Take what has arrived; False once there is nothing more for now."""
        try:
            chunk = self._sock.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:  # reset: the far end died with our bytes unread
            chunk = b""
        self._buffer += chunk
        self.at_end = not chunk
        return bool(chunk)

    def next(self) -> Any | None:
        """The next whole frame, or None: no frame of ours is JSON null."""
        if len(self._buffer) < _HEADER.size:
            return None
        end = _HEADER.size + _checked_length(self._buffer[: _HEADER.size], self._cap)
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        value = decode(payload)
        if value is None:
            raise BadFrame
        return value

    @property
    def is_empty(self) -> bool:
        return not self._buffer
