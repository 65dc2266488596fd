"""`make run`, as a newcomer types it."""

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests import servers
from tests.processes import heed_interrupts
from tests.stack import ROOT, gone, until

pytestmark = pytest.mark.stack

SECRETS = re.compile(r"Password:\s+(\S+)|RAMPART_KEY=(\S+)")


class Run:
    """One `make run` in a terminal of its own, with its output in a file."""

    def __init__(self, folder: Path, port: int, log: Path) -> None:
        self.log, self.port = log, port
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {"RAMPART_VAR": str(folder), "RAMPART_PORT": str(port)}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "run"], cwd=ROOT, env=environment, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=heed_interrupts,
            )  # fmt: skip

    def said(self) -> str:
        """What has been printed."""
        return self.log.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether everything would be carried out."""
        assert self.process.poll() is None, self.said()
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/api/v1/ready", timeout=2).ok
        except requests.ConnectionError:
            return False

    def interrupt(self) -> list[int]:
        """Ctrl-C; returns the processes that there were."""
        below = [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return below


@pytest.mark.feature("E2", "E3")
def test_one_command_reaches_a_working_admin_and_api_and_stops_without_a_trace(
    tmp_path: Path,
) -> None:
    folder, port = tmp_path / "var", servers.free_port()
    first = Run(folder, port, tmp_path / "first.log")
    try:
        until(first.ready, 120, first.said)
        said = first.said()
        (password, _), (_, key) = SECRETS.findall(said)
        assert f"http://127.0.0.1:{port}/admin/" in said
        assert "demo-reviewer" in said
        assert said.count("curl ") == 3
        _held_call_is_approved(f"http://127.0.0.1:{port}", password, key)
        by_hand = subprocess.run(
            [str(ROOT / ".venv/bin/python"), "manage.py", "sync_tools", "--dry-run"],
            cwd=ROOT, capture_output=True, text=True, check=True,
            env={"PATH": os.environ["PATH"], "RAMPART_VAR": str(folder)},
        )  # fmt: skip
        assert by_hand.stdout == ""
    finally:
        below = first.interrupt()
    until(lambda: all(gone(pid) for pid in below), 10, first.said)
    assert oct((folder / "secrets.env").stat().st_mode & 0o777) == "0o600"

    second = Run(folder, port, tmp_path / "second.log")
    try:
        until(second.ready, 120, second.said)
        assert SECRETS.findall(second.said()) == []
        answer = _invoke(f"http://127.0.0.1:{port}", key, "lookup_order", order_id="A-1")
        assert answer.json()["status"] == "success"
    finally:
        below = second.interrupt()
    until(lambda: all(gone(pid) for pid in below), 10, second.said)


def _invoke(base: str, key: str, tool: str, **arguments: Any) -> requests.Response:
    return requests.post(
        f"{base}/api/v1/tools/{tool}/invoke", json={"arguments": arguments}, timeout=60,
        headers={"Authorization": f"Bearer {key}"},
    )  # fmt: skip


def _held_call_is_approved(base: str, password: str, key: str) -> None:
    held = _invoke(base, key, "refund_payment", order_id="A-1", amount=900).json()
    assert held["status"] == "requires_approval"
    browser = requests.Session()
    browser.get(f"{base}/admin/login/")
    form = {"username": "demo-reviewer", "password": password, "next": "/admin/"}
    form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
    browser.post(f"{base}/admin/login/", form)
    answer = browser.post(
        f"{base}/api/v1/approvals/{held['approval_id']}/approve", json={},
        headers={"X-CSRFToken": browser.cookies["csrftoken"], "Referer": base},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    ended = requests.get(
        f"{base}/api/v1/invocations/{held['invocation_id']}?wait=30", timeout=60,
        headers={"Authorization": f"Bearer {key}"},
    ).json()  # fmt: skip
    assert (ended["status"], ended["data"]["amount"]) == ("success", 900)
