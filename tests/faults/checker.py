"""Reads every call's story and names each fault in it. Each rule is a promise of the product.

Pure: it sees a World and touches nothing, so that it can be tested on stories with a fault.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.stories import OPEN_WORDS, Ask, Effect, Line, Row, World
from tests.faults.traits import MOST_CLAIMS, TRAITS

STOPS_A_RUN = ("web", "worker", "pool child", "freeze", "ended")
"""First words of the faults after which nobody may know how a run ended."""
STOPS_THE_DATABASE = ("postgres", "backend")
LONG_OUTAGE = 6.0
"""Seconds without a database after which a worker may give up on writing an outcome."""
ENDS_A_PROCESS = ("zygote", "keeper", "tool", "worker", "web", "pool child")
LEASE_AT_LEAST = 12.0
"""Who is called lost was last heard of a lease ago, or a little less on a busy machine."""
MOMENT = 1.0
"""A fault just before the claim still hits what the claim finds."""
SECONDS_TO_DIE = 3.0
"""From the last word of a tool to its process's end, if it was being killed."""
UPKEEP_SECONDS = 15.0
CLOCK_SLACK = 0.05
WINDOW = 60.0
WINDOW_SLACK = 2.0
"""A call is counted a little before its row says that it was made."""
UNRUN = ("held", "rejected", "expired", "void")


@dataclass(frozen=True)
class Finding:
    """One broken promise: which, of what call, and what was seen."""

    rule: str
    subject: str
    text: str


Rule = Callable[[World], Iterator[tuple[str, str]]]


def check(world: World) -> list[Finding]:
    """Every finding, by rule."""
    return [
        Finding(rule.__name__, subject, text) for rule in RULES for subject, text in rule(world)
    ]


# None lost.


def no_call_is_lost(world: World) -> Iterator[tuple[str, str]]:
    """A call that was answered with an id exists, and one that was let in has ended."""
    for ask in world.asks:
        if ask.answer and ask.answer.invocation and ask.answer.invocation not in world.row_of:
            yield ask.answer.invocation, f"{ask.verb} was answered with it, and it does not exist"
    for row in world.rows:
        if row.status in ("queued", "running"):
            yield row.id, f"{row.tool} is still {row.status} when all is quiet"


def no_refused_call_is_there(world: World) -> Iterator[tuple[str, str]]:
    """A call whose every answer was a refusal left no row, and ran nothing."""
    for ticket, asks in world.asks_of_ticket.items():
        if not all(was_refused(ask) for ask in asks):
            continue
        codes = sorted({ask.answer.code for ask in asks if ask.answer})
        if ticket in world.rows_of_ticket:
            yield ticket, f"was refused ({', '.join(codes)}), and there is a row of it"
        elif not TRAITS[asks[0].tool].reads and world.effects_of.get(ticket):
            yield ticket, f"was refused ({', '.join(codes)}), and it ran"


def was_refused(ask: Ask) -> bool:
    """Whether the caller was told that nothing was done.

    With the database gone nobody can tell: what was lost may have been the commit's answer.
    """
    return (
        ask.answer is not None
        and not ask.answer.invocation
        and ask.answer.code != "database_unavailable"
    )


def nothing_breaks_the_server(world: World) -> Iterator[tuple[str, str]]:
    """A fault outside is never answered as a fault of ours."""
    for ask in world.asks:
        if ask.answer and ask.answer.code == "internal_error":
            yield ask.ticket or ask.target, f"{ask.verb} was answered internal_error"


def held_calls_wait_for_their_time(world: World) -> Iterator[tuple[str, str]]:
    """Nobody decided: held until its time is over, and not longer."""
    for row in world.rows:
        if row.approval is None:
            continue
        if row.status == "held" and row.approval.expires_at + UPKEEP_SECONDS < world.now:
            yield row.id, "is held beyond its time"
        if row.status == "expired" and (row.finished_at or 0) < row.approval.expires_at - 1:
            yield row.id, "expired before its time"


# Nothing twice.


