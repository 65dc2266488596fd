"""`rlm.exec.run`: its bounds, what it answers, and that its process can't say otherwise."""

import hashlib
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.limits import MIB
from sandbox.outcomes import Outcome, Status
from sandbox.process import Workshop
from sandbox.profiles import STRICT
from tools import registry, schemas
from tools.builtin import execution
from tools.definition import ToolDefinition
from tools.errors import UnknownTool

Run = Callable[..., Outcome]
SAID = {
    "success": True, "stdout": "out", "stderr": "", "truncated": False, "value": 1, "error": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def tool() -> ToolDefinition:
    """The tool as every deployment has it."""
    return registry.find("rlm.exec.run")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """The processes that it runs in."""
    made = Workshop("tools.running:run", ["tools.builtin.execution", "tools.prepared"])
    yield made
    made.close()


@pytest.fixture
def run(tool: ToolDefinition, workshop: Workshop) -> Run:
    """One call as a worker makes it: validated, run in the jail, reported."""

    def do(code: str, **given: Any) -> Outcome:
        arguments = schemas.frozen(tool.validate({"session_id": "s", "code": code, **given}))
        seconds, limits = execution.demands(arguments)
        job = {"tool": tool.name, "arguments": arguments}
        outcome = workshop.run(job, timeout=seconds, profile=STRICT, limits=limits)
        return execution.report(arguments, outcome)

    return do


def fault(tool: ToolDefinition, **given: Any) -> str:
    """What is wrong with a call's arguments."""
    with pytest.raises(ValidationError) as refusal:
        tool.validate({"session_id": "s", "code": "1", **given})
    (item,) = refusal.value.errors(include_input=False)
    return f"{item['loc'][0]}: {item['msg']}"


# The door.


def test_it_is_destructive_and_neither_read_only_nor_idempotent(tool: ToolDefinition) -> None:
    effects = tool.side_effects
    assert (effects.read_only, effects.destructive, effects.idempotent) == (False, True, False)


def test_it_answers_to_its_name_with_underscores_as_well(tool: ToolDefinition) -> None:
    assert registry.find("rlm_exec_run") is tool
    assert "rlm_exec_run" not in registry.loaded()
    assert registry.canonical("rlm_exec_run") == registry.canonical("rlm.exec.run") == tool.name


@pytest.mark.parametrize("name", ["rlm_exec", "rlm_exec_run_", "RLM_exec_run", "other_exec_run"])
def test_no_other_name_is_taken_for_it(name: str) -> None:
    assert registry.canonical(name) == name
    with pytest.raises(UnknownTool):
        registry.find(name)


@pytest.mark.feature("S4", "R4")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timeout_ms": 5001}, "timeout_ms: Timeout too large: 5001ms > 5000ms"),
        ({"timeout_ms": 10**30}, f"timeout_ms: Timeout too large: {10**30}ms > 5000ms"),
        ({"memory_limit_mb": 257}, "memory_limit_mb: Memory limit too large: 257MB > 256MB"),
        ({"code": "#" * 10_241}, "code: Code too large: 10241 > 10240 bytes"),
        ({"code": "#" + "é" * 5120}, "code: Code too large: 10241 > 10240 bytes"),
        ({"code": "'\ud800'"}, "code: Code is not text"),
    ],
)
def test_more_than_the_servers_limits_is_refused_with_the_number(
    tool: ToolDefinition, given: dict[str, Any], said: str
) -> None:
    assert fault(tool, **given) == said


@pytest.mark.feature("S4", "R4")
@pytest.mark.parametrize("name", ["timeout_ms", "memory_limit_mb"])
@pytest.mark.parametrize("value", [0, -1, True, False, None, 1.5, "5", 5.0])
def test_a_limit_that_is_no_whole_number_above_zero_is_refused(
    tool: ToolDefinition, name: str, value: Any
) -> None:
    assert fault(tool, **{name: value}).startswith(f"{name}: Input should be")


@pytest.mark.feature("S4")
def test_exactly_the_limits_are_accepted_and_are_the_defaults(run: Run) -> None:
    code = "#" + "é" * 5119 + "\n"
    assert len(code.encode()) == 10_240
    assert run(code, timeout_ms=5000, memory_limit_mb=256).status is Status.SUCCESS
    assert execution.demands({"timeout_ms": 5000, "memory_limit_mb": 256})[0] == 5.0


# What it answers.


@pytest.mark.feature("S1", "R1")
def test_a_programs_result_is_told_with_what_is_known_from_outside(run: Run) -> None:
    code = "print('hello')\n6 * 7"
    outcome = run(code)
    data = outcome.data
    digest = hashlib.sha256(code.encode()).hexdigest()
    assert outcome.status is Status.SUCCESS
    assert (data["success"], data["stdout"], data["value"]) == (True, "hello\n", 42)
    assert (data["stderr"], data["error"], data["truncated"]) == ("", None, False)
    assert (data["exit"], data["signal"], data["artifacts"]) == (0, None, [])
    assert data["provenance"] == {
        "code_hash": digest[:16], "code_sha256": digest, "inputs": [], "outputs": [],
    }  # fmt: skip
    assert 0 < data["execution_time"] < 60
    assert data["cpu_seconds"] >= 0
    assert data["max_rss_bytes"] > MIB


