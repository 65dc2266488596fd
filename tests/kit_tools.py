"""Tools for the tests: each leaves a trace in a file, so that an effect can be counted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tools import (
    isolated_process,
    max_retries,
    policy,
    progress,
    rate_limit,
    redact,
    require_approval,
    require_idempotency_key,
    scope,
    side_effects,
    timeout,
    tool,
)

DOCS = str(Path(__file__).resolve().parent.parent / "docs")


def _leave(path: str, text: str) -> int:
    """Append one line, in one write; returns how many lines there are."""
    with open(path, "a") as file:
        file.write(f"{text}\n")
    return len(Path(path).read_text().splitlines())


def weekdays_only(context: Any, arguments: dict[str, Any]) -> bool | str:
    """Denies what is asked for on a weekend."""
    return arguments["day"] not in ("saturday", "sunday")


def broken(context: Any, arguments: dict[str, Any]) -> bool:
    """A policy that fails."""
    raise RuntimeError(f"cannot judge {arguments['day']}")


async def slow_judge(context: Any, arguments: dict[str, Any]) -> str | None:
    """An asynchronous policy with a message of its own."""
    return None if arguments["amount"] >= 0 else "a debt is not paid out"


class Money(BaseModel):
    """An amount in a currency."""

    amount: float
    currency: str


@tool
@scope("kit.read")
@side_effects(read_only=True, idempotent=True)
@timeout(5)
def echo(value: Any = None) -> Any:
    """Give back what is given."""
    return value


@tool
@scope("kit.read")
@side_effects(read_only=True, idempotent=True)
@timeout(5)
def trace_read(path: str) -> int:
    """A read-only tool that counts how often it ran."""
    return _leave(path, "read")


@tool
@scope("kit.read")
@side_effects(read_only=True)
def where_am_i() -> dict[str, Any]:
    """The process that the tool runs in."""
    return {"pid": os.getpid(), "environment": dict(os.environ)}


@tool
@scope("kit.write")
@timeout(10)
def leave_trace(path: str, text: str = "ran") -> int:
    """A writing tool without rules."""
    return _leave(path, text)


@tool
@scope("kit.write")
@timeout(10)
def leave_another(path: str, text: str = "another") -> int:
    """As above, of another name."""
    return _leave(path, text)


@tool
@scope("kit.write")
@require_approval
@timeout(10)
def guarded_trace(path: str, text: str = "ran") -> int:
    """A writing tool that a person always decides."""
    return _leave(path, text)


@tool
@scope("kit.write")
@require_approval(over_amount=100)
@redact(["card_number"])
@timeout(10)
def pay(path: str, amount: float, card_number: str = "", note: str | None = None) -> dict[str, Any]:
    """Pay; above 100 a person decides. The card's number stays secret."""
    return {"count": _leave(path, f"paid {amount}"), "card": card_number}


@tool
@scope("kit.write")
@require_idempotency_key
@timeout(10)
def once(path: str) -> int:
    """A writing tool that wants an idempotency key."""
    return _leave(path, "once")


@tool
@scope("kit.read")
@side_effects(read_only=True)
@policy(weekdays_only)
def on_weekdays(day: str) -> str:
    """Denied on weekends."""
    return day


@tool
@scope("kit.read")
@side_effects(read_only=True)
@policy(broken)
def never_judged(day: str) -> str:
    """Its policy always fails."""
    return day


@tool
@scope("kit.read")
@side_effects(read_only=True)
@policy(slow_judge)
def judged_slowly(amount: float) -> float:
    """Its policy is asynchronous."""
    return amount


@tool
@scope("kit.read")
@side_effects(read_only=True)
@rate_limit("10/hour/user")
def ten_an_hour() -> str:
    """Ten times an hour for each actor."""
    return "ok"


@tool
@scope("kit.write")
@rate_limit("1/hour/user")
@timeout(10)
def once_an_hour(path: str) -> int:
    """Once an hour, and it writes."""
    return _leave(path, "hourly")


@tool
@scope("kit.read")
@side_effects(read_only=True)
def spend(money: Money) -> str:
    """A nested model arrives as that model."""
    return f"{type(money).__name__} {money.amount:g} {money.currency}"


@tool
@scope("kit.read")
@side_effects(read_only=True)
def wrong_result(secret: str) -> int:
    """Its result is not of its type."""
    return f"not a number: {secret}"  # type: ignore[return-value]


