"""The life of calls as docs/states.md and docs/reference/api.md tell it.

It knows no database, no process and no clock but its own, and imports nothing of what it judges.
Each verb changes the model and leaves in `told` the lines that the ledger must have gained.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

SECRET = "4111-2222-planted"
DAY, HOUR, A_WHILE = 24 * 3600, 3600, 1200
TIME_TO_DECIDE, TIME_TO_USE, LEASE, KEPT = DAY, HOUR, 600, DAY
MOST_HELD = 3
MOST_CLAIMS = 3

OPEN = ("held", "queued", "running")
FAILED = ("error", "timeout", "killed", "unknown")
WORD = {"held": "requires_approval", "queued": "pending", "running": "pending"}
HTTP = {
    "success": 200, "pending": 202, "requires_approval": 202, "denied": 403, "rejected": 403,
    "expired": 410, "cancelled": 409, "void": 409, "rate_limited": 429,
    "idempotency_conflict": 409, "timeout": 504, "killed": 500, "error": 500, "unknown": 500,
}  # fmt: skip
ERROR = {
    "held": "ApprovalRequired", "rejected": "ApprovalRejected", "expired": "ApprovalExpired",
    "cancelled": "Cancelled", "unknown": "OutcomeUnknown",
}  # fmt: skip


@dataclass(frozen=True)
class Action:
    """One thing to ask for; each has a file of its own, in which its effects can be counted."""

    name: str
    tool: str
    arguments: dict[str, Any]
    gated: bool = False
    may_repeat: bool = False
    reads: bool = False
    fails_with: str | None = None


ACTIONS = {
    action.name: action
    for action in (
        Action("gated", "guarded_trace", {"text": "one"}, gated=True),
        Action("gated too", "guarded_trace", {"text": "two"}, gated=True),
        Action("free", "pay", {"amount": 1, "card_number": SECRET}),
        Action("dear", "pay", {"amount": 500, "card_number": SECRET}, gated=True),
        Action("repeatable", "may_repeat", {"go": "/"}, gated=True, may_repeat=True),
        Action("failing", "writes_and_fails", {}, gated=True, fails_with="ConnectionError"),
        Action("reading", "trace_read", {}, may_repeat=True, reads=True),
        Action("reading in vain", "fails", {"pin": SECRET}, may_repeat=True, reads=True,
               fails_with="ValueError"),
    )
}  # fmt: skip


@dataclass(eq=False)
class Caller:
    """A lineage with one key."""

    name: str
    owner: str
    revoked: bool = False


@dataclass(eq=False)
class Approval:
    """The decision about a held call."""

    until: int
    status: str = "pending"
    votes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """A call that got past the door."""

    caller: Caller
    action: Action
    key: str | None
    version: int
    status: str
    approval: Approval | None = None
    claims: int = 0
    lease_until: int | None = None
    stop_asked: bool = False
    reason: str = ""
    data: Any = None
    error_type: str | None = None
    kept_until: int = 0

    @property
    def word(self) -> str:
        return WORD.get(self.status, self.status)

    @property
    def ended(self) -> bool:
        return self.status not in OPEN

    @property
    def arguments_kept(self) -> bool:
        """A read-only call runs where it is asked for and freezes nothing."""
        return not self.ended and not self.action.reads


@dataclass(frozen=True)
class Line:
    """A line of the ledger."""

    event: str
    actor: str
    reason: str = ""
    status: str | None = None
    call: Call | None = None


@dataclass(frozen=True)
class Reply:
    """What somebody is told; `error` is an error type or a problem's code."""

    http: int
    status: str | None = None
    error: str | None = None
    call: Call | None = None
    replayed: bool = False