def no_effect_comes_twice(world: World) -> Iterator[tuple[str, str]]:
    """One start for a call, or as many as a tool that may repeat is given."""
    for ticket, effects in world.effects_of.items():
        rows = world.rows_of_ticket.get(ticket, [])
        starts = sum(effect.word == "start" for effect in effects)
        if not rows:
            if not _may_run_without_a_row(world, ticket):
                yield ticket, f"left {starts} start(s), and there is no call of it"
            continue
        most = sum(_most_starts(row) for row in rows)
        if _may_run_without_a_row(world, ticket):
            most += TRAITS[rows[0].tool].attempts * len(world.asks_of_ticket[ticket])
        if starts > most:
            yield ticket, f"{rows[0].tool} started {starts} times; {most} are allowed"
    for run, count in Counter((e.word, e.run) for e in world.effects).items():
        if count > 1:
            yield run[1], f"one run left {count} lines {run[0]}"


def _most_starts(row: Row) -> int:
    traits = TRAITS[row.tool]
    if not traits.repeats:
        return 1
    return traits.attempts * max(row.claims, 1)


def _may_run_without_a_row(world: World, ticket: str) -> bool:
    """A read-only call runs first and is written when it has ended."""
    return any(
        TRAITS[ask.tool].reads and (ask.answer is None or not ask.answer.invocation)
        for ask in world.asks_of_ticket.get(ticket, [])
    )


def claims_are_bounded(world: World) -> Iterator[tuple[str, str]]:
    """A tool that may not repeat is claimed once, any other three times."""
    for row in world.rows:
        most = MOST_CLAIMS if TRAITS[row.tool].repeats else 1
        if row.claims > most:
            yield row.id, f"{row.tool} was claimed {row.claims} times"


# Every status true.


def every_status_is_true(world: World) -> Iterator[tuple[str, str]]:
    """What the row says is what the tool's own lines say."""
    for row in world.rows:
        for text in _STATUS.get(row.status, _never)(world, row):
            yield row.id, f"{row.tool} is {row.status}: {text}"
        if row.status not in ("queued", "running", "held") and row.keeps_arguments:
            yield row.id, f"{row.tool} is {row.status} and still keeps its arguments"


def _never(world: World, row: Row) -> Iterator[str]:
    if row.status not in ("queued", "running"):
        yield "nobody knows this status"


def _success(world: World, row: Row) -> Iterator[str]:
    ends = {f"{end.ticket} {end.run}" for end in world.effects_like("end", row.ticket)}
    if row.result not in ends:
        yield f"its result {row.result!r} is of no run that ended"
    if TRAITS[row.tool].ends_as != "success":
        yield "this tool never succeeds"


def _error(world: World, row: Row) -> Iterator[str]:
    if not world.effects_like("raised", row.ticket):
        yield "no run raised"
    if not TRAITS[row.tool].repeats and world.effects_like("end", row.ticket):
        yield "its run ended well"


def _timeout(world: World, row: Row) -> Iterator[str]:
    if TRAITS[row.tool].ends_as != "timeout":
        yield "it has all the time it needs"
    if not world.effects_like("start", row.ticket):
        yield "it never started"
    if world.effects_like("end", row.ticket):
        yield "its run ended well"


def _killed(world: World, row: Row) -> Iterator[str]:
    if row.error_type == "SandboxUnavailable":
        if _of_this_row(world, row, "start"):
            yield "it says that nothing was run, and a run has started"
    elif not _had_cause(world, row, ENDS_A_PROCESS):
        yield "nothing had killed its process"
    yield from _no_end_long_before(world, row)


def _cancelled(world: World, row: Row) -> Iterator[str]:
    lines = world.lines_of.get(row.id, [])
    if not any(line.event == "invocation:cancelled" for line in lines):
        yield "nobody asked for that"
    if row.started_at is None and world.effects_like("start", row.ticket):
        yield "it was taken back before it ran, and ran"
    yield from _no_end_long_before(world, row)


def _unknown(world: World, row: Row) -> Iterator[str]:
    if _had_cause(world, row, STOPS_A_RUN, LEASE_AT_LEAST):
        return
    if not _had_cause(world, row, STOPS_THE_DATABASE):
        yield "nothing had stopped its worker or the database"
    elif _of_this_row(world, row, "start") and not _had_long_outage(world, row):
        yield "its run was lost with a database that was soon back"


