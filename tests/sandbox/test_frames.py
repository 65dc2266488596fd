"""A frame is a length and JSON; nothing else passes."""

import os
import socket
import struct

import pytest

from sandbox import protocol
from sandbox.errors import BadFrame


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_a_value_arrives_as_it_was_sent(ends):
    protocol.send(ends[0], {"a": [1, "é", None]})
    assert protocol.receive(ends[1]) == {"a": [1, "é", None]}


def test_a_descriptor_comes_with_its_frame(ends, tmp_path):
    with open(tmp_path / "file", "w") as file:
        protocol.send(ends[0], {"first": 1})
        protocol.send(ends[0], {"second": 2}, [file.fileno()])
    assert protocol.receive_with_descriptor(ends[1]) == ({"first": 1}, None)
    value, descriptor = protocol.receive_with_descriptor(ends[1])
    assert value == {"second": 2}
    assert not os.get_inheritable(descriptor)
    assert os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "file")
    os.close(descriptor)


def test_the_end_of_the_socket_is_no_frame(ends):
    ends[0].close()
    with pytest.raises(EOFError):
        protocol.receive(ends[1])


def test_half_a_frame_is_the_end_of_the_socket(ends):
    ends[0].sendall(b"\0\0\0\x09{}")
    ends[0].close()
    with pytest.raises(EOFError):
        protocol.receive(ends[1])


def test_a_frame_over_the_cap_is_refused_unread(ends):
    ends[0].sendall(struct.pack(">I", 101))
    with pytest.raises(BadFrame):
        protocol.receive(ends[1], 100)


def test_a_reader_never_waits_and_takes_frames_in_pieces(ends):
    reader = protocol.Reader(ends[1], 100)
    assert (reader.fill(), reader.next()) == (False, None)
    data = protocol.frame(b"[1]") + protocol.frame(b"[2]")
    for byte in data:
        ends[0].sendall(bytes([byte]))
        assert reader.fill()
    assert [reader.next(), reader.next(), reader.next()] == [[1], [2], None]
    assert reader.is_empty
    ends[0].close()
    assert not reader.fill()
    assert reader.at_end


def test_a_reader_refuses_a_frame_over_its_cap_at_the_header(ends):
    reader = protocol.Reader(ends[1], 100)
    ends[0].sendall(struct.pack(">I", 101))
    reader.fill()
    with pytest.raises(BadFrame):
        reader.next()


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"NaN", b"[Infinity]", b"1e999", b"\xff", b'"\\udc00"', b"[" * 99_999]
)
def test_what_is_not_json_is_a_bad_frame(payload):
    with pytest.raises(BadFrame):
        protocol.decode(payload)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800", object()])
def test_what_is_not_json_is_never_sent(value):
    with pytest.raises((TypeError, ValueError)):
        protocol.encode(value)