@pytest.mark.feature("S8", "R6")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os", "Blocked import: os"),
        ("().__class__", "Blocked attribute access: __class__"),
        ("if", "SyntaxError: invalid syntax (line 1)"),
        ("return", "SyntaxError: 'return' outside function (line 1)"),
        ("'\\d' 1", "SyntaxError: invalid syntax (line 1)"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_program_that_fails_is_a_call_that_succeeds(run: Run, code: str, error: str) -> None:
    outcome = run(code)
    assert outcome.status is Status.SUCCESS
    assert (outcome.data["success"], outcome.data["error"]) == (False, error)
    assert error in outcome.data["stderr"]


@pytest.mark.feature("R4")
@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(60)"])
def test_a_program_past_its_deadline_is_ended(run: Run, code: str) -> None:
    outcome = run(code, timeout_ms=300)
    assert outcome.status is Status.TIMEOUT
    assert outcome.error == "Execution timeout: exceeded 300ms (R3 compliance)"


@pytest.mark.feature("R4")
@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(300 << 20)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "x = [0] * 10**12",
    ],
)
def test_a_program_out_of_memory_is_told_so_in_order(run: Run, code: str) -> None:
    outcome = run(code)
    assert outcome.status is Status.SUCCESS, outcome
    assert outcome.data["success"] is False
    assert outcome.data["error"] == "Memory limit exceeded: 256MB (R3 compliance)"


def test_most_of_the_memory_limit_is_the_programs(run: Run) -> None:
    assert run("x = bytearray(200 << 20)\nlen(x)").data["value"] == 200 << 20
    low = run("x = bytearray(40 << 20)", memory_limit_mb=32)
    assert low.data["error"] == "Memory limit exceeded: 32MB (R3 compliance)"


@pytest.mark.feature("S1")
def test_the_servers_own_limits_are_as_they_were(run: Run) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    run("x = bytearray(300 << 20)")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(300 * MIB)) == 300 * MIB


def test_a_value_too_deep_to_be_told_does_not_cost_the_output(run: Run) -> None:
    """It would be no result of the tool's: none that can be written as JSON."""
    outcome = run("print('kept')\nx = 1\nfor _ in range(400):\n    x = [x]\nx")
    assert outcome.status is Status.SUCCESS
    assert (outcome.data["stdout"], outcome.data["value"][:3]) == ("kept\n", "[[[")


def test_a_mebibyte_of_output_comes_back(run: Run) -> None:
    data = run("print('x' * (1024 * 1024 - 1))").data
    assert (len(data["stdout"]), data["truncated"]) == (MIB, False)
    data = run("print('é' * 2_000_000)").data
    assert (len(data["stdout"]), data["truncated"]) == (500_000, True)


# What its process can't say.


ARGUMENTS = {"session_id": "s", "code": "1", "timeout_ms": 100, "memory_limit_mb": 64}


def test_a_childs_word_on_what_is_known_from_outside_is_ignored() -> None:
    forged = {
        **SAID, "exit": 9, "signal": 9, "execution_time": 0.0, "cpu_seconds": 99.0,
        "max_rss_bytes": 1, "artifacts": ["x"], "provenance": {"code_hash": "forged"},
    }  # fmt: skip
    outcome = Outcome(Status.SUCCESS, data=forged, seconds=0.5, cpu_seconds=0.2, max_rss_bytes=7)
    data = execution.report(ARGUMENTS, outcome).data
    digest = hashlib.sha256(b"1").hexdigest()
    assert (data["exit"], data["signal"], data["execution_time"]) == (0, None, 0.5)
    assert (data["cpu_seconds"], data["max_rss_bytes"], data["artifacts"]) == (0.2, 7, [])
    assert data["provenance"]["code_hash"] == digest[:16]
    assert (data["stdout"], data["value"]) == ("out", 1)


@pytest.mark.parametrize(
    "answer",
    [
        None, [], "x", 1, {}, {**SAID, "success": 1}, {**SAID, "stdout": None},
        {**SAID, "stderr": 1},
        {**SAID, "error": ["x"]}, {**SAID, "truncated": "no"}, {**SAID, "error": "x" * 10_000},
        {name: value for name, value in SAID.items() if name != "value"},
        {**SAID, "value": reduce(lambda inner, _: [inner], range(500), 1)},
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_a_crash(answer: Any) -> None:
    outcome = execution.report(ARGUMENTS, Outcome(Status.SUCCESS, data=answer))
    assert (outcome.status, outcome.error_type, outcome.data) == (Status.KILLED, "Crashed", None)


@pytest.mark.parametrize("kind", ["MemoryLimit", "MemoryError"])
def test_a_process_that_died_of_memory_is_told_in_the_gateways_words(kind: str) -> None:
    outcome = execution.report(ARGUMENTS, Outcome(Status.KILLED, error_type=kind))
    assert (outcome.status, outcome.error_type) == (Status.KILLED, "MemoryLimit")
    assert outcome.error == "Memory limit exceeded: 64MB (R3 compliance)"


def test_other_ends_are_told_as_they_are() -> None:
    for outcome in (
        Outcome(Status.KILLED, error="x", error_type="Violation"),
        Outcome(Status.CANCELLED, error="x"),
        Outcome(Status.ERROR, error="x", error_type="KeyError"),
    ):
        assert execution.report(ARGUMENTS, outcome) == replace(outcome)