def _unrun(world: World, row: Row) -> Iterator[str]:
    if world.effects_like("start", row.ticket) and len(world.rows_of_ticket[row.ticket]) == 1:
        yield "and it ran"


_STATUS: dict[str, Callable[[World, Row], Iterator[str]]] = {
    "success": _success, "error": _error, "timeout": _timeout, "killed": _killed,
    "cancelled": _cancelled, "unknown": _unknown, **dict.fromkeys(UNRUN, _unrun),
}  # fmt: skip


def _of_this_row(world: World, row: Row, word: str) -> list[Effect]:
    """The effects that fell into the call's own time."""
    begun, over = row.started_at or row.created_at, row.finished_at or world.now
    return [
        effect
        for effect in world.effects_like(word, row.ticket)
        if begun - CLOCK_SLACK <= effect.at <= over + CLOCK_SLACK
    ]


def _no_end_long_before(world: World, row: Row) -> Iterator[str]:
    """A run may end just as it is killed; one that had ended long before was no victim."""
    over = row.finished_at or world.now
    if any(end.at < over - SECONDS_TO_DIE for end in _of_this_row(world, row, "end")):
        yield "its run had ended well long before"


def _had_cause(world: World, row: Row, kinds: tuple[str, ...], before: float = 0.0) -> bool:
    """Whether such a fault fell into the run, and so long before its end was written."""
    begun, over = row.started_at or row.created_at, row.finished_at or world.now
    return any(
        begun - MOMENT <= fault.at <= over - before and fault.kind.startswith(kinds)
        for fault in world.breaks
    )


def _had_long_outage(world: World, row: Row) -> bool:
    begun, over = row.started_at or row.created_at, row.finished_at or world.now
    return any(
        begun <= (fault.until or world.now)
        and fault.at <= over
        and (fault.until or world.now) - fault.at > LONG_OUTAGE
        for fault in world.breaks
        if fault.kind.startswith("postgres")
    )


def every_answer_was_true(world: World) -> Iterator[tuple[str, str]]:
    """An end that a client was told of is the end that stands, with the same result."""
    for ask in world.asks:
        if ask.answer is None or (row := world.row_of.get(ask.answer.invocation or "")) is None:
            continue
        if ask.answer.status in OPEN_WORDS:
            continue
        if ask.answer.status != row.word:
            yield row.id, f"{ask.verb} was answered {ask.answer.status}; it is {row.word}"
        elif ask.answer.status == "success" and ask.answer.data != row.result:
            yield row.id, f"{ask.verb} was answered with another result than is kept"


def every_decision_stands(world: World) -> Iterator[tuple[str, str]]:
    """Who was told that their decision counts decided it, alone, and it was carried out."""
    approvals = {row.approval.id: row for row in world.rows if row.approval}
    for ask in world.asks:
        if ask.verb not in ("approve", "reject") or not ask.answer or ask.answer.http != 200:
            continue
        row = approvals.get(ask.target)
        if row is None or row.approval is None:
            yield ask.target, "was decided and does not exist"
        elif row.approval.by != ask.who:
            yield row.id, f"{ask.who} was told to have decided it; {row.approval.by} has"
        elif (row.status == "rejected") != (ask.verb == "reject"):
            yield row.id, f"{ask.who} said {ask.verb}; it is {row.status}"


# Approvals agree.

APPROVAL_OF = {
    "held": {"pending"}, "queued": {"approved", "consumed"}, "running": {"consumed"},
    "success": {"consumed"}, "error": {"consumed"}, "timeout": {"consumed"},
    "killed": {"consumed"}, "unknown": {"consumed"}, "rejected": {"rejected"},
    "expired": {"expired"}, "void": {"void"}, "cancelled": {"cancelled", "consumed"},
}  # fmt: skip
VOTES_OF = {
    "pending": [[]], "approved": [["approve"]], "consumed": [["approve"]],
    "rejected": [["reject"]], "expired": [[], ["approve"]], "void": [[], ["approve"]],
    "cancelled": [[], ["approve"]],
}  # fmt: skip