@tool
@scope("kit.read")
@side_effects(read_only=True)
@redact(["pin"])
def fails(pin: str) -> str:
    """Raises, with the secret in its message."""
    raise ValueError(f"the pin {pin} was refused")


@tool
@scope("kit.read")
@side_effects(read_only=True, idempotent=True)
@max_retries(2)
def fails_twice(path: str) -> int:
    """Fails twice, then answers."""
    if (count := _leave(path, "try")) < 3:
        raise ConnectionError("not yet")
    return count


@tool
@scope("kit.write")
@side_effects(idempotent=True)
@max_retries(1)
@timeout(10)
def fails_on_its_way(path: str) -> None:
    """Fails each time, in a worker; trying it again does no harm."""
    _leave(path, "try")
    raise ConnectionError("not yet")


@tool
@scope("kit.write")
@max_retries(2)
@timeout(10)
def writes_and_fails(path: str) -> int:
    """Writes and fails; it asks for retries that it must not get."""
    _leave(path, "effect")
    raise ConnectionError("after the effect")


@tool
@scope("kit.write")
@isolated_process
@timeout(1)
def hangs_with_children(path: str) -> None:
    """Hangs beyond its deadline, with a child in its own session and one behind a dead fork."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    if (orphan := os.fork()) == 0:
        os.setsid()
        if (grandchild := os.fork()) == 0:
            time.sleep(600)
        _leave(path, str(grandchild))
        os._exit(0)
    os.waitpid(orphan, 0)
    _leave(path, str(child.pid))
    _leave(path, str(os.getpid()))
    time.sleep(600)


@tool
@scope("kit.write")
@isolated_process
@timeout(60)
def waits_for(path: str, go: str) -> str:
    """Says that it has begun, and goes on when a file appears."""
    _leave(path, f"begun {os.getpid()}")
    progress({"stage": "waiting"})
    while not Path(go).exists():
        time.sleep(0.02)
    _leave(path, "done")
    return "done"


@tool
@scope("kit.write")
@isolated_process
@redact(["card_number"])
@timeout(60)
def tells_too_much(card_number: str, go: str) -> str:
    """Says what it should not, and ends when a file appears."""
    progress({"paying with": card_number, "done": 1})
    while not Path(go).exists():
        time.sleep(0.02)
    return "paid"


@tool
@scope("kit.write")
@isolated_process
@side_effects(idempotent=True)
@timeout(60)
def may_repeat(path: str, go: str) -> str:
    """As above, but running it twice does no harm."""
    _leave(path, f"begun {os.getpid()}")
    while not Path(go).exists():
        time.sleep(0.02)
    return "done"


@tool
@scope("kit.read")
@isolated_process(read=[DOCS])
@side_effects(read_only=True)
@timeout(30)
def reads_what_is_granted(path: str) -> str:
    """Reads a file, and may read the documentation only."""
    return Path(path).read_text()


@tool
@scope("kit.destroy")
@side_effects(destructive=True)
@require_approval
@timeout(10)
def destroy(path: str) -> int:
    """Destructive, always held."""
    return _leave(path, "destroyed")


def small_sums(context: Any, arguments: dict[str, Any]) -> str | None:
    """Says whose card it was, which a policy should not."""
    if arguments["amount"] > 1000:
        return f"card {arguments['card_number']} pays 1000 at most"
    return None


@tool
@scope("kit.write")
@require_approval
@redact(["card_number", "iban"])
@policy(small_sums)
@timeout(10)
def judged_pay(path: str, amount: float, card_number: str = "", to: Any = None) -> int:
    """A payment with a policy that names the card."""
    return _leave(path, f"paid {amount} to {to}")


@tool
@scope("kit.read")
@side_effects(read_only=True, idempotent=True)
def of_session(session_id: str | None = None, value: Any = None) -> Any:
    """Says by its parameter which session its calls belong to."""
    return value


@tool
@scope("kit.read")
@side_effects(read_only=True)
def reads_what_is_forbidden() -> None:
    """Dies as of a system call that its jail forbids."""
    os.kill(os.getpid(), signal.SIGSYS)


@tool
@scope("kit.write")
def does_what_is_forbidden() -> None:
    """The same, and it writes."""
    os.kill(os.getpid(), signal.SIGSYS)


@tool
@scope("kit.read")
@side_effects(read_only=True)
def fails_by_that_name() -> None:
    """Raises an error of its own that bears the name of another's death."""
    raise type("Violation", (Exception,), {})
