"""The checker itself: a true story passes, and each fault in it is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checker import RULES, check, story
from tests.faults.stories import Answer, Ask, Break, Decision, Effect, Line, Row, World

Change = Callable[[World], None]


def _line(number: int, event: str, word: str | None, **more: str) -> Line:
    told = {"invocation": "call", **more}
    return Line(f"{number:04}", event, word, at=float(number), **told)


def _ask(at: float, verb: str, who: str, answer: Answer | None, **more: str) -> Ask:
    return Ask(at, verb, who, answer=answer, error="" if answer else "ConnectionError", **more)


def written() -> World:
    """A call that a worker ran: accepted, queued, started, ended."""
    accepted = Answer(1.5, 202, "pending", invocation="call")
    ended = Answer(6.0, 200, "success", invocation="call", data="ticket run")
    return World(
        asks=[
            _ask(1.0, "invoke", "agent", accepted, ticket="ticket", tool="write", key="key"),
            _ask(5.0, "read", "agent", ended, target="call"),
        ],
        rows=[
            Row("call", "write", "ticket", "success", "success", key="key", claims=1, attempts=1,
                created_at=1.0, started_at=2.0, finished_at=4.0, result="ticket run",
                audit_id="0004"),
        ],
        lines=[
            _line(1, "invocation:queued", "pending"),
            _line(2, "invocation:started", "pending"),
            _line(4, "invocation:finished", "success"),
            _line(5, "invocation:replayed", "success"),
        ],
        effects=[Effect("start", "ticket", "run", 7, 2.5), Effect("end", "ticket", "run", 7, 3.5)],
        now=100.0,
    )  # fmt: skip


def approved() -> World:
    """A call that was held, approved by one of two people, and ran."""
    world = written()
    held = Answer(1.5, 202, "requires_approval", invocation="call", approval="approval")
    decided = Answer(2.0, 200, "approved", approval="approval")
    late = Answer(2.1, 409, code="already_decided")
    world.asks = [
        _ask(1.0, "invoke", "agent", held, ticket="ticket", tool="guarded", key="key"),
        _ask(1.8, "approve", "ann", decided, target="approval"),
        _ask(1.8, "approve", "bob", late, target="approval"),
    ]
    decision = Decision("approval", "consumed", "ann", 50.0, ("approve",))
    world.rows = [replace(world.rows[0], tool="guarded", approval=decision)]
    world.lines[0] = _line(1, "invocation:held", "requires_approval")
    world.lines.insert(1, replace(_line(1, "approval:approved", "pending"), id="0001a"))
    return world


def named(world: World) -> set[str]:
    """The rules that found something."""
    return {finding.rule for finding in check(world)}


def test_a_call_that_went_well_has_no_finding() -> None:
    assert check(written()) == []


def test_an_approved_call_that_went_well_has_no_finding() -> None:
    assert check(approved()) == []


def row(**columns: object) -> Change:
    """The call is stored with these columns instead."""

    def change(world: World) -> None:
        world.rows = [replace(world.rows[0], **columns), *world.rows[1:]]  # type: ignore[arg-type]

    return change


def unended(status: str) -> Change:
    """The story stops where the call is still open."""

    def change(world: World) -> None:
        row(status=status, word="pending", finished_at=None)(world)

    return change


def without_lines(event: str) -> Change:
    """No such line was told."""

    def change(world: World) -> None:
        world.lines = [line for line in world.lines if line.event != event]

    return change


def with_line(line: Line) -> Change:
    return lambda world: world.lines.append(line)


def effects(*words: str) -> Change:
    """The tool has left these lines instead."""

    def change(world: World) -> None:
        world.effects = [
            Effect(word, "ticket", f"run{number}" if number else "run", 7, 2.5)
            for number, word in enumerate(words)
        ]

    return change


def another_call(**columns: object) -> Change:
    """A second call of the same ticket."""

    def change(world: World) -> None:
        world.rows.append(replace(world.rows[0], id="second", **columns))  # type: ignore[arg-type]

    return change


def ended(word: str, event: str = "finished") -> Change:
    """Row and ledger agree on another end, and no client was told of one."""

    def change(world: World) -> None:
        row(status=word, word=word, result=None)(world)
        world.lines[-2] = _line(4, f"invocation:{event}", word)
        world.asks.pop()

    return change


def both(*changes: Change) -> Change:
    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change


def decision(**columns: object) -> Change:
    def change(world: World) -> None:
        approval = world.rows[0].approval
        assert approval
        row(approval=replace(approval, **columns))(world)  # type: ignore[arg-type]

    return change


def refused(world: World) -> None:
    """The caller was told that nothing was done."""
    world.asks = [replace(world.asks[0], answer=Answer(1.5, 429, "rate_limited", "RateLimited"))]


def rowless(world: World) -> None:
    world.rows.clear()
    world.lines.clear()
    world.asks = [replace(world.asks[0], answer=None)]


def broken(kind: str, at: float = 3.0) -> Change:
    return lambda world: world.breaks.append(Break(at, kind))


def answered(**columns: object) -> Change:
    """The last request had another answer."""

    def change(world: World) -> None:
        last = world.asks[-1]
        assert last.answer
        answer = replace(last.answer, **columns)  # type: ignore[arg-type]
        world.asks[-1] = replace(last, answer=answer)

    return change


def also_decided_by_bob(world: World) -> None:
    world.asks[-1] = replace(world.asks[-1], answer=Answer(2.1, 200, "approved", approval="x"))


def seven_counted(world: World) -> None:
    """Seven calls of a tool that may be called six times a minute."""
    first = written()
    for number in range(7):
        name = f"c{number}"
        world.rows.append(
            replace(first.rows[0], id=name, ticket=name, tool="counted", created_at=float(number),
                    result=f"{name} run{number}", audit_id=f"{name}4", key=None)
        )  # fmt: skip
        world.effects += [
            Effect(word, name, f"run{number}", 7, at) for word, at in (("start", 2.5), ("end", 3.5))
        ]
        world.lines += [
            replace(line, id=f"{name}{line.id[-1]}", invocation=name) for line in first.lines[:3]
        ]


FAULTS: dict[str, tuple[Callable[[], World], Change, str]] = {
    "a call that vanished": (written, lambda w: w.rows.clear(), "no_call_is_lost"),
    "a call that never ended": (written, unended("queued"), "no_call_is_lost"),
    "a call that runs for ever": (written, unended("running"), "no_call_is_lost"),
    "a refused call with a row": (written, refused, "no_refused_call_is_there"),
    "a refused call that ran": (
        written, both(refused, lambda w: w.rows.clear()), "no_refused_call_is_there"),
    "an error of ours": (
        written, answered(code="internal_error", invocation=None), "nothing_breaks_the_server"),
    "a held call beyond its time": (
        approved, both(row(status="held", word="requires_approval"), decision(status="pending")),
        "held_calls_wait_for_their_time"),
    "a call expired too early": (
        approved, both(row(status="expired", word="expired"), decision(status="expired")),
        "held_calls_wait_for_their_time"),
    "an effect that came twice": (
        written, effects("start", "end", "start", "end"), "no_effect_comes_twice"),
    "an effect of no call": (written, rowless, "no_effect_comes_twice"),
    "one run with two ends": (
        written, lambda w: w.effects.append(w.effects[-1]), "no_effect_comes_twice"),
    "a second claim": (written, row(claims=2), "claims_are_bounded"),
    "a success that never ended": (written, effects("start"), "every_status_is_true"),
    "a success that never started": (written, effects(), "every_status_is_true"),
    "a success with another run's result": (
        written, row(result="ticket other"), "every_status_is_true"),
    "an error that nobody raised": (written, ended("error"), "every_status_is_true"),
    "a timeout of a quick tool": (written, ended("timeout"), "every_status_is_true"),
    "a kill that nobody did": (written, ended("killed"), "every_status_is_true"),
    "a kill of what had ended": (
        written, both(ended("killed"), broken("tool"), row(finished_at=9.0)),
        "every_status_is_true"),
    "a kill that denies the run": (
        written, both(ended("killed"), broken("zygote"), row(error_type="SandboxUnavailable")),
        "every_status_is_true"),
    "a cancelled call that nobody cancelled": (
        written, ended("cancelled"), "every_status_is_true"),
    "an unknown without a cause": (written, ended("unknown", "lost"), "every_status_is_true"),
    "an unknown for a short outage": (
        written, both(ended("unknown", "lost"), broken("backend killed")), "every_status_is_true"),
    "an unknown whose worker was killed when it was over": (
        written, both(ended("unknown", "lost"), broken("pool child")), "every_status_is_true"),
    "a rejected call that ran": (
        approved, both(row(status="rejected", word="rejected"), decision(status="rejected")),
        "every_status_is_true"),
    "a void call that ran": (
        approved, both(row(status="void", word="void"), decision(status="void")),
        "every_status_is_true"),
    "arguments kept beyond the end": (
        written, row(keeps_arguments=True), "every_status_is_true"),
    "an end that was told and undone": (
        written, answered(status="error"), "every_answer_was_true"),
    "a result that was told and changed": (
        written, answered(data="ticket other"), "every_answer_was_true"),
    "two people told that they decided": (approved, also_decided_by_bob, "every_decision_stands"),
    "a yes that became a no": (
        approved, both(row(status="rejected", word="rejected"), decision(status="rejected")),
        "every_decision_stands"),
    "a used approval still open": (
        approved, decision(status="approved"), "approvals_agree_with_their_calls"),
    "two votes": (
        approved, decision(votes=("approve", "approve")), "approvals_agree_with_their_calls"),
    "no vote": (approved, decision(votes=()), "approvals_agree_with_their_calls"),
    "a guarded call without approval": (
        approved, row(approval=None), "approvals_agree_with_their_calls"),
    "a missing outcome": (
        written, without_lines("invocation:finished"), "the_ledger_tells_each_step_once"),
    "a second outcome": (
        written, with_line(_line(6, "invocation:finished", "success")),
        "the_ledger_tells_each_step_once"),
    "an outcome told as another": (
        written, lambda w: w.lines.__setitem__(2, _line(4, "invocation:finished", "error")),
        "the_ledger_tells_each_step_once"),
    "a missing approval": (
        approved, without_lines("approval:approved"), "the_ledger_tells_each_step_once"),
    "a row with another line's id": (
        written, row(audit_id="0002"), "the_ledger_tells_each_step_once"),
    "a line of no call": (
        written, with_line(_line(6, "invocation:queued", "pending", invocation="nobody")),
        "no_line_is_of_nothing"),
    "a missing intent": (
        written, without_lines("invocation:started"), "intent_comes_before_effect"),
    "an intent after the effect": (
        written, lambda w: w.lines.__setitem__(1, replace(w.lines[1], at=3.0)),
        "intent_comes_before_effect"),
    "an altered ledger": (
        written, lambda w: setattr(w, "ledger", "ALTERED: event 1"), "the_ledger_is_whole"),
    "two calls under one key": (written, another_call(key=None), "one_key_one_call"),
    "two calls for one request": (
        written, both(row(key=None), another_call(key=None)), "one_key_one_call"),
    "one key answered with two calls": (
        written,
        lambda w: w.asks.append(
            replace(w.asks[0], answer=Answer(9.0, 202, "pending", invocation="second"))
        ),
        "one_key_one_call"),
    "a limit exceeded": (written, seven_counted, "no_limit_is_exceeded"),
    "a process left": (
        written, lambda w: w.processes.append("worker's 7"), "nothing_is_left_behind"),
    "a file left": (written, lambda w: w.files.append("taken/x"), "nothing_is_left_behind"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_in_a_story_is_named(fault: str) -> None:
    begin, change, rule = FAULTS[fault]
    world = begin()
    change(world)
    assert rule in named(world)


def test_every_rule_has_a_story_that_it_objects_to() -> None:
    assert {rule for _, _, rule in FAULTS.values()} == {rule.__name__ for rule in RULES}


def test_what_a_fault_explains_is_no_finding() -> None:
    lost, killed = written(), written()
    both(ended("unknown", "lost"), broken("pool child"), row(finished_at=20.0))(lost)
    both(ended("killed"), effects("start"), broken("tool"))(killed)
    assert check(lost) == check(killed) == []


def test_a_redis_that_lost_its_count_counts_anew() -> None:
    world = World()
    seven_counted(world)
    assert named(world) == {"no_limit_is_exceeded"}
    broken("redis killed")(world)
    assert named(world) == set()


def test_a_call_lost_on_the_wire_may_be_absent_or_ended() -> None:
    absent = World(asks=[replace(written().asks[0], answer=None)])
    there = written()
    there.asks[0] = replace(there.asks[0], answer=None)
    assert check(absent) == check(there) == []


def test_a_story_tells_requests_lines_effects_and_faults_in_order() -> None:
    world = written()
    broken("worker", at=2.6)(world)
    told = [text.split(None, 1)[1] for text in story(world, "call").splitlines()[1:]]
    assert [text.split()[0] for text in told] == [
        "agent:", "ledger:", "ledger:", "tool:", "fault:", "tool:", "ledger:", "agent:", "ledger:",
    ]  # fmt: skip
