"""What is known of a run when it is over: asked and answered, stored, told, done, and broken."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

OPEN_WORDS = ("pending", "requires_approval")


@dataclass(frozen=True)
class Answer:
    """What came back; of a request that got none, None stands in the request."""

    at: float
    http: int
    status: str = ""
    code: str = ""
    """The error type of a result, or a problem's code."""
    invocation: str | None = None
    approval: str | None = None
    data: Any = None
    replayed: bool = False


@dataclass(frozen=True)
class Ask:
    """One request of a client: `invoke`, `read`, `cancel`, `approve` or `reject`."""

    at: float
    verb: str
    who: str
    ticket: str = ""
    tool: str = ""
    key: str | None = None
    target: str = ""
    """The invocation or the approval that it was about."""
    answer: Answer | None = None
    error: str = ""
    """Why there is no answer."""


@dataclass(frozen=True)
class Decision:
    """An approval as it is stored at the end."""

    id: str
    status: str
    by: str | None = None
    expires_at: float = 0.0
    votes: tuple[str, ...] = ()
    """Each vote's verdict."""


@dataclass(frozen=True)
class Row:
    """A call as it is stored at the end."""

    id: str
    tool: str
    ticket: str
    status: str
    word: str
    """The API's word for the status."""
    key: str | None = None
    lineage: str = "lineage"
    claims: int = 0
    attempts: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    result: Any = None
    error_type: str | None = None
    audit_id: str = ""
    keeps_arguments: bool = False
    approval: Decision | None = None


@dataclass(frozen=True)
class Line:
    """One line of the ledger; its id is its place in the order."""

    id: str
    event: str
    word: str | None = None
    reason: str = ""
    invocation: str | None = None
    approval: str | None = None
    at: float = 0.0


@dataclass(frozen=True)
class Effect:
    """One line that a tool has left: `start`, `end` or `raised`."""

    word: str
    ticket: str
    run: str
    pid: int = 0
    at: float = 0.0


@dataclass(frozen=True)
class Break:
    """One fault that was done to the deployment."""

    at: float
    kind: str
    detail: str = ""
    until: float | None = None
    """When a store that was stopped answered again."""


@dataclass
class World:
    """Everything at the end of a run."""

    asks: list[Ask] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    now: float = 0.0
    ledger: str = "OK"
    """What `verify_audit` said."""
    processes: list[str] = field(default_factory=list)
    """What was still alive after the stop."""
    files: list[str] = field(default_factory=list)
    """What lay where nothing should lie any more."""

    @cached_property
    def row_of(self) -> dict[str, Row]:
        return {row.id: row for row in self.rows}

    @cached_property
    def rows_of_ticket(self) -> dict[str, list[Row]]:
        return _grouped((row.ticket, row) for row in self.rows)

    @cached_property
    def effects_of(self) -> dict[str, list[Effect]]:
        return _grouped((effect.ticket, effect) for effect in self.effects)

    @cached_property
    def lines_of(self) -> dict[str, list[Line]]:
        """Each call's lines in the ledger's order."""
        told = sorted(self.lines, key=lambda line: line.id)
        return _grouped((line.invocation, line) for line in told if line.invocation)

    @cached_property
    def asks_of_ticket(self) -> dict[str, list[Ask]]:
        return _grouped((ask.ticket, ask) for ask in self.asks if ask.verb == "invoke")

    def effects_like(self, word: str, ticket: str) -> list[Effect]:
        return [effect for effect in self.effects_of.get(ticket, []) if effect.word == word]


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return groups


# Reading what the run has left.


def read_effects(path: Path) -> list[Effect]:
    """The tools' lines."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        word, ticket, run, pid, at = line.split()
        found.append(Effect(word, ticket, run, int(pid), float(at)))
    return found


def read_journal(path: Path) -> tuple[list[Ask], list[Break]]:
    """The clients' requests, each with its answer, and the faults."""
    asks: dict[int, dict[str, Any]] = {}
    answers: dict[int, dict[str, Any]] = {}
    breaks: list[Break] = []
    for text in path.read_text().splitlines():
        entry = json.loads(text)
        match entry.pop("what"):
            case "ask":
                asks[entry.pop("n")] = entry
            case "answer" | "lost":
                answers[entry.pop("n")] = entry
            case "break":
                breaks.append(Break(**entry))
            case "mended":
                _mend_last(breaks, **entry)
    return [_ask(entry, answers.get(n)) for n, entry in asks.items()], breaks


def _mend_last(breaks: list[Break], at: float, name: str) -> None:
    """Note when the store that was stopped last was back."""
    for place, one in reversed(list(enumerate(breaks))):
        if one.kind in (f"{name} killed", f"{name} restarted"):
            breaks[place] = replace(one, until=at)
            return


def _ask(entry: dict[str, Any], answer: dict[str, Any] | None) -> Ask:
    if answer is None:
        return Ask(**entry, error="the run ended")
    if "error" in answer:
        return Ask(**entry, error=answer["error"])
    return Ask(**entry, answer=Answer(**answer))


def read_records(path: Path) -> tuple[list[Row], list[Line]]:
    """What `records.write` has written."""
    held = json.loads(path.read_text())
    rows = []
    for entry in held["rows"]:
        if (approval := entry.pop("approval")) is not None:
            approval = Decision(**approval | {"votes": tuple(approval["votes"])})
        rows.append(Row(**entry, approval=approval))
    return rows, [Line(**entry) for entry in held["lines"]]
