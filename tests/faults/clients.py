"""Those who use the deployment meanwhile: agents that call, people who decide. All is logged."""

import random
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.faults.journal import Journal
from tests.faults.traits import TRAITS

KINDS = {
    "peek": 14, "write": 14, "write_apart": 6, "write_slowly": 8, "settle": 8, "stumble": 8,
    "hang": 2, "fail": 4, "guarded": 14, "guarded_settle": 6, "counted": 6,
}  # fmt: skip
"""How often each tool is called, relative to the others."""
PLANS = {"approve": 40, "twice": 20, "reject": 12, "cancel": 8, "leave": 20}
"""What becomes of a held call; `twice` is two people at the same instant."""
SECONDS_TO_ANSWER = 60
Send = Callable[[], requests.Response]


@dataclass
class Office:
    """What agents and people share: the address, the log, what was called, what is to decide."""

    base_url: str
    journal: Journal
    effects: Path
    over: threading.Event = field(default_factory=threading.Event)
    keyed: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2000))
    """Calls that carry an idempotency key, to be repeated."""
    accepted: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=200))
    """Calls whose id is known, with their tool; the newest last."""
    desk: deque[str] = field(default_factory=deque)
    """Approvals that wait for a person."""

    def say(self, verb: str, who: str, send: Send, **about: Any) -> dict[str, Any]:
        """Send a request, and log it before and after; the answer's body, empty if none came."""
        number = self.journal.ask(verb, who, **about)
        try:
            answer = send()
            body: dict[str, Any] = answer.json()
        except (requests.RequestException, ValueError) as error:
            self.journal.lost(number, type(error).__name__)
            self.over.wait(0.1)  # What is dead is not asked in a busy loop.
            return {}
        self.journal.answer(number, http=answer.status_code, **_kept(body))
        return body


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    """What the checker reads of an answer."""
    if "approval" in body:
        return {"status": body["approval"]["status"], "approval": body["approval"]["id"]}
    if "code" in body:
        return {"code": body["code"]}
    return {
        "status": body["status"], "code": body["error_type"] or "", "data": body["data"],
        "invocation": body["invocation_id"], "approval": body["approval_id"],
        "replayed": body["replayed"],
    }  # fmt: skip


