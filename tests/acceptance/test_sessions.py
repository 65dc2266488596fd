"""Sessions with real processes: what is charged is on record, whoever is killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.stack import Stack

pytestmark = pytest.mark.stack


@pytest.fixture(params=["stack", "production_stack"])
def deployment(request: pytest.FixtureRequest) -> Stack:
    """The embedded default, and PostgreSQL with Redis."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.mark.feature("B2", "B3", "B4", "B6")
def test_a_session_outlives_the_web_process_that_opened_it(
    deployment: Stack, tmp_path: Path
) -> None:
    key, trace = deployment.new_key(), str(tmp_path / "trace")
    opened = deployment.post("sessions", {"config": {"max_tool_calls": 12}}, key)
    session = opened.json()["session_id"]
    at_once = Barrier(30)

    def call(number: int, *, together: bool = True) -> Any:
        body = {"arguments": {"path": trace}, "session_id": session}
        if together:
            at_once.wait(60)
        return deployment.post("tools/leave_trace/invoke", body, key, Prefer="respond-async")

    for number in range(2):
        assert call(number, together=False).status_code == 202
    deployment.kill("web")
    deployment.start("web")
    shown = deployment.get(f"sessions/{session}", key).json()
    assert (shown["usage"]["tool_calls"], shown["status"]) == (2, "open")

    with ThreadPoolExecutor(30) as pool:
        codes = [answer.status_code for answer in pool.map(call, range(30))]
    assert (codes.count(202), codes.count(429)) == (10, 20)
    assert deployment.get(f"sessions/{session}", deployment.new_key("other")).status_code == 404

    deployment.kill("web")
    deployment.start("web")
    assert call(0, together=False).json()["error"] == "Tool call budget exceeded: 12 >= 12"
    report = deployment.get(f"sessions/{session}/provenance", key).json()
    assert (len(report["calls"]), report["provenance_graph"]["tool_calls"]) == (12, 12)
    assert deployment.manage("verify_audit").startswith("OK")