def approvals_agree_with_their_calls(world: World) -> Iterator[tuple[str, str]]:
    """The decision's status fits the call's, and the votes fit the decision."""
    for row in world.rows:
        if row.approval is None:
            if TRAITS[row.tool].gated:
                yield row.id, "has no approval, and its tool always asks for one"
            continue
        expected = APPROVAL_OF[row.status]
        if row.status == "cancelled":
            expected = {"cancelled" if row.started_at is None else "consumed"}
        if row.approval.status not in expected:
            yield row.id, f"is {row.status}, and its approval {row.approval.status}"
        if list(row.approval.votes) not in VOTES_OF[row.approval.status]:
            yield row.id, f"its approval is {row.approval.status} by {list(row.approval.votes)}"


# The ledger.

ARROWS: dict[tuple[str, str], str] = {
    ("", "invocation:held"): "held",
    ("", "invocation:queued"): "queued",
    ("", "invocation:started"): "running",
    ("", "invocation:finished"): "final",
    ("held", "approval:approved"): "queued",
    ("held", "approval:rejected"): "rejected",
    ("queued", "invocation:started"): "running",
    ("running", "invocation:finished"): "final",
    ("running", "invocation:lost"): "unknown",
    ("running", "invocation:requeued"): "queued",
    **{
        (open_, f"invocation:{event}"): status
        for open_ in ("held", "queued")
        for event, status in (
            ("cancelled", "cancelled"), ("expired", "expired"), ("voided", "void"),
        )
    },
}  # fmt: skip
NO_ARROWS = ("invocation:replayed", "approval:refused", "invocation:refused")


def is_arrow(line: Line) -> bool:
    """Whether the line tells of a change of status; asking a run to stop changes none."""
    return line.event not in NO_ARROWS and line.reason != "cancel_requested"


def the_ledger_tells_each_step_once(world: World) -> Iterator[tuple[str, str]]:
    """Every change of status has its one line, in an order that the states allow."""
    for row in world.rows:
        where, last = "", None
        for line in filter(is_arrow, world.lines_of.get(row.id, [])):
            step = ARROWS.get((where, line.event))
            if step is None:
                yield row.id, f"{line.event} was told of a call that was {where or 'not there'}"
                break
            where, last = step, line
        else:
            if where != row.status and not (where == "final" and row.status in _RAN):
                yield row.id, f"is {row.status}, and the ledger leaves it {where or 'untold'}"
            elif last and (last.id != row.audit_id or last.word != row.word):
                yield row.id, "the row does not bear the line that tells of its status"


_RAN = ("success", "error", "timeout", "killed", "cancelled")


def no_line_is_of_nothing(world: World) -> Iterator[tuple[str, str]]:
    """No line tells of a call that does not exist."""
    for invocation, lines in world.lines_of.items():
        if invocation not in world.row_of:
            yield invocation, f"{lines[0].event} was told, and there is no such call"


def intent_comes_before_effect(world: World) -> Iterator[tuple[str, str]]:
    """What a worker runs was written down first, and what ran has one outcome."""
    for row in world.rows:
        begun = [
            line.at for line in world.lines_of.get(row.id, []) if line.event == "invocation:started"
        ]
        if row.claims != len(begun):
            yield row.id, f"was claimed {row.claims} times, and {len(begun)} intents are told"
    for ticket, rows in world.rows_of_ticket.items():
        if TRAITS[rows[0].tool].reads:
            continue
        intents = [
            line.at
            for row in rows
            for line in world.lines_of.get(row.id, [])
            if line.event == "invocation:started"
        ]
        for effect in world.effects_like("start", ticket):
            if not any(at <= effect.at + CLOCK_SLACK for at in intents):
                yield ticket, "ran before anything was written of it"


def the_ledger_is_whole(world: World) -> Iterator[tuple[str, str]]:
    """`verify_audit` finds nothing."""
    if not world.ledger.startswith("OK"):
        yield "ledger", world.ledger


# Idempotency and limits.


