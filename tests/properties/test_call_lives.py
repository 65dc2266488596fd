"""Whatever callers, people, workers, upkeep and operators do, in any order: the docs' story holds.

Each step is done to the product, on the real database and over REST where REST is the way, and
told to the model; then statuses, votes, answers, effects and every new line of the ledger are
compared. An example's writes are rolled back at its end; what waits for a commit is done after
each step, as if it had been one.
"""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import hypothesis
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.db.models import F
from django.test import TestCase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from pytest import MonkeyPatch
from pytest_django import Settings
from rest_framework.test import APIClient, ForceAuthClientHandler

from approvals import execution, transitions, upkeep, vault
from approvals.dispatch import queue_of
from approvals.errors import StaleTransition
from approvals.models import Approval, Invocation
from approvals.records import Ending
from audit.models import Event
from audit.redaction import PLAIN
from audit.verification import verify
from tests.audit.conftest import whole_database
from tests.conftest import Agent, as_person
from tests.properties import model
from tests.properties.model import ACTIONS, SECRET, Action, Call, Caller, Line, Model, Reply
from tools import catalogue, identity, registry
from tools.key_cabinet import create_key, revoke_key
from tools.models import EmergencyStop, Tool

pytestmark = pytest.mark.django_db

TOLD_ELSEWHERE = ("key", "tool", "stop", "person", "admin")
"""Subjects of the ledger that no call is about."""
MAY_DECIDE = ("reviewer", "colleague", "owner")
ENDINGS = st.sampled_from(
    [("success", 7, None), ("error", None, "OSError"), ("timeout", None, "TimeoutError"),
     ("killed", None, "Crashed"), ("cancelled", None, "Cancelled")]
)  # fmt: skip
CHOICES = st.integers(0, 27)
CALLERS = st.sampled_from([0, 0, 0, 1])
KEYS = st.sampled_from([None, None, "k1", "k2"])
MENU = st.sampled_from(["gated", "gated too", "repeatable", "repeatable", *sorted(ACTIONS)])
PEOPLE = st.sampled_from(["reviewer", "reviewer", "colleague", "owner", "stranger"])
TIMES = st.sampled_from([model.A_WHILE, model.A_WHILE, 2 * model.HOUR, 25 * model.HOUR])

STEPS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "submit": (4, {"number": CALLERS, "name": MENU, "key": KEYS}),
    "submit_again": (2, {"choice": CHOICES, "keep_key": st.booleans()}),
    "redeem": (1, {"choice": CHOICES, "number": CALLERS, "key": KEYS, "other": st.none() | MENU}),
    "cancel": (1, {"choice": CHOICES, "by": st.sampled_from(["caller", "other", "owner"])}),
    "die_while_reading": (1, {"number": CALLERS, "key": st.sampled_from(["k1", "k2"])}),
    "decide": (
        4,
        {"choice": CHOICES, "person": PEOPLE, "twice": st.booleans(),
         "verdict": st.sampled_from(["approve", "approve", "approve", "reject"])},
    ),
    "deliver": (2, {"choice": CHOICES, "times": st.integers(1, 2)}),
    "start": (3, {"choice": CHOICES}),
    "lose": (2, {"choice": CHOICES, "again": st.booleans(), "late": st.none() | ENDINGS}),
    "tick": (1, {"choice": CHOICES}),
    "finish": (2, {"choice": CHOICES, "ending": ENDINGS}),
    "time_passes": (2, {"seconds": TIMES}),
    "sweep": (2, {}),
    "operate": (
        1, {"choice": CHOICES, "act": st.sampled_from(["switch", "stop", "change", "revoke"])},
    ),
}  # fmt: skip
"""Each step with how often it is taken, and with what. They are one rule, not a rule each, since
Hypothesis leaves out half of the rules of an example: then hardly a call would get anywhere."""


class Died(BaseException):
    """The process that ran the tool is gone, and nothing in it can say so."""


@dataclass
class World:
    """What the examples of one test share."""

    folder: Path
    monkeypatch: MonkeyPatch
    handler: ForceAuthClientHandler = field(default_factory=partial(ForceAuthClientHandler, False))
    """One for all clients: to set up the middleware for each takes longer than to ask it."""


@dataclass
class Worker:
    """A worker that has started a call, and what it remembers of it."""

    call: Call
    row: Invocation


