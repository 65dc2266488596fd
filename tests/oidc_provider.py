"""An OpenID provider of the tests' own, as a process: strict in what it asks, and it can lie.

`python -m tests.oidc_provider PORT`. It asks for the client's secret and for PKCE, remembers when
each person has proved themselves, ends sessions, and twists what it says as it is told to.
"""

import base64
import contextlib
import hashlib
import html
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from rampart.oidc import BACKEND
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
CLIENT_ID, CLIENT_SECRET = "rampart", "a-secret-between-the-two-of-us"
KEY_ID = "the-first"
ALREADY_SIGNED_IN_FOR = 3600
SECONDS_TO_START = 20


class State:
    """Everything that the provider knows."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.people: dict[str, dict[str, Any]] = {}
        self.twists: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []

    def control(self, given: dict[str, Any]) -> None:
        """People stay until they are replaced, twists until the next word."""
        self.people.update(given.get("people", {}))
        self.twists = given.get("twists", {})
        self.asked.clear()

    def new_code(self, sub: str, request: dict[str, str]) -> str:
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**request, "sub": sub}
        return code

    def spent(self, form: dict[str, str]) -> dict[str, str] | None:
        """The request that the code was given for, if this is who may have it, once."""
        request = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if request is None or request.get("code_challenge_method") != "S256":
            return None
        is_same = (challenge, form.get("redirect_uri")) == (
            request.get("code_challenge"), request["redirect_uri"],
        )  # fmt: skip
        return request if is_same else None

    def answer_for(self, request: dict[str, str]) -> dict[str, str]:
        token = secrets.token_urlsafe(16)
        self.tokens[token] = request["sub"]
        return {"access_token": token, "token_type": "Bearer", "id_token": self.id_token(request)}

    def id_token(self, request: dict[str, str]) -> str:
        now = int(time.time())
        proved = now if request.get("prompt") == "login" else now - ALREADY_SIGNED_IN_FOR
        claims: dict[str, Any] = {
            "iss": self.issuer, "aud": request["client_id"], "sub": request["sub"], "iat": now,
            "exp": now + 300, "auth_time": proved, "nonce": request.get("nonce"),
        } | self.twists.get("claims", {})  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        signature = self.twists.get("signature", "RS256")
        key = {"RS256": self.key, "RS512": self.key, "other": self.other_key, "none": None,
               "HS256": CLIENT_SECRET}  # fmt: skip
        algorithm = "RS256" if signature == "other" else signature
        return jwt.encode(kept, key[signature], algorithm, headers={"kid": KEY_ID})

    def userinfo(self, token: str) -> dict[str, Any]:
        sub = self.tokens[token]
        return {"sub": sub, **self.people[sub], **self.twists.get("userinfo", {})}

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        shared = {"kty": "oct", "kid": KEY_ID, "k": "AAAA"}
        return {"keys": [shared, {**public, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    state: State

    def do_GET(self) -> None:
        self._do("GET")

    def do_POST(self) -> None:
        self._do("POST")

    def do_PUT(self) -> None:
        self.state.control(json.loads(self._body()))
        self._send(200, "{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: whoever wants to know asks."""

    def _do(self, method: str) -> None:
        parts = urlsplit(self.path)
        query, form = dict(parse_qsl(parts.query)), dict(parse_qsl(self._body()))
        if parts.path == "/asked":
            return self._send(200, json.dumps(self.state.asked))
        given = {"path": parts.path, "query": query, "form": form}
        self.state.asked.append(given | {"authorization": self.headers.get("Authorization", "")})
        twist = self.state.twists.get("answers", {}).get(parts.path)
        if twist:
            return self._send(twist[0], twist[1], Location=twist[1])
        endpoint = getattr(self, f"{method.lower()}_{parts.path[1:]}", None)
        return endpoint(query, form) if endpoint else self._send(404, "{}")

    def get_authorize(self, query: dict[str, str], form: dict[str, str]) -> None:
        buttons = "".join(
            f'<button name="sub" value="{html.escape(sub)}">{html.escape(sub)}</button>'
            for sub in self.state.people
        )
        page = f'<!DOCTYPE html><title>Provider</title><form method="post">{buttons}'
        self._send(200, f'{page}<button name="denied" value="1">Refuse</button></form>', html=True)

    def post_authorize(self, query: dict[str, str], form: dict[str, str]) -> None:
        said = {"error": "access_denied"}
        if "denied" not in form:
            said = {"code": self.state.new_code(form["sub"], query), "iss": self.state.issuer}
        said |= {"state": query["state"]} | self.state.twists.get("callback", {})
        self._send(302, "", Location=f"{query['redirect_uri']}?{urlencode(said)}")

    def post_token(self, query: dict[str, str], form: dict[str, str]) -> None:
        both = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
        basic = f"Basic {base64.b64encode(both).decode()}"
        if form.get("client_secret") != CLIENT_SECRET and basic != self.headers["Authorization"]:
            return self._send(401, '{"error": "invalid_client"}')
        if (request := self.state.spent(form)) is None:
            return self._send(400, '{"error": "invalid_grant"}')
        return self._send(200, json.dumps(self.state.answer_for(request)))

    def get_userinfo(self, query: dict[str, str], form: dict[str, str]) -> None:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self._send(200, json.dumps(self.state.userinfo(token)))

    def get_jwks(self, query: dict[str, str], form: dict[str, str]) -> None:
        self._send(200, json.dumps(self.state.jwks()))

    def get_end_session(self, query: dict[str, str], form: dict[str, str]) -> None:
        back = html.escape(query["post_logout_redirect_uri"])
        page = f"<!DOCTYPE html><title>Provider</title><p>{html.escape(query['client_id'])}"
        self._send(200, f'{page}<a href="{back}">Back</a>', html=True)

    def _body(self) -> str:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def _send(self, status: int, body: str, *, html: bool = False, Location: str = "") -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status in range(300, 400):
            self.send_header("Location", Location)
        self.end_headers()
        self.wfile.write(content)


