"""The API under a fuzzer that reads its schema; afterwards nothing has happened that should not."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.rampart.fuzzing import HELD, Range, shooting_range

pytestmark = [pytest.mark.postgres, pytest.mark.stack, pytest.mark.timeout(600)]

EXAMPLES = 8


@pytest.fixture(scope="module")
def target() -> Iterator[Range]:
    with shooting_range() as found:
        yield found


@pytest.fixture(scope="module")
def runs(target: Range) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the fuzzer said as each of the three; the person first, while calls still wait."""
    who = {"person": target.session, "key": target.as_key(), "nobody": {}}
    return {name: target.fuzz(headers, EXAMPLES) for name, headers in who.items()}


@pytest.mark.feature("H2", "H6", "E27")
@pytest.mark.parametrize("who", ["person", "key", "nobody"])
def test_every_answer_is_as_described(
    target: Range, runs: dict[str, subprocess.CompletedProcess[str]], who: str
) -> None:
    """All checks of schemathesis, on every operation but the document that it reads first."""
    assert runs[who].returncode == 0, runs[who].stdout + runs[who].stderr + target.stack.log("web")
    described = target.stack.get("schema", target.key).json()["paths"]
    operations = sum(map(len, described.values())) - 1
    assert f"Tested: {operations}" in runs[who].stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in runs[who].stdout.replace("  ", " ")


@pytest.mark.usefixtures("runs")
def test_the_fuzzer_came_past_the_gate(target: Range) -> None:
    """It met decisions, refusals of them and calls: not only what is in front of them."""
    told = json.loads(target.stack.python(TOLD))
    for name in (
        "approval:approved", "approval:rejected", "invocation:cancelled", "invocation:finished",
        "invocation:refused input_validation_error", "approval:refused machine_cannot_approve",
        "approval:refused already_decided", "credentials:refused invalid_credentials",
    ):  # fmt: skip
        assert told.get(name, 0) > 0, told


@pytest.mark.feature("H2")
@pytest.mark.usefixtures("runs")
def test_nothing_ran_that_nobody_allowed(target: Range) -> None:
    calls = json.loads(target.stack.python(CALLS))
    assert len(calls) >= HELD
    for tool, actor, has_run, needed, voters in calls:
        assert actor == "fuzzer", tool
        assert not (has_run and needed) or voters == ["rosa"], (tool, voters)


@pytest.mark.usefixtures("runs")
def test_the_ledger_still_verifies_and_the_server_still_answers(target: Range) -> None:
    assert target.stack.manage("verify_audit").startswith("OK")
    assert target.stack.get("ready", target.key).status_code == 200
    assert "Traceback" not in target.stack.log("web")


TOLD = """
import json
from collections import Counter
from audit.models import Event
rows = Event.objects.values_list("event", "reason")
print(json.dumps(Counter(f"{event} {reason}".strip() for event, reason in rows)))
"""
CALLS = """
import json
from approvals.models import Invocation, Vote
print(json.dumps([
    [
        row.tool_name, row.actor, row.started_at is not None,
        row.tool_name == "delete_account" or row.arguments.get("amount", 0) > 500,
        [str(vote.reviewer) for vote in Vote.objects.filter(
            approval__invocation=row, verdict="approve"
        )],
    ]
    for row in Invocation.objects.all()
]))
"""
