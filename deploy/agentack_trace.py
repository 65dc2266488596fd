"""What the ledger tells, as traces that AgentAck checks: were approvals bound, used once, obeyed?

    manage.py export_audit --format jsonl --output ledger.jsonl
    python deploy/agentack_trace.py ledger.jsonl traces
    agentack check traces/1.jsonl --policy traces/agentack.toml

It needs Python alone, and judges nothing: what the ledger tells in a wrong order comes out so. A
trace ends where the stop of all tools was released, since for AgentAck nothing may run after a
stop; a call stands in the trace in which it ended. Calls that have not ended are in none.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

Event = dict[str, Any]

SCHEMA_VERSION = 2
DEEPEST, LONGEST = 15, 100_000
"""Levels and characters of arguments that AgentAck reads with room to spare; it has digests of
what is beyond."""
STOP_IS_FELT_WITHIN = timedelta(seconds=0.5)
"""Processes look at the switches so often; what began until then was not stopped yet."""
USE_WITHIN = timedelta(hours=1)
"""In which a decision has to be used, where the ledger does not say it."""


@dataclass(slots=True)
class Call:
    """One call, by what was told of it so far, in AgentAck's words."""

    action_id: str
    lines: list[Event] = field(default_factory=list)
    edits: int = 0
    is_decided: bool = False
    is_requeued: bool = False
    has_run: bool = False
    ended_in: int | None = None
    """The number of the trace in which it ended."""

    def named(self, identity: str) -> str:
        """Edited arguments are another action, with an approval of its own."""
        return f"{identity}/edit-{self.edits}" if self.edits else identity

    def tell(self, kind: str, event: Event, **more: Any) -> None:
        """Add a line."""
        action_id = self.named(self.action_id)
        given = {name: value for name, value in more.items() if value is not None}
        self.lines.append(line(kind, event, action_id=action_id, **given))


@dataclass(slots=True)
class Story:
    """The ledger as far as it was read: its calls, and the stops of all tools between them."""

    calls: dict[str, Call] = field(default_factory=dict)
    stops: list[list[Event]] = field(default_factory=lambda: [[]])
    """For each trace the lines that tell of a stop."""
    engaged: Event | None = None
    """A stop that is not felt everywhere yet."""
    always_approved: dict[str, bool] = field(default_factory=dict)
    """For each tool whether each definition that it had wants every call approved."""

    def read(self, event: Event) -> None:
        """What one line of the export adds."""
        name = event["event"]
        if self.engaged and (name == "stop:released" or moment(event) > moment(self.engaged)):
            self.stop(event)
        if name in CALLS:
            self._read_call(event, CALLS[name])
        elif name == "tool:synced":
            self._read_tool(event)
        elif name == "stop:engaged":
            self.engaged = event | {"ended_at": later(event, STOP_IS_FELT_WITHIN)}
        elif name == "stop:released":
            self.stops.append([])

    def stop(self, before: Event) -> None:
        """The stop is felt, before this happens."""
        felt = {"ended_at": before["ended_at"], "order": before["order"] - 0.5}
        self.stops[-1].append(line("interrupt", felt, reason="all tools were stopped"))
        self.engaged = None

    def _read_call(self, event: Event, read: Callable[[Call, Event], bool]) -> None:
        identity = event["invocation_id"] or event["id"]
        call = self.calls.setdefault(identity, Call(identity))
        if read(call, event):
            call.ended_in = len(self.stops) - 1

    def _read_tool(self, event: Event) -> None:
        policies = (event["metadata"].get("after") or {}).get("policies")
        if policies is not None:
            was = self.always_approved.get(event["tool_name"], True)
            self.always_approved[event["tool_name"]] = was and policies["approval"]["always"]

    def traces(self) -> Iterator[list[Event]]:
        """Each trace's lines in their order, but no trace that holds no call."""
        ended = defaultdict(list)
        for call in self.calls.values():
            if call.ended_in is not None:
                ended[call.ended_in] += call.lines
        for number, stops in enumerate(self.stops):
            if ended[number]:
                lines = sorted([*ended[number], *stops], key=lambda one: float(one["order"]))
                end = {"ended_at": lines[-1]["timestamp"], "order": lines[-1]["order"]}
                yield [*lines, line("session_end", end)]

    def policy(self) -> str:
        """AgentAck's policy: which tools' calls never run without an approval."""
        always = [name for name, is_so in sorted(self.always_approved.items()) if is_so]
        patterns = json.dumps([f"rampart:{token(name)}" for name in always])
        return f"version = 1\n\n[approval]\nrequire_for = {patterns}\n"


# What each kind of line says of a call; True where the call ends by it.


def held(call: Call, event: Event) -> bool:
    call.tell("action_proposed", event, action=action(event))
    call.tell("approval_requested", event, action=action(event), **approval(call, event))
    return False


def queued(call: Call, event: Event) -> bool:
    call.tell("action_proposed", event, action=action(event))
    return False


def approved(call: Call, event: Event) -> bool:
    until = event["metadata"].get("use_by") or later(event, USE_WITHIN)
    decide(call, event, "allow", expires_at=until)
    return False


def rejected(call: Call, event: Event) -> bool:
    decide(call, event, "deny", intent_id=intent(event))
    return block(call, event, "rejected")


