"""Keys on the wire: two web processes, real headers, real time."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
import requests

from tests.stack import Stack, running, until
from tools import keys

SECONDS_TO_BE_FELT = 1.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Stack]:
    """A deployment of two web processes."""
    with running(RAMPART_WEB_WORKERS="2") as stack:
        yield stack


@pytest.fixture(scope="module")
def bearer_key(pair: Stack) -> bytes:
    """A key of it."""
    return pair.new_key("wired").encode()


def answers_of_both(stack: Stack, key: str) -> list[int]:
    """Statuses over many fresh connections, which the kernel shares out between the processes."""
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    address = f"{stack.base_url}/api/v1/key"
    return [requests.get(address, headers=headers, timeout=10).status_code for _ in range(12)]


@pytest.mark.feature("I2", "I3")
@pytest.mark.parametrize("ending", ["revoke_key", "rotate_key"])
def test_within_a_second_an_ended_key_is_refused_by_every_process(pair: Stack, ending: str) -> None:
    key = pair.new_key("short-lived")
    assert set(answers_of_both(pair, key)) == {200}
    options = ["--overlap", "0d"] if ending == "rotate_key" else []
    pair.manage(ending, keys.prefix_of(key) or "", *options)
    ended = time.monotonic()
    kept_warm = []
    while time.monotonic() < ended + SECONDS_TO_BE_FELT:
        kept_warm += answers_of_both(pair, key)
    assert set(answers_of_both(pair, key)) == {401}
    assert set(kept_warm) <= {200, 401}


@pytest.mark.feature("I3")
def test_a_service_renews_its_key_and_goes_on_with_either_until_the_overlap_ends(
    pair: Stack,
) -> None:
    key = pair.new_key("renewing")
    answer = pair.post("key/rotate", {"overlap": "3s"}, key)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    successor = answer.json()["key"]
    assert pair.get("key", key).status_code == pair.get("key", successor).status_code == 200
    until(lambda: pair.get("key", key).status_code == 401)
    assert pair.get("key", key).json()["code"] == "key_expired"
    assert pair.get("key", successor).status_code == 200
    assert successor not in pair.log("web")


def on_the_wire(stack: Stack, *lines: bytes) -> tuple[int, dict[str, str]]:
    """A request of these header lines, byte for byte; the status and the problem."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as wire:
        head = b"\r\n".join((b"GET /api/v1/tools HTTP/1.1", b"Host: localhost", *lines))
        wire.sendall(head + b"\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.mark.feature("I5", "R7")
@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer"])
def test_a_valid_bearer_key_is_let_in_and_a_bad_one_is_no_success(
    pair: Stack, bearer_key: bytes, name: bytes, scheme: bytes
) -> None:
    assert on_the_wire(pair, name + b": " + scheme + b" " + bearer_key)[0] == 200
    bad = keys.new_key().text.encode()
    status, problem = on_the_wire(pair, name + b": " + scheme + b" " + bad)
    assert (status, problem["code"]) == (401, "invalid_credentials")


@pytest.mark.feature("I5")
def test_two_authorization_headers_are_400_even_if_both_are_good(pair: Stack) -> None:
    line = f"Authorization: Bearer {pair.new_key()}".encode()
    assert on_the_wire(pair, line)[0] == 200
    status, problem = on_the_wire(pair, line, line)
    assert (status, problem["code"]) == (400, "malformed_credentials")


@pytest.mark.feature("I5")
@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Bearer \xff\xfe\xc3\xa4",
        b"Authorization: Bearer " + b"a" * 8193,
        b"X-Rampart-Key: " + b"a" * 8193,
        b"Authorization: Bearer",
        b"Authorization: Basic YTpi",
        b"Authorization: Bearer a b",
    ],
)
def test_what_cannot_be_read_is_401_and_says_so(pair: Stack, line: bytes) -> None:
    status, problem = on_the_wire(pair, line)
    assert (status, problem["code"]) == (401, "malformed_credentials")
    assert "aaaaaaaa" not in str(problem)


@pytest.mark.feature("I10")
def test_over_two_processes_guesses_are_counted_together(pair: Stack) -> None:
    good = pair.new_key()
    statuses = []
    for _ in range(40):
        headers = {"Authorization": f"Bearer {keys.new_key().text}"}
        answer = requests.get(f"{pair.base_url}/api/v1/tools", headers=headers, timeout=10)
        statuses.append(answer.status_code)
    assert statuses.count(401) <= 20 and statuses[-1] == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert pair.get("tools", good).status_code == 200