class Lives(RuleBasedStateMachine):
    """The steps that can be taken, by everybody, at any time."""

    example = itertools.count()

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.model = world, Model()
        self.folder = world.folder / str(next(self.example))
        self.folder.mkdir()
        self.rollback = transaction.atomic()
        self.rollback.__enter__()
        self.ids: dict[Call, str] = {}
        self.workers: list[Worker] = []
        self.digests: dict[Any, tuple[str, str]] = {}
        self.stood: dict[Any, tuple[str, str | None]] = {}
        self.undo: list[Callable[[], Any]] = []
        catalogue.forget()
        identity.forget_all()
        self.people = {name: self._person(name) for name in (*MAY_DECIDE, "stranger")}
        self.callers = [Caller("agent", "owner"), Caller("other", "service:other")]
        self.keys = {caller: self._key(caller) for caller in self.callers}
        self.agents = {caller: self._sharing(key.client) for caller, key in self.keys.items()}
        self.seen = set(Event.objects.values_list("pk", flat=True))

    @rule(
        step=st.sampled_from([name for name, (times, _) in STEPS.items() for _ in range(times)])
        .flatmap(lambda name: st.tuples(st.just(name), st.fixed_dictionaries(STEPS[name][1])))
    )  # fmt: skip
    def take(self, step: tuple[str, dict[str, Any]]) -> None:
        """One step; a step that has nothing to be taken with is none."""
        name, given = step
        if not ("choice" in given and not self.ids):
            getattr(self, name)(**given)

    # Who is there.

    def _person(self, name: str) -> APIClient:
        user = User.objects.create_user(name, is_staff=True)
        if name in MAY_DECIDE:
            user.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
        return self._sharing(as_person(user))

    def _key(self, caller: Caller) -> Agent:
        owner = User.objects.filter(username=caller.owner).first()
        return Agent(*create_key(actor=caller.name, scopes=("kit.*",), owner=owner, by="test"))

    def _sharing(self, client: APIClient) -> APIClient:
        client.handler = self.world.handler
        return client

    def _posted(self, action: Action) -> dict[str, Any]:
        arguments = dict(action.arguments)
        if action.tool != "fails":
            arguments["path"] = str(self._trace(action))
        return arguments

    def _trace(self, action: Action) -> Path:
        return self.folder / action.name

    def _post(self, caller: Caller, action: Action, key: str | None, **body: Any) -> Any:
        headers = {"Prefer": "respond-async"} | ({} if key is None else {"Idempotency-Key": key})
        given = {"arguments": self._posted(action), **body}
        url = f"/api/v1/tools/{action.tool}/invoke"
        return self.agents[caller].post(url, given, format="json", headers=headers)

    def _approval_id(self, call: Call) -> Any:
        return Approval.objects.values_list("pk", flat=True).get(invocation_id=self.ids[call])

    def _chosen(self, choice: int, *statuses: str) -> Call:
        """One of the calls: mostly, if there is one, of those that the step is made for."""
        calls = list(self.ids)
        fitting = [call for call in calls if call.status in statuses]
        among = fitting if fitting and choice % 4 else calls
        return among[-1 - choice // 4 % len(among)]

    # The steps of callers.

    def submit(self, number: int, name: str, key: str | None) -> None:
        caller, action = self.callers[number], ACTIONS[name]
        with self._step():
            answer = self._post(caller, action, key)
        self._compare_answer(answer, self.model.submit(caller, action, key))

    def submit_again(self, choice: int, keep_key: bool) -> None:
        call = self._chosen(choice, "held", "error")
        key = call.key if keep_key else None
        with self._step():
            answer = self._post(call.caller, call.action, key)
        self._compare_answer(answer, self.model.submit(call.caller, call.action, key))

    def redeem(self, choice: int, number: int, key: str | None, other: str | None) -> None:
        """Post a call with its approval's id; now and then another's, or for something else."""
        call = self._chosen(choice, "held", "queued", "running")
        action = ACTIONS[other] if other else call.action
        caller = call.caller if number == 0 else self.callers[number]
        approval_id = uuid4() if call.approval is None else self._approval_id(call)
        with self._step():
            answer = self._post(caller, action, key, approval_id=str(approval_id))
        self._compare_answer(answer, self.model.submit(caller, action, key, call))

    def cancel(self, choice: int, by: str) -> None:
        call = self._chosen(choice, "held", "queued", "running")
        caller = self.callers[call.caller is self.callers[0]] if by == "other" else call.caller
        client = self.people["owner"] if by == "owner" else self.agents[caller]
        with self._step():
            answer = client.post(f"/api/v1/invocations/{self.ids[call]}/cancel")
        if by == "owner":
            expected = self.model.cancel(call, "owner", may=call.caller.owner == "owner")
        else:
            expected = self.model.cancel(call, caller)
        self._compare_answer(answer, expected, raw=by != "owner")

    def die_while_reading(self, number: int, key: str) -> None:
        """The server dies while it runs a read-only tool, and its caller gets no answer."""
        caller, action = self.callers[number], ACTIONS["reading"]
        if not self.model.would_run(caller, action, key):
            return
        with self._step(), self._deadly_tools(), suppress(Died):
            self._post(caller, action, key)
        self.model.die_while_reading(caller, action, key)
        self._meet(self.model.calls[-1], Invocation.objects.order_by("-id")[0].pk)

    # The steps of people.

    def decide(self, choice: int, verdict: str, person: str, twice: bool) -> None:
        call = self._chosen(choice, "held")
        if call.approval is None:
            return
        url = f"/api/v1/approvals/{self._approval_id(call)}/{verdict}"
        for _ in range(1 + twice):
            with self._step():
                answer = self.people[person].post(url, {}, format="json")
            expected = self.model.decide(call, person, verdict, may=person in MAY_DECIDE)
            body = answer.json()
            assert answer.status_code == expected.http, (body, expected)
            given = body["approval"]["status"] if "approval" in body else body["code"]
            assert given == (expected.status or expected.error)

    # The steps of workers.

    def deliver(self, choice: int, times: int) -> None:
        """A message comes, maybe twice, to a worker that nothing happens to."""
        named = self._chosen(choice, "queued")
        for _ in range(times):
            call = self._whose_turn(named)
            with self._step():
                execution.run(UUID(self.ids[named]))
            if call and self.model.claim(call):
                assert self.model.finish(call, call.claims, *self.model.outcome(call))

    def _whose_turn(self, named: Call) -> Call | None:
        """The call that a message takes: the one that it names, or the oldest in the same queue."""
        queue = queue_of(named.action.tool)
        waiting = [each for each in self.ids if each.status == "queued"]
        beside = [each for each in waiting if queue_of(each.action.tool) == queue]
        return named if named in beside else min(beside, key=self.ids.__getitem__, default=None)

    def start(self, choice: int) -> None:
        """A message comes to a worker that is still at it when this step ends, or dead."""
        self._start(self._chosen(choice, "queued"))

    def _start(self, named: Call) -> None:
        call = self._whose_turn(named)
        with self._step(), self._deadly_tools(), suppress(Died):
            execution.run(UUID(self.ids[named]))
        if call and self.model.claim(call):
            self.workers.append(Worker(call, Invocation.objects.get(pk=self.ids[call])))

    def lose(self, choice: int, again: bool, late: tuple[str, Any, str | None] | None) -> None:
        """A worker starts a call and is silent; another starts it, and the first speaks up."""
        call = self._chosen(choice, "queued")
        before = len(self.workers)
        self._start(call)
        self.time_passes(model.A_WHILE)
        self.sweep()
        silent = self.workers[before:]
        if again:
            self._start(call)
        if late and silent:
            self._finish(silent[0], late)

    def tick(self, choice: int) -> None:
        if not self.workers:
            return
        worker = self.workers[-1 - choice % len(self.workers)]
        with self._step():
            lives = transitions.renew_lease(worker.row)
        assert lives == self.model.tick(worker.call, worker.row.claims)

    def finish(self, choice: int, ending: tuple[str, Any, str | None]) -> None:
        """A worker tells its outcome, in time or much too late."""
        if self.workers:
            self._finish(self.workers[-1 - choice % len(self.workers)], ending)

    def _finish(self, worker: Worker, ending: tuple[str, Any, str | None]) -> None:
        status, data, error_type = ending
        claim, written = worker.row.claims, True
        with self._step():
            try:
                transitions.finish(worker.row, Ending(status, data, None, error_type), PLAIN, 1)
            except StaleTransition:
                written = False
        assert written == self.model.finish(worker.call, claim, *ending)

    @contextmanager
    def _deadly_tools(self) -> Iterator[None]:
        """Whoever runs a tool meanwhile dies of it, after its effect."""

        def run_and_die(tool: Any, arguments: dict[str, Any], **options: Any) -> Any:
            with open(arguments["path"], "a") as file:
                file.write("and died\n")
            raise Died

        with self.world.monkeypatch.context() as patch:
            patch.setattr(execution, "run_tool", run_and_die)
            yield

    # Time, upkeep and operators.

    def time_passes(self, seconds: int) -> None:
        passed = timedelta(seconds=seconds)
        for table, columns in (
            (Approval, ("expires_at",)),
            (Invocation, ("lease_expires_at", "dispatch_after", "result_expires_at")),
        ):
            table.objects.update(**{column: F(column) - passed for column in columns})
        self.model.now += seconds

    def sweep(self) -> None:
        with self._step():
            upkeep.upkeep()
        self.model.sweep()

    def operate(self, act: str, choice: int) -> None:
        """An operator does something about it, and takes back what can be taken back."""
        call = self._chosen(choice, "held", "queued")
        off = next(iter(self.model.off), None)
        with self._step():
            if self.model.stopped or (act == "stop" and not off):
                self._stop_or_go_on()
            elif off or act == "switch":
                self._switch(off or call.action.tool)
            elif act == "change":
                self._change(call.action.tool)
            elif len(self.ids) >= 5:
                revoke_key(self.keys[call.caller].row.prefix, by="operator")
                call.caller.revoked = True

    def _stop_or_go_on(self) -> None:
        if self.model.stopped:
            EmergencyStop.objects.all().delete()
        else:
            EmergencyStop.objects.create(reason="drill", engaged_by="operator")
        catalogue.forget()
        self.model.stopped = not self.model.stopped

    def _switch(self, tool: str) -> None:
        catalogue.set_enabled(Tool.objects.get(name=tool), tool in self.model.off, by="operator")
        self.model.off ^= {tool}

    def _change(self, tool: str) -> None:
        """Another definition is deployed, and `sync_tools` is run."""
        self.model.change(tool)
        definition, patch = registry.find(tool), pytest.MonkeyPatch()
        self.undo.append(patch.undo)
        patch.setitem(definition.__dict__, "schema_hash", f"{tool} {self.model.versions[tool]}")
        catalogue.sync(by="deploy")
        upkeep.void_outdated()

    # Comparing.

    @contextmanager
    def _step(self) -> Iterator[None]:
        """What waits for the commit is done at the end, whatever else happened."""
        with TestCase.captureOnCommitCallbacks(execute=True):
            yield

    def _compare_answer(self, answer: Any, expected: Reply, *, raw: bool = True) -> None:
        body = answer.json()
        assert answer.status_code == expected.http, (body, expected)
        if expected.status is None:
            assert body["code"] == expected.error
            return
        assert (body["status"], body["error_type"], body["replayed"]) == (
            expected.status, expected.error, expected.replayed,
        )  # fmt: skip
        if expected.call is None:
            assert body["invocation_id"] is None
            return
        self._meet(expected.call, body["invocation_id"])
        self._compare_result(body, expected.call, raw=raw)

    def _compare_result(self, body: dict[str, Any], call: Call, *, raw: bool) -> None:
        if raw:
            assert body["data"] == self.model.data_of(call)
        assert body["status"] == call.word
        assert body["error_type"] == self.model.error_of(call)
        decided = call.approval.status if call.approval else None
        assert (body["decision"] or {}).get("status") == decided

    def _meet(self, call: Call, invocation_id: Any) -> None:
        assert self.ids.setdefault(call, str(invocation_id)) == str(invocation_id)

    @invariant()
    def rows_stand_as_the_model_says(self) -> None:
        rows = Invocation.objects.select_related("approval").prefetch_related(
            "approval__votes__reviewer"
        )
        found = {str(row.pk): row for row in rows}
        assert set(found) == set(self.ids.values())
        for call, invocation_id in self.ids.items():
            self._compare_row(found[invocation_id], call)

    def _compare_row(self, row: Invocation, call: Call) -> None:
        approval = row.decision_record
        assert row.status == call.status
        assert row.idempotency_key == call.key
        assert (row.finished_at is not None) == call.ended
        assert (row.arguments_sealed is not None) == call.arguments_kept
        assert (approval.status if approval else None) == (
            call.approval.status if call.approval else None
        )
        if approval is not None and call.approval is not None:
            votes = [(vote.reviewer.username, vote.verdict) for vote in approval.votes.all()]
            assert votes == call.approval.votes
        if row.arguments_sealed is not None:
            assert vault.unseal(row.arguments_sealed).items() >= self._posted(call.action).items()
            assert SECRET.encode() not in bytes(row.arguments_sealed)
        self._compare_with_before(row, approval.status if approval else None)

    def _compare_with_before(self, row: Invocation, decision: str | None) -> None:
        """Final is final, used is used, and what was asked for stays what it is."""
        digests = self.digests.setdefault(row.pk, (row.digest, row.request_digest))
        assert digests == (row.digest, row.request_digest)
        status, decided = self.stood.get(row.pk, ("", None))
        if status and status not in model.OPEN:
            assert (row.status, decision) == (status, decided)
        if decided == "consumed":
            assert decision == "consumed"
        self.stood[row.pk] = row.status, decision

    @invariant()
    def the_ledger_gained_these_lines_and_no_other(self) -> None:
        names = {invocation_id: call for call, invocation_id in self.ids.items()}
        new = [
            event
            for event in Event.objects.exclude(pk__in=self.seen)
            if event.event.partition(":")[0] not in TOLD_ELSEWHERE
        ]
        told = Counter(
            Line(event.event, event.actor, event.reason, event.status,
                 names[str(event.invocation_id)] if event.invocation_id else None)
            for event in new
        )  # fmt: skip
        assert told == Counter(self.model.told)
        self.seen |= {event.pk for event in new}
        self.model.told.clear()

    @invariant()
    def every_effect_is_one_that_the_model_knows(self) -> None:
        for action in ACTIONS.values():
            if action.tool == "fails":
                continue
            trace = self._trace(action)
            count = len(trace.read_text().splitlines()) if trace.exists() else 0
            assert count == self.model.effects[action.name], action.name

    @invariant()
    def nothing_that_must_not_be_repeated_was_started_twice(self) -> None:
        for call in self.ids:
            assert call.claims <= (model.MOST_CLAIMS if call.action.may_repeat else 1)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # Else a step has failed already, and says more.
                self._compare_in_the_end()
        finally:
            for undo in reversed(self.undo):
                undo()
            transaction.set_rollback(True)
            self.rollback.__exit__(None, None, None)
            catalogue.forget()
            identity.forget_all()

    def _compare_in_the_end(self) -> None:
        """The ledger is as it was written, and callers read what the model says of each call."""
        for call, invocation_id in self.ids.items():
            if not call.caller.revoked:
                body = self.agents[call.caller].get(f"/api/v1/invocations/{invocation_id}").json()
                self._compare_result(body, call, raw=True)
        assert verify().finding is None
        assert SECRET not in whole_database()
        connection.check_constraints()


@pytest.fixture
def world(
    tools_synced: None, tmp_path: Path, monkeypatch: MonkeyPatch, settings: Settings
) -> World:
    settings.RAMPART_UNRULED_WRITES = "hold"
    settings.RAMPART_MAX_PENDING_PER_KEY = model.MOST_HELD
    # Longer than an example takes where many things happen at once.
    for writer in (transitions.entering, transitions.running):
        monkeypatch.setattr(writer, "LEASE", timedelta(seconds=model.LEASE))
    return World(tmp_path, monkeypatch)


@pytest.mark.timeout(3600)
@pytest.mark.feature("AP3", "AP5", "AP6", "AP7", "AP8", "AP18", "X5", "X6", "U1", "U4", "T13")
def test_every_history_of_calls_is_one_that_the_docs_tell(
    world: World, slowly: hypothesis.settings
) -> None:
    run_state_machine_as_test(partial(Lives, world), settings=slowly)


# What the model has found.


@pytest.mark.feature("AP18", "X4")
def test_asking_twice_to_stop_is_no_conflict(agent: Agent, trace: Path) -> None:
    """POST …/cancel is 409 once the call is final, and a running call is not."""
    answer = agent.invoke("leave_trace", path=str(trace)).json()
    transitions.claim(Invocation.objects.get(), transitions.now())
    url = f"/api/v1/invocations/{answer['invocation_id']}/cancel"
    assert [agent.client.post(url).status_code for _ in range(2)] == [200, 200]


@pytest.mark.feature("AP8")
def test_a_call_whose_twins_have_all_run_out_is_held_anew(agent: Agent, trace: Path) -> None:
    agent.invoke("guarded_trace", path=str(trace))
    agent.invoke("guarded_trace", path=str(trace), headers={"Idempotency-Key": "k"})
    Approval.objects.update(expires_at=transitions.now())
    answer = agent.invoke("guarded_trace", path=str(trace))
    assert (answer.status_code, answer.json()["status"]) == (202, "requires_approval")
