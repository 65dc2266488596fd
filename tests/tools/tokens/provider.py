"""A provider of tokens: real keys, tokens of any make, and a server that answers as it is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.utils import base64url_encode

Json = dict[str, Any]
ALGORITHMS: dict[str, Algorithm] = get_default_algorithms()
SECRET = "a shared secret of more than the thirty-two bytes that are needed, and then some"
ISSUER = "https://issuer.example/"
AUDIENCE = "https://rampart.example/"
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def key_for(algorithm: str, name: str = "") -> Any:
    """What signs by this algorithm; the same for the same name."""
    if algorithm.startswith("HS"):
        return SECRET.encode()
    if algorithm.startswith("ES"):
        return ec.generate_private_key(CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed448.Ed448PrivateKey.generate() if name == "448" else _ed25519()
    return rsa_key(name=name)


@cache
def rsa_key(bits: int = 2048, name: str = "") -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _ed25519() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk_of(algorithm: str, kid: str | None = "k1", name: str = "", **members: Any) -> Json:
    """The public half as it is published."""
    return published(algorithm, key_for(algorithm, name), kid, **members)


def published(algorithm: str, key: Any, kid: str | None, **members: Any) -> Json:
    named = {} if kid is None else {"kid": kid}
    jwk: Json = ALGORITHMS[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**jwk, **named, **members}


def claims(**changed: Any) -> Json:
    """What a good token says; a claim set to None is left out."""
    now = int(time.time())
    usual = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "billing-agent", "iat": now, "exp": now + 300,
        "scope": "orders.read refunds.write",
    }  # fmt: skip
    return {name: value for name, value in (usual | changed).items() if value is not None}


def token(
    algorithm: str = "RS256", kid: str | None = "k1", name: str = "", *,
    header: Json | None = None, **changed: Any,
) -> str:  # fmt: skip
    """A token as a good provider signs it."""
    named = {} if kid is None else {"kid": kid}
    head = {"alg": algorithm, "typ": "JWT", **named, **(header or {})}
    return signed(head, claims(**changed), algorithm, name)


def signed(header: Any, payload: Any, algorithm: str = "RS256", name: str = "") -> str:
    """Any header over any payload, with a right signature by the algorithm, whatever they say."""
    key = key_for(algorithm, name)
    return compose(header, payload, lambda text: ALGORITHMS[algorithm].sign(text, key))


def compose(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """Parts as they are if they are bytes, else as JSON."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    text = b".".join(base64url_encode(part) for part in parts)
    return b".".join([text, base64url_encode(sign(text))]).decode()


@dataclass
class Asked:
    """One request, as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class Reply:
    """What is answered. `pieces` are sent one by one; `until` must be set before anything is."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    until: threading.Event | None = None
    pieces: Iterator[bytes] | None = None
    raw_head: Iterator[bytes] | None = None


def as_json(value: Any, **options: Any) -> Reply:
    return Reply(json.dumps(value).encode(), **options)


class Provider:
    """Counts what it is asked and answers what `answer` says."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Reply] = lambda asked: as_json({"keys": []})
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.provider = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"

    def publishes(self, *keys: Json) -> None:
        """From now on these are its keys."""
        self.answer = lambda asked: as_json({"keys": list(keys)})

    def says(self, **answer: Any) -> None:
        """From now on this is what it says of every token."""
        self.answer = lambda asked: as_json(answer)

    def fails(self, status: int = 500) -> None:
        """From now on nothing else."""
        self.answer = lambda asked: Reply(b"{}", status)


@contextmanager
def running() -> Iterator[Provider]:
    """A provider that serves until the end."""
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
        thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    provider: Provider

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked may have left: that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        form = parse_qs(self.rfile.read(length).decode(), strict_parsing=bool(length))
        asked = Asked(
            self.command,
            self.path,
            dict(self.headers),
            {name: one for name, (one,) in form.items()},
        )
        provider = self.server.provider
        provider.asked.append(asked)
        self._send(provider.answer(asked))

    do_POST = do_GET

    def _send(self, reply: Reply) -> None:
        if reply.until is not None:
            assert reply.until.wait(30)
        for piece in reply.raw_head or ():
            self.wfile.write(piece)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.pieces is None:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        for piece in reply.pieces or [reply.body]:
            self.wfile.write(piece)

    def log_message(self, *args: Any) -> None:
        """Nothing: pytest's output is for failures."""
