"""Receivers as processes of their own, which can be killed and started again on the same port."""

import contextlib
import email
import email.policy
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.servers import free_port
from tests.stack import ROOT, until


class Receiver:
    """One process that takes what it is sent."""

    module = ""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{self.module}", str(self.port), self.folder],
            cwd=ROOT,
        )
        until(self._listens)

    def kill(self) -> None:
        """SIGKILL it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """What it has written in whole lines: it may be writing the next one just now."""
        path = self.folder / name
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]


class HTTPReceiver(Receiver):
    """Takes webhooks."""

    module = "http_receiver"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/T0PSECRET-path?token=s3cretquery"

    def answers(self, status: int, body: str = "ok", **headers: str) -> None:
        """How it answers from now on; put in place in one piece."""
        aside = self.folder / "answer.new"
        aside.write_text(json.dumps({"status": status, "body": body, "headers": headers}))
        aside.rename(self.folder / "answer")

    def hang(self, hangs: bool = True) -> None:
        """Take requests and answer none, until told otherwise."""
        (self.folder / "hang").touch() if hangs else (self.folder / "hang").unlink()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request that it has seen."""
        return self._lines("requests")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON of each."""
        return [json.loads(seen["body"]) for seen in self.requests]


class MailReceiver(Receiver):
    """Takes mail."""

    module = "mail_receiver"

    def refuse(self, line: str) -> None:
        """Refuse all mail with this line."""
        (self.folder / "refusal").write_text(line)

    @property
    def messages(self) -> list[tuple[list[str], EmailMessage]]:
        """Every message that it has taken, with those whom it is for."""
        return [(kept["to"], _parsed(kept["text"])) for kept in self._lines("messages")]

    def to(self, address: str) -> list[EmailMessage]:
        """The messages to one address."""
        return [message for to, message in self.messages if address in to]


def _parsed(text: str) -> EmailMessage:
    parsed = email.message_from_string(text, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


@contextlib.contextmanager
def http_receiver() -> Iterator[HTTPReceiver]:
    """A receiver of webhooks that answers 200."""
    with tempfile.TemporaryDirectory(prefix="rampart-http-") as folder:
        receiver = HTTPReceiver(Path(folder))
        receiver.answers(200)
        receiver.start()
        try:
            yield receiver
        finally:
            receiver.kill()


@contextlib.contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """A mail server."""
    with tempfile.TemporaryDirectory(prefix="rampart-mail-") as folder:
        receiver = MailReceiver(Path(folder))
        receiver.start()
        try:
            yield receiver
        finally:
            receiver.kill()