class Agent:
    """A service that calls tools, one call after another, with whims of its own."""

    def __init__(self, name: str, key: str, office: Office, seed: str, pause: float) -> None:
        self.name, self.office, self.pause = name, office, pause
        self.headers = {"Authorization": f"Bearer {key}"}
        self.dice = random.Random(seed)

    def work(self) -> None:
        """Until the run is over."""
        while not self.office.over.wait(self.dice.uniform(0, self.pause)):
            if self.office.keyed and self.dice.random() < 0.15:
                mine = [call for call in list(self.office.keyed) if call["who"] == self.name]
                if mine:
                    self.call(self.dice.choice(mine[-40:]), self._patience())
                    continue
            tool = self.dice.choices(list(KINDS), list(KINDS.values()))[0]
            call = self._new_call(tool, with_key=self.dice.random() < 0.5)
            self._follow(self.call(call, self._patience()))

    def first(self) -> dict[str, str]:
        """A call that is let in for certain; its id and tool."""
        body = self.call(self._new_call("write", with_key=False), "wait=30")
        return {"id": body["invocation_id"], "tool": body["tool_name"]}

    def call(self, call: dict[str, Any], patience: str) -> dict[str, Any]:
        """Make a call, new or repeated."""
        headers = dict(self.headers)
        if patience:
            headers["Prefer"] = patience
        if call["key"]:
            headers["Idempotency-Key"] = call["key"]
        url = f"{self.office.base_url}/api/v1/tools/{call['tool']}/invoke"
        about = {name: call[name] for name in ("tool", "ticket", "key")}
        body = {"arguments": call["arguments"]}
        return self.office.say(
            "invoke", self.name,
            lambda: requests.post(url, json=body, headers=headers, timeout=SECONDS_TO_ANSWER),
            **about,
        )  # fmt: skip

    def _new_call(self, tool: str, *, with_key: bool) -> dict[str, Any]:
        ticket = uuid.UUID(int=self.dice.getrandbits(128)).hex
        arguments: dict[str, Any] = {"path": str(self.office.effects), "ticket": ticket}
        if TRAITS[tool].seconds:
            arguments["seconds"] = round(self.dice.uniform(0.5, 3), 1)
        key = f"key-{ticket}" if with_key else None
        call = {"who": self.name, "tool": tool, "ticket": ticket, "key": key}
        call["arguments"] = arguments
        if key:
            self.office.keyed.append(call)
        return call

    def _patience(self) -> str:
        """Mostly the answer is not waited for, so that more can be asked."""
        return self.dice.choice(["respond-async"] * 4 + ["wait=1", "wait=6", ""])

    def _follow(self, body: dict[str, Any]) -> None:
        """What an agent does with a call that was accepted: hand it to people, look, cancel."""
        if not (invocation := body.get("invocation_id")):
            return
        self.office.accepted.append({"id": invocation, "tool": body["tool_name"]})
        if body["status"] == "requires_approval":
            self.office.desk.append(body["approval_id"])
            return
        whim = self.dice.random()
        if whim < 0.12:
            self.office.over.wait(self.dice.uniform(0, 1.5))  # Now and then into the running tool.
            self.cancel(invocation)
        elif whim < 0.5:
            self.read(invocation, self.dice.choice([0, 1, 5]))

    def cancel(self, invocation: str) -> None:
        """Take the call back."""
        url = f"{self.office.base_url}/api/v1/invocations/{invocation}/cancel"
        self.office.say(
            "cancel", self.name,
            lambda: requests.post(url, headers=self.headers, timeout=SECONDS_TO_ANSWER),
            target=invocation,
        )  # fmt: skip

    def read(self, invocation: str, wait: int) -> None:
        """See how the call stands."""
        url = f"{self.office.base_url}/api/v1/invocations/{invocation}?wait={wait}"
        self.office.say(
            "read", self.name,
            lambda: requests.get(url, headers=self.headers, timeout=SECONDS_TO_ANSWER),
            target=invocation,
        )  # fmt: skip


class Desk:
    """The people who decide, each in a session of the admin's."""

    def __init__(
        self, office: Office, people: dict[str, requests.Session], agent: Agent, seed: str
    ) -> None:
        self.office, self.people, self.agent = office, people, agent
        self.dice = random.Random(seed)

    def work(self) -> None:
        """Decide what comes in, until the run is over."""
        while not self.office.over.wait(self.dice.uniform(0, 0.5)):
            if self.office.desk:
                self._treat(self.office.desk.popleft())

    def _treat(self, approval: str) -> None:
        plan = self.dice.choices(list(PLANS), list(PLANS.values()))[0]
        first, second = self.dice.sample(sorted(self.people), 2)
        match plan:
            case "approve" | "reject":
                self._decide(first, plan, approval)
            case "twice":
                self._both(first, second, approval)
            case "cancel":
                url = f"{self.office.base_url}/api/v1/approvals/{approval}/cancel"
                self.office.say(
                    "cancel", self.agent.name,
                    lambda: requests.post(url, headers=self.agent.headers, timeout=30),
                    target=approval,
                )  # fmt: skip

    def _both(self, first: str, second: str, approval: str) -> None:
        """Two people at the same instant."""
        at_once = threading.Barrier(2)

        def decide(name: str) -> None:
            at_once.wait(30)
            self._decide(name, "approve", approval)

        threads = [threading.Thread(target=decide, args=(name,)) for name in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _decide(self, name: str, verb: str, approval: str) -> None:
        url = f"{self.office.base_url}/api/v1/approvals/{approval}/{verb}"
        session = self.people[name]
        self.office.say(verb, name, lambda: session.post(url, json={}, timeout=30), target=approval)