def one_key_one_call(world: World) -> Iterator[tuple[str, str]]:
    """One idempotency key, one call; another only after a failure of what may run again."""
    for ticket, asks in world.asks_of_ticket.items():
        rows = sorted(world.rows_of_ticket.get(ticket, []), key=lambda row: row.id)
        told = {ask.answer.invocation for ask in asks if ask.answer and ask.answer.invocation}
        if asks[0].key is None or not TRAITS[asks[0].tool].repeats:
            if len(rows) > 1:
                yield ticket, f"{asks[0].tool} has {len(rows)} calls"
            if len(told) > 1:
                yield ticket, f"was answered with {len(told)} calls"
            continue
        for earlier in rows[:-1]:
            if earlier.status not in ("error", "timeout", "killed", "unknown"):
                yield ticket, f"has another call although the first is {earlier.status}"
        if sum(row.key is not None for row in rows) > 1:
            yield ticket, "two calls hold one key"


def no_limit_is_exceeded(world: World) -> Iterator[tuple[str, str]]:
    """In no window more calls than allowed; a Redis that lost its data counts from nothing."""
    losses = [fault.at for fault in world.breaks if fault.kind.startswith("redis")]
    for lineage, tool in {(row.lineage, row.tool) for row in world.rows}:
        if (most := TRAITS[tool].per_minute) is None:
            continue
        times = sorted(
            row.created_at for row in world.rows if (row.lineage, row.tool) == (lineage, tool)
        )
        for first in times:
            until = first + WINDOW - WINDOW_SLACK
            passed = sum(first <= at <= until for at in times)
            counted_anew = sum(first - WINDOW_SLACK <= at <= until for at in losses)
            if passed > most * (1 + counted_anew):
                yield tool, f"{passed} calls of {lineage} passed within a minute"
                break


# Nothing left.


def nothing_is_left_behind(world: World) -> Iterator[tuple[str, str]]:
    """No process outlives the stop, and no file lies where messages go by."""
    for process in world.processes:
        yield "process", process
    for file in world.files:
        yield "file", file


RULES: tuple[Rule, ...] = (
    no_call_is_lost,
    no_refused_call_is_there,
    nothing_breaks_the_server,
    held_calls_wait_for_their_time,
    no_effect_comes_twice,
    claims_are_bounded,
    every_status_is_true,
    every_answer_was_true,
    every_decision_stands,
    approvals_agree_with_their_calls,
    the_ledger_tells_each_step_once,
    no_line_is_of_nothing,
    intent_comes_before_effect,
    the_ledger_is_whole,
    one_key_one_call,
    no_limit_is_exceeded,
    nothing_is_left_behind,
)


# Telling a story.


def story(world: World, subject: str) -> str:
    """All that is known of a call or a ticket, in the order of time."""
    row = world.row_of.get(subject)
    ticket = row.ticket if row else subject
    ids = {one.id for one in world.rows_of_ticket.get(ticket, [])} | {subject}
    ids |= {one.approval.id for one in world.rows_of_ticket.get(ticket, []) if one.approval}
    told = [(ask.at, _of_ask(ask)) for ask in world.asks if ask.ticket == ticket != ""]
    told += [(ask.at, _of_ask(ask)) for ask in world.asks if ask.target in ids]
    told += [(effect.at, f"tool: {effect.word} {effect.run[:6]}")
             for effect in world.effects_of.get(ticket, [])]  # fmt: skip
    told += [
        (line.at, f"ledger: {line.event} {line.word or ''} {line.reason}")
        for one in ids
        for line in world.lines_of.get(one, [])
    ]
    if told:
        first, last = min(told)[0] - 3, max(told)[0] + 3
        told += [(one.at, f"  fault: {one.kind} {one.detail}")
                 for one in world.breaks if first <= one.at <= last]  # fmt: skip
    rows = [str(one) for one in world.rows_of_ticket.get(ticket, [])]
    start = min(told)[0] if told else 0.0
    return "\n".join([*rows, *(f"{at - start:8.3f} {text}" for at, text in sorted(told))])


def _of_ask(ask: Ask) -> str:
    if ask.answer is None:
        return f"{ask.who}: {ask.verb} {ask.tool} - {ask.error}"
    answer, took = ask.answer, ask.answer.at - ask.at
    said = f"{answer.http} {answer.status} {answer.code} after {took:.2f} s"
    return f"{ask.who}: {ask.verb} {ask.tool} - {said}"
