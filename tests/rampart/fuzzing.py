"""schemathesis against a real deployment: as a key, as a person, as nobody.

`make fuzz` runs it for longer than the tests do.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import servers
from tests.stack import BIN, Stack, running

REVIEWER = ("decide_approval", "view_approval", "view_invocation", "view_event")
TOOLS = ["lookup_order", "refund_payment", "delete_account", "exchange_rate"]
"""Not the slow one: it would only take time."""
HELD = 20
"""Calls that wait for a person when the fuzzing begins."""
EXAMPLES, SEED = 300, 1

KNOWN = """
hooks = {hooks}
# Made-up credentials beside good ones would be refused at the gate, and nothing behind it met.
generation.with-security-parameters = {makes_credentials}

[dictionaries]
tools = {{ values = {tools} }}
invocations = {{ values = {invocations} }}
approvals = {{ values = {approvals} }}
events = {{ values = {events} }}

[parameters]
"path.name" = {{ dictionary = "tools", probability = 0.6 }}
"path.invocation_id" = {{ dictionary = "invocations", probability = 0.6 }}
"path.approval_id" = {{ dictionary = "approvals", probability = 0.6 }}
"path.event_id" = {{ dictionary = "events", probability = 0.6 }}
"body.approval_id" = {{ dictionary = "approvals", probability = 0.2 }}

[[operations]]
include-operation-id = "invoke"
# What a tool takes, and whether it wants an idempotency key, stands in the tool's own schema.
checks.positive_data_acceptance.expected-statuses = [
    200, 202, 400, 401, 403, 404, 409, 410, 422, 429
]

[[operations]]
include-operation-id = "proveConsistency"
# How large the newest tree is stands in no schema, nor that `from` is no more than `to`.
checks.positive_data_acceptance.expected-statuses = [200, 400, 401, 403, 404]
"""


@dataclass
class Range:
    """A deployment to be fuzzed, with what a key has called in it."""

    stack: Stack
    key: str
    session: dict[str, str]
    held: list[dict[str, Any]]

    def fuzz(
        self, headers: dict[str, str], examples: int, seed: int = SEED
    ) -> subprocess.CompletedProcess[str]:
        """Every check on every operation, with these headers."""
        arguments = ["--max-examples", str(examples), "--seed", str(seed)]
        for name, value in headers.items():
            arguments += ["--header", f"{name}: {value}"]
        return subprocess.run(
            [
                str(BIN / "schemathesis"), "--config-file", str(self._config(not headers)),
                "run", f"{self.stack.base_url}/api/v1/schema", *arguments,
                "--generation-database", "none", "--continue-on-failure", "--no-color",
                "--request-timeout", "30",
            ],
            cwd=self.stack.folder, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.stack.folder)},
        )  # fmt: skip

    def as_key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def _config(self, makes_credentials: bool) -> Path:
        config = self.stack.folder / "schemathesis.toml"
        config.write_text(
            KNOWN.format(
                makes_credentials=json.dumps(makes_credentials),
                hooks=json.dumps(str(Path(__file__).with_name("fuzz_hooks.py"))),
                tools=json.dumps(TOOLS),
                invocations=json.dumps([call["invocation_id"] for call in self.held]),
                approvals=json.dumps([call["approval_id"] for call in self.held]),
                events=json.dumps([call["audit_id"] for call in self.held]),
            )
        )
        return config


SCOPES = (
    "audit.read_all",
    *(f"{family}.*" for family in ("orders", "refunds", "accounts", "reports")),
)
"""All but `key.rotate`: the fuzzer would end its own key."""


@contextlib.contextmanager
def shooting_range() -> Iterator[Range]:
    """A deployment on PostgreSQL and Redis, with a key, a reviewer and calls that are held."""
    with (
        servers.postgres() as (_, database),
        servers.redis_server() as (_, redis),
        running(
            DATABASE_URL=database, REDIS_URL=redis, RAMPART_TOOL_MODULES="tools.examples.demo",
            RAMPART_SYNC_WAIT_SECONDS="1", RAMPART_REFUSALS_PER_MINUTE="1000000",
            RAMPART_GUESSES_PER_MINUTE="100000",
        ) as stack,
    ):  # fmt: skip
        key = stack.new_key("fuzzer", SCOPES)
        browser = stack.signed_in("rosa", stack.new_person("rosa", *REVIEWER))
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        session = {"Cookie": cookies, "X-CSRFToken": browser.cookies["csrftoken"]}
        held = [
            stack.invoke("refund_payment", key, order_id="A-1001", amount=1000 + number).json()
            for number in range(HELD)
        ]
        yield Range(stack, key, session, held)


def main(examples: int = EXAMPLES, seed: int = SEED) -> None:
    """The long way: prints what schemathesis says."""
    with shooting_range() as target:
        for headers in (target.session, target.as_key(), {}):
            print(target.fuzz(headers, examples, seed).stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