@dataclass
class Model:
    """Everybody's calls, and the switches."""

    now: int = 0
    calls: list[Call] = field(default_factory=list)
    told: list[Line] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    off: set[str] = field(default_factory=set)
    stopped: bool = False

    # Callers.

    def submit(
        self, caller: Caller, action: Action, key: str | None, approval_of: Call | str | None = None
    ) -> Reply:
        """One call, from the door to its answer; `approval_of` a call whose approval it names."""
        if caller.revoked:
            return self._stranger()
        if self.stopped or action.tool in self.off:
            return self._refused(caller, "denied", "ToolDisabled")
        holder = self._holder(caller, key)
        if holder is not None:
            if holder.action is not action:
                return self._refused(caller, "idempotency_conflict", "IdempotencyConflict")
            if holder.status in ("queued", "running") and (
                holder.approval is None or approval_of is not holder
            ):
                return self._refused(caller, "idempotency_conflict", "IdempotencyInProgress")
            if not (holder.status in FAILED and action.may_repeat):
                return self._replayed(caller, holder)
        if approval_of is not None:
            return self._redeemed(caller, action, approval_of)
        if action.gated:
            return self._held(caller, action, key, holder)
        return self._entered(caller, action, key, holder)

    def die_while_reading(self, caller: Caller, action: Action, key: str) -> None:
        """The server dies while a read-only tool runs for a call with an idempotency key."""
        call = self._new(caller, action, key, self._holder(caller, key), "running")
        self._start(call)

    def would_run(self, caller: Caller, action: Action, key: str) -> bool:
        """Whether a read-only call under this key would be let in and run."""
        if caller.revoked or self.stopped or action.tool in self.off:
            return False
        holder = self._holder(caller, key)
        return holder is None or (holder.action is action and holder.status in FAILED)

    def cancel(self, call: Call, by: Caller | str, *, may: bool = True) -> Reply:
        """Somebody takes the call back: its caller, another, or, if they `may`, a person."""
        if isinstance(by, Caller):
            if by.revoked:
                return self._stranger()
            if by is not call.caller:
                return Reply(404, error="not_found")
        elif not may:
            return Reply(404, error="not_found")
        if call.ended:
            return Reply(409, error="already_final")
        who = by.name if isinstance(by, Caller) else by
        if call.status != "running":
            self._end(call, "cancelled")
            self._close(call, "cancelled")
            self._tell("invocation:cancelled", call, actor=who)
        elif not call.stop_asked:
            call.stop_asked = True
            self._tell("invocation:cancelled", call, "cancel_requested", actor=who)
        return replace(self._answer(call), http=200)

    def _stranger(self) -> Reply:
        self.told.append(Line("credentials:refused", "", "key_revoked"))
        return Reply(401, error="key_revoked")

    def _refused(self, caller: Caller, status: str, error: str) -> Reply:
        reason = "".join(f"_{c.lower()}" if c.isupper() else c for c in error)[1:]
        self.told.append(Line("invocation:refused", caller.name, reason, status))
        return Reply(HTTP[status], status, error)

    def _holder(self, caller: Caller, key: str | None) -> Call | None:
        """The call that the caller's idempotency key stands for."""
        mine = (call for call in self.calls if call.caller is caller and call.key == key)
        return next(mine, None) if key is not None else None

    def _replayed(self, caller: Caller, call: Call) -> Reply:
        reason = "" if call.ended else "not_ended_yet"
        self.told.append(Line("invocation:replayed", caller.name, reason, None, call))
        return replace(self._answer(call), replayed=call.ended)

    def _redeemed(self, caller: Caller, action: Action, approval_of: Call | str) -> Reply:
        call = approval_of
        if isinstance(call, str) or call.approval is None or call.caller is not caller:
            return self._refused(caller, "denied", "NotYours")
        if call.action is not action:
            return self._refused(caller, "denied", "ActionMismatch")
        if call.status == "held" and self._is_over(call):
            self._expire(call)
        return self._replayed(caller, call)

    def _held(self, caller: Caller, action: Action, key: str | None, failed: Call | None) -> Reply:
        held = [call for call in self.calls if call.caller is caller and call.status == "held"]
        if key is None:
            version = self.versions[action.tool]
            for twin in [c for c in held if c.action is action and c.version == version][::-1]:
                if not self._is_over(twin):
                    return self._replayed(caller, twin)
                self._expire(twin)
        if sum(call.status == "held" for call in held) >= MOST_HELD:
            return self._refused(caller, "rate_limited", "RateLimited")
        call = self._new(caller, action, key, failed, "held")
        call.approval = Approval(self.now + TIME_TO_DECIDE)
        self._tell("invocation:held", call, "approval_required")
        return self._answer(call)

    def _entered(
        self, caller: Caller, action: Action, key: str | None, failed: Call | None
    ) -> Reply:
        if not action.reads:
            call = self._new(caller, action, key, failed, "queued")
            self._tell("invocation:queued", call)
            return self._answer(call)
        call = self._new(caller, action, key, failed, "running")
        self._start(call, aloud=key is not None)
        self.finish(call, call.claims, *self.outcome(call))
        return self._answer(call)

    def _new(
        self, caller: Caller, action: Action, key: str | None, failed: Call | None, status: str
    ) -> Call:
        if failed is not None:
            failed.key = None
        call = Call(caller, action, key, self.versions[action.tool], status)
        self.calls.append(call)
        return call

    # People.

    def decide(self, call: Call, person: str, verdict: str, *, may: bool = True) -> Reply:
        """A person says yes or no."""
        approval = call.approval
        assert approval is not None
        if not may:
            return self._undecided(None, person, 403, "permission_denied")
        if person == call.caller.owner:
            return self._undecided(call, person, 403, "self_approval")
        if approval.status == "expired" or (approval.status == "pending" and self._is_over(call)):
            if approval.status == "pending":
                self._expire(call)
            return self._undecided(call, person, 410, "expired")
        if approval.status != "pending":
            return self._undecided(call, person, 409, "already_decided")
        if verdict == "approve" and (lost := self._authority_lost(call)):
            self._void(call, lost)
            return self._undecided(call, person, 409, lost)
        approval.votes.append((person, verdict))
        if verdict == "approve":
            approval.status, approval.until = "approved", self.now + TIME_TO_USE
            call.status = "queued"
        else:
            approval.status = "rejected"
            self._end(call, "rejected")
        self._tell(f"approval:{approval.status}", call, actor=person)
        return Reply(200, approval.status)

    def _undecided(self, call: Call | None, person: str, http: int, code: str) -> Reply:
        self.told.append(Line("approval:refused", person, code, None, call))
        return Reply(http, error=code)

    # Workers.

    def claim(self, call: Call) -> bool:
        """A message arrives; whether it makes a worker start the call."""
        if call.status != "queued":
            return False
        if call.approval and call.approval.status == "approved" and self._is_over(call):
            self._expire(call)
            return False
        if lost := self._authority_lost(call):
            self._void(call, lost)
            return False
        call.status = "running"
        if call.approval is not None:
            call.approval.status = "consumed"
        self._start(call)
        return True

    def _start(self, call: Call, aloud: bool = True) -> None:
        call.claims += 1
        call.lease_until = self.now + LEASE
        self.effects[call.action.name] += 1
        if aloud:
            self._tell("invocation:started", call)

    def outcome(self, call: Call) -> tuple[str, Any, str | None]:
        """How the tool ends if nobody disturbs it."""
        count = self.effects[call.action.name]
        if call.action.fails_with:
            return "error", None, call.action.fails_with
        match call.action.tool:
            case "pay":
                return "success", {"count": count, "card": SECRET}, None
            case "may_repeat":
                return "success", "done", None
            case _:
                return "success", count, None

    def tick(self, call: Call, claim: int) -> bool:
        """A worker says that it lives; whether it is to go on."""
        mine = call.status == "running" and call.claims == claim and not call.stop_asked
        if mine:
            call.lease_until = self.now + LEASE
        return mine

    def finish(self, call: Call, claim: int, status: str, data: Any, error: str | None) -> bool:
        """A worker tells the outcome; whether it is still the one to tell it."""
        if call.status != "running" or call.claims != claim:
            return False
        self._end(call, status)
        call.data, call.error_type, call.kept_until = data, error, self.now + KEPT
        self._tell("invocation:finished", call)
        return True

    # Upkeep, operators, time.

    def sweep(self) -> None:
        """What happens even if nobody comes by."""
        for call in self.calls:
            unused = call.approval and call.approval.status in ("pending", "approved")
            if unused and self._is_over(call):
                self._expire(call)
            if call.status == "running" and (call.lease_until or 0) <= self.now:
                self._settle(call)

    def _settle(self, call: Call) -> None:
        wanted = call.arguments_kept and not call.stop_asked
        if wanted and call.action.may_repeat and call.claims < MOST_CLAIMS:
            call.status, call.lease_until = "queued", None
            self._tell("invocation:requeued", call, "lease_lost")
        else:
            self._end(call, "unknown")
            self._tell("invocation:lost", call, "lease_lost")

    def change(self, tool: str) -> None:
        """Another definition of the tool is deployed; what was held for the old one is void."""
        self.versions[tool] += 1
        for call in self.calls:
            if call.status == "held" and call.action.tool == tool:
                self._void(call, "tool_changed")

    # What all of them share.

    def _authority_lost(self, call: Call) -> str | None:
        if call.version != self.versions[call.action.tool]:
            return "tool_changed"
        if self.stopped or call.action.tool in self.off:
            return "tool_disabled"
        return "key_revoked" if call.caller.revoked else None

    def _is_over(self, call: Call) -> bool:
        return call.approval is not None and call.approval.until <= self.now

    def _expire(self, call: Call) -> None:
        self._end(call, "expired", "approval_expired")
        self._close(call, "expired")
        self._tell("invocation:expired", call, "approval_expired")

    def _void(self, call: Call, reason: str) -> None:
        self._end(call, "void", reason)
        self._close(call, "void")
        self._tell("invocation:voided", call, reason)

    def _close(self, call: Call, status: str) -> None:
        """The approval goes the way of its call, unless it was used."""
        if call.approval is not None and call.approval.status in ("pending", "approved"):
            call.approval.status = status

    def _end(self, call: Call, status: str, reason: str = "") -> None:
        call.status, call.reason, call.lease_until = status, reason, None

    def _tell(self, event: str, call: Call, reason: str = "", *, actor: str | None = None) -> None:
        who = call.caller.name if actor is None else actor
        self.told.append(Line(event, who, reason, call.word, call))

    def _answer(self, call: Call) -> Reply:
        return Reply(HTTP[call.word], call.word, self.error_of(call), call)

    def error_of(self, call: Call) -> str | None:
        """The error type that the call's result shows."""
        if call.status == "void":
            return "".join(word.title() for word in call.reason.split("_"))
        return call.error_type or ERROR.get(call.status)

    def data_of(self, call: Call) -> Any:
        """The raw result while it is kept for the caller, its redacted form afterwards."""
        if self.now < call.kept_until or not isinstance(call.data, dict):
            return call.data
        return call.data | {"card": "[REDACTED]"}
