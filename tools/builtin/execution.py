"""`rlm.exec.run`: a caller's own Python, in a process that can do nothing but compute.

What the program says of itself is told as it said it; what is known of it from outside its
process is filled in afterwards, by `report`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from sandbox import interpreter
from sandbox.language import LARGEST_CODE
from sandbox.limits import MIB, STANDARD, Limits
from sandbox.outcomes import Outcome, Status
from tools import isolated_process, scope, side_effects, timeout, tool

NAME = "rlm.exec.run"
LONGEST_MS = 5000
MOST_MB = 256

_SLACK_MB = 16
"""Between the limit at which the program is refused memory and the one at which it is killed:
what it is refused it can tell, so that comes first."""


def _code_within_bounds(code: str) -> str:
    try:
        size = len(code.encode())
    except UnicodeEncodeError:
        raise PydanticCustomError("not_text", "Code is not text") from None
    if size > LARGEST_CODE:
        raise PydanticCustomError("too_large", f"Code too large: {size} > {LARGEST_CODE} bytes")
    return code


def _at_most(largest: int, unit: str, what: str) -> Callable[[int], int]:
    def check(number: int) -> int:
        if number > largest:
            said = f"{what} too large: {number}{unit} > {largest}{unit}"
            raise PydanticCustomError("too_large", said)
        return number

    return check


def _up_to(largest: int) -> Any:
    """A whole number whose bound is in the schema; the check that tells the number is beside it."""
    return Field(strict=True, ge=1, json_schema_extra={"maximum": largest})


Code = Annotated[
    str,
    Field(strict=True, description=f"Python, at most {LARGEST_CODE} bytes of UTF-8"),
    AfterValidator(_code_within_bounds),
]
TimeoutMs = Annotated[
    int, _up_to(LONGEST_MS), AfterValidator(_at_most(LONGEST_MS, "ms", "Timeout"))
]
MemoryMb = Annotated[int, _up_to(MOST_MB), AfterValidator(_at_most(MOST_MB, "MB", "Memory limit"))]


class Provenance(BaseModel):
    """What was run, on what, to what."""

    code_hash: str = ""
    """The first 16 digits of the next."""
    code_sha256: str = ""
    inputs: list[str] = []
    outputs: list[str] = []


class Report(BaseModel):
    """What became of a program; from `artifacts` on nothing is of the program's own saying."""

    model_config = ConfigDict(extra="forbid", strict=True)

    success: bool
    stdout: str
    stderr: str
    truncated: bool
    """Whether the program said more than is kept."""
    value: Any
    """Of the last line, if that is an expression: as JSON, or its `repr`."""
    error: str | None
    artifacts: list[str] = []
    execution_time: float = 0.0
    """Seconds, from the job's sending to the end."""
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None
    exit: int | None = None
    """The process's exit code; none if a signal ended it."""
    signal: int | None = None
    provenance: Provenance = Provenance()


class _Said(BaseModel):
    """The part that comes out of the program's process."""

    model_config = ConfigDict(extra="ignore", strict=True)

    success: bool
    stdout: str
    stderr: str
    truncated: bool
    value: Any
    error: Annotated[str, Field(max_length=interpreter.CAPS.text_characters * 2)] | None


@tool(name=NAME, summary="wants to run Python in session {session_id}")
@scope("rlm.exec")
@side_effects(destructive=True)
@isolated_process
@timeout(LONGEST_MS / 1000)
def run(
    session_id: str,
    code: Code,
    timeout_ms: TimeoutMs = LONGEST_MS,
    memory_limit_mb: MemoryMb = MOST_MB,
) -> Report:
    """Run Python in a process of its own that reaches no file, network or other process."""
    answer = interpreter.run(code)
    if answer.pop("error_type") == "MemoryError":
        answer["error"] = _memory_exceeded(memory_limit_mb)
    return Report(**answer)


def demands(arguments: Mapping[str, Any]) -> tuple[float, Limits]:
    """The deadline in seconds and the limits that a call asks for."""
    memory = int(arguments["memory_limit_mb"]) * MIB
    seconds = int(arguments["timeout_ms"]) / 1000
    limits = replace(
        STANDARD,
        address_space_bytes=memory,
        memory_bytes=memory + _SLACK_MB * MIB,
        cpu_seconds=seconds + 1,
        processes=1,
        result_bytes=2 * MIB,
    )
    return seconds, limits


def report(arguments: Mapping[str, Any], outcome: Outcome) -> Outcome:
    """The outcome in the tool's words, with what is known of it outside its process."""
    if outcome.status is Status.TIMEOUT:
        said = f"Execution timeout: exceeded {arguments['timeout_ms']}ms (R3 compliance)"
        return replace(outcome, error=said)
    if outcome.error_type in ("MemoryLimit", "MemoryError"):
        said = _memory_exceeded(arguments["memory_limit_mb"])
        return replace(outcome, status=Status.KILLED, error_type="MemoryLimit", error=said)
    if outcome.status is Status.SUCCESS:
        return _judged(arguments["code"], outcome)
    return outcome


def _judged(code: str, outcome: Outcome) -> Outcome:
    """The program's part in its form, or a crash: who broke out may answer anything."""
    try:
        data = _whole(code, outcome).model_dump(mode="json")
    except ValueError:  # none of its form, or too deep to be written
        error = "the program's process gave an answer that is none of ours"
        return replace(outcome, status=Status.KILLED, data=None, error_type="Crashed", error=error)
    return replace(outcome, data=data)


def _whole(code: str, outcome: Outcome) -> Report:
    said = _Said.model_validate(outcome.data)
    digest = hashlib.sha256(code.encode()).hexdigest()
    return Report(
        **said.model_dump(),
        execution_time=round(outcome.seconds, 6),
        cpu_seconds=outcome.cpu_seconds,
        max_rss_bytes=outcome.max_rss_bytes,
        exit=0 if outcome.signal is None else None,
        signal=outcome.signal,
        provenance=Provenance(code_hash=digest[:16], code_sha256=digest),
    )


def _memory_exceeded(megabytes: int) -> str:
    return f"Memory limit exceeded: {megabytes}MB (R3 compliance)"
