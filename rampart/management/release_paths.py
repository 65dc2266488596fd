"""The six ways that a call can go, each tried once against a running server.

The sessions' path comes with the sessions: one more function in PATHS.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from rampart.management.wire import Reply, Server

SECONDS_FOR_A_WORKER = 20.0
SECONDS_BETWEEN_LOOKS = 0.2
OPEN = ("pending", "requires_approval")

Approve = Callable[[str], str | None]
"""Approves the held call with this approval id; else says why it can't."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was expected of one path, and what was seen."""

    path: str
    expected: str
    seen: str
    ok: bool


@dataclass(slots=True)
class Walk:
    """One walk along all paths, in an order in which one may build on another."""

    server: Server
    approve: Approve
    held: Reply | None = None

    def results(self) -> list[Result]:
        """What each path has shown."""
        return [path(self) for path in PATHS]

    def call(self, tool: str, arguments: dict[str, Any] | None = None, **headers: str) -> Reply:
        """Call one of the smoke tools, without waiting for a person or a worker."""
        path, body = f"/tools/rampart.smoke.{tool}/invoke", {"arguments": arguments or {}}
        return self.server.post(path, body, **{"Prefer": "respond-async", **headers})

    def ended(self, reply: Reply) -> Reply:
        """The call at its end, or as it stands when a worker has had its time."""
        deadline = time.monotonic() + SECONDS_FOR_A_WORKER
        while _word(reply) in OPEN and (left := deadline - time.monotonic()) > 0:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            path = f"/invocations/{reply.body['invocation_id']}?wait={int(left)}"
            reply = self.server.get(path)
        return reply


def successful(walk: Walk) -> Result:
    """A tool that only reads answers at once."""
    return _result("successful", "200 success", walk.call("read"))


def denied(walk: Walk) -> Result:
    """A scope that the key lacks ends the call at the door."""
    return _result("denied", "403 denied ScopeDenied", walk.call("closed"))


def approval_required(walk: Walk) -> Result:
    """A call that a rule holds waits for a person."""
    walk.held = walk.call("write", {"hold": True})
    return _result("approval-required", "202 requires_approval ApprovalRequired", walk.held)


def approved(walk: Walk) -> Result:
    """The held call, approved, is run by a worker."""
    path, expected = "approved", "200 success"
    if walk.held is None or _word(walk.held) != "requires_approval":
        return Result(path, expected, "no call was held", False)
    if refused := walk.approve(str(walk.held.body["approval_id"])):
        return Result(path, expected, f"could not be approved: {refused}", False)
    return _result(path, expected, walk.ended(walk.held))


def rate_limited(walk: Walk) -> Result:
    """The second call under a limit of one is refused, and told when to come again."""
    path, expected = "rate-limited", "429 rate_limited RateLimited"
    if _word(first := walk.call("limited")) != "success":
        return Result(path, expected, f"the first call: {first.told}", False)
    second = walk.call("limited")
    if "retry-after" not in second.headers:
        return Result(path, expected, f"{second.told}, without Retry-After", False)
    return _result(path, expected, second)


def idempotent_replay(walk: Walk) -> Result:
    """A writing call, repeated under its idempotency key, gives the first one's result again."""
    path, expected, key = "idempotent replay", "200 success replayed", uuid4().hex
    first = walk.ended(walk.call("write", Idempotency_Key=key))
    if _word(first) != "success":
        return Result(path, expected, f"the first call: {_telling(first)}", False)
    again = walk.call("write", Idempotency_Key=key)
    if again.body.get("data") != first.body["data"]:
        return Result(path, expected, f"{again.told}, with another result", False)
    return _result(path, expected, again)


PATHS = (successful, denied, approval_required, approved, rate_limited, idempotent_replay)


def _result(path: str, expected: str, reply: Reply) -> Result:
    ok = reply.summary == expected
    return Result(path, expected, reply.summary if ok else _telling(reply), ok)


def _telling(reply: Reply) -> str:
    """What was seen, for a person who has to mend it."""
    if _word(reply) == "pending":
        return f"{reply.summary}: no worker has run it within {SECONDS_FOR_A_WORKER:.0f} s"
    return reply.told


def _word(reply: Reply) -> str:
    return str(reply.body.get("status"))