class Provider:
    """The process, as the tests see it."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"

    @property
    def settings(self) -> dict[str, str]:
        """What Rampart has to know of it."""
        return {
            "OIDC_OP_ISSUER": self.issuer,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{self.issuer}/authorize",
            "OIDC_OP_TOKEN_ENDPOINT": f"{self.issuer}/token",
            "OIDC_OP_USER_ENDPOINT": f"{self.issuer}/userinfo",
            "OIDC_OP_JWKS_ENDPOINT": f"{self.issuer}/jwks",
            "OIDC_OP_END_SESSION_ENDPOINT": f"{self.issuer}/end_session",
            "OIDC_RP_CLIENT_ID": CLIENT_ID,
            "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
        }

    def be_trusted(self, settings: Any) -> None:
        """Make it the provider that people sign in with."""
        for name, value in self.settings.items():
            setattr(settings, name, value)
        settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, BACKEND]

    def control(self, people: dict[str, Any] | None = None, **twists: Any) -> None:
        """Who there is, and what to lie about from now on."""
        given = {"people": people or {}, "twists": twists}
        requests.put(f"{self.issuer}/control", json=given, timeout=10).raise_for_status()

    def asked(self, path: str) -> list[dict[str, Any]]:
        """What it was asked at an endpoint since the last word."""
        found = requests.get(f"{self.issuer}/asked", timeout=10).json()
        return [one for one in found if one["path"] == path]

    def agree(self, address: str, sub: str) -> str:
        """What the person's browser does there; the address that it is sent back to."""
        answer = requests.post(address, {"sub": sub}, allow_redirects=False, timeout=10)
        return answer.headers["Location"]

    def refuse(self, address: str) -> str:
        """The person presses the other button."""
        answer = requests.post(address, {"denied": "1"}, allow_redirects=False, timeout=10)
        return answer.headers["Location"]


@contextlib.contextmanager
def running() -> Iterator[Provider]:
    """A provider of one's own."""
    port = servers.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.oidc_provider", str(port)], cwd=ROOT, start_new_session=True
    )
    provider = Provider(port)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not _answers(provider):
            assert time.monotonic() < deadline and process.poll() is None, "no provider"
            time.sleep(0.05)
        yield provider
    finally:
        process.terminate()
        process.wait(10)


def _answers(provider: Provider) -> bool:
    try:
        return requests.get(f"{provider.issuer}/jwks", timeout=2).ok
    except requests.RequestException:
        return False


if __name__ == "__main__":
    port = int(sys.argv[1])
    Handler.state = State(f"http://127.0.0.1:{port}")
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