def edited(call: Call, event: Event) -> bool:
    """Nobody may run what was asked; what the editor has made of it is asked anew."""
    decide(call, event, "deny")
    block(call, event, "edited")
    call.edits, call.is_decided = call.edits + 1, False
    return held(call, {**event, "arguments": event["metadata"]["after"]})


def closed(call: Call, event: Event) -> bool:
    """It was taken back, void or out of time; a running one is only asked to stop."""
    if event["reason"] == "cancel_requested":
        return False
    if event["approval_id"] and not call.is_decided:
        decide(call, event, "deny")
    return block(call, event, event["reason"] or "cancelled")


def started(call: Call, event: Event) -> bool:
    if not call.lines:
        call.tell("action_proposed", event, action=action(event))
    return execute(call, event)


def requeued(call: Call, event: Event) -> bool:
    """The worker died, and the platform begins the same run once more."""
    call.is_requeued = True
    return False


def finished(call: Call, event: Event) -> bool:
    """What only reads may have run where it was asked for, and is told when it has ended."""
    return call.has_run or started(call, event)


def refused(call: Call, event: Event) -> bool:
    """The gate itself said no, and nothing of the call was kept but this line."""
    by_the_gate = {**event, "approval_id": f"door-{event['id']}"}
    held(call, by_the_gate)
    decide(call, by_the_gate, "deny")
    return block(call, by_the_gate, event["reason"])


CALLS: dict[str, Callable[[Call, Event], bool]] = {
    "invocation:held": held,
    "invocation:queued": queued,
    "invocation:started": started,
    "invocation:requeued": requeued,
    "invocation:finished": finished,
    "invocation:cancelled": closed,
    "invocation:expired": closed,
    "invocation:voided": closed,
    "invocation:refused": refused,
    "approval:approved": approved,
    "approval:rejected": rejected,
    "approval:edited": edited,
}


def execute(call: Call, event: Event) -> bool:
    if not call.is_requeued:
        own = approval(call, event) if event["approval_id"] else {}
        call.tell("action_executed", event, action=action(event), intent_id=intent(event), **own)
    call.has_run, call.is_requeued = True, False
    return True


def decide(call: Call, event: Event, decision: str, **more: Any) -> None:
    call.tell("approval_decision", event, decision=decision, **approval(call, event), **more)
    call.is_decided = True


def block(call: Call, event: Event, reason: str) -> bool:
    own = approval(call, event) if event["approval_id"] else {}
    call.tell("action_blocked", event, reason=reason, **own)
    return True


# AgentAck's words.


def line(kind: str, event: Event, **more: Any) -> Event:
    """A line of the trace, and its place: where the ledger has it, a stop where it is felt."""
    return {
        "type": kind, "timestamp": event["ended_at"], "order": event["order"],
        "schema_version": SCHEMA_VERSION, **more,
    }  # fmt: skip


def approval(call: Call, event: Event) -> dict[str, str]:
    return {"approval_id": call.named(event["approval_id"])}


def action(event: Event) -> Event:
    """The tool, its arguments as they may be shown, and the digest over what may not."""
    digest = event["metadata"].get("digest")
    parameters = {"arguments": shown(event["arguments"]), "digest": digest}
    return {
        "tool": "rampart",
        "operation": event["tool_name"],
        "resource": event["tool_name"],
        "parameters": {name: value for name, value in parameters.items() if value is not None},
    }


def intent(event: Event) -> str:
    """The same for each call by which the same caller wants the same thing."""
    caller = event["metadata"].get("requester", event["actor"])
    wanted = [caller, event["tool_name"], event["arguments"]]
    return hashlib.sha256(canonical(wanted).encode()).hexdigest()


def shown(arguments: Any) -> Any:
    text = canonical(arguments)
    if len(text) > LONGEST or depth(arguments) > DEEPEST:
        return {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return arguments


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def depth(value: Any) -> int:
    inner: Iterable[Any] = ()
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
    return 1 + max((depth(one) for one in inner), default=0)


def moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["ended_at"])


def later(event: Event, by: timedelta) -> str:
    return (moment(event) + by).isoformat()


def token(name: str) -> str:
    """A tool's name as AgentAck compares it."""
    return "-".join(name.lower().replace("_", "-").split())


# Reading and writing.


def main() -> int:
    """Write the traces and the policy; says on standard error what is in none."""
    parser = argparse.ArgumentParser(description="AgentAck traces of an exported ledger.")
    parser.add_argument("export", type=Path, help="what export_audit --format jsonl has written")
    parser.add_argument("folder", type=Path, help="where the traces and agentack.toml go")
    options = parser.parse_args()
    story = read_export(options.export)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "agentack.toml").write_text(story.policy())
    for number, lines in enumerate(story.traces(), 1):
        write_trace(options.folder / f"{number}.jsonl", lines, f"rampart-{number}")
    unfinished = sum(call.ended_in is None for call in story.calls.values())
    sys.stderr.write(f"{unfinished} calls have not ended and are in no trace\n")
    return 0


def read_export(path: Path) -> Story:
    story = Story()
    with path.open(encoding="utf-8") as lines:
        for order, text in enumerate(lines):
            event = json.loads(text) | {"order": order}
            story.read(event)
    if story.engaged:
        story.stop({**story.engaged, "order": order + 1})
    return story


def write_trace(path: Path, lines: list[Event], session_id: str) -> None:
    with path.open("w", encoding="utf-8") as trace:
        for one in lines:
            told = {name: value for name, value in one.items() if name != "order"}
            trace.write(canonical(told | {"session_id": session_id}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
