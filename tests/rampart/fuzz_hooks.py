"""What the schema can't say of our leniency and of time; schemathesis loads it in its process."""

from typing import Any
from zlib import crc32

import schemathesis
from schemathesis import Case, HookContext

LENIENT = {"limit": 200, "wait": 60}
"""More counts as the most, so that clients of other servers need not be changed."""
KEYS = {"idempotency-key", "x-idempotency-key"}

MEANT: list[dict[str, Any] | None] = [
    {"order_id": "A-1001"},
    {"order_id": "A-1001", "amount": 20},
    {"order_id": "A-1001", "amount": 900},
    {"order_id": "A-1001", "amount": 20_000},
    {"account_id": "7", "reason": "asked for"},
    *[None] * 5,
]
"""Arguments that fit a tool of the demo; None leaves what the fuzzer has made."""


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Let half of the calls mean something: made-up arguments fit no tool."""
    if not isinstance(body, dict) or not isinstance(body.get("arguments"), dict):
        return body
    meant = MEANT[crc32(repr(body).encode(errors="replace")) % len(MEANT)]
    return body if meant is None else body | {"arguments": meant}


@schemathesis.hook
def filter_case(context: HookContext, case: Case) -> bool:
    """Leave out what the API takes though the schema promises less, and two keys that differ."""
    query, headers = case.query or {}, case.headers or {}
    keys = [str(value) for name, value in headers.items() if name.casefold() in KEYS]
    in_body = str(case.body.get("idempotency_key", "")) if isinstance(case.body, dict) else ""
    return (
        not any(_is_more_than(query.get(name), most) for name, most in LENIENT.items())
        and all(key.isascii() for key in (*keys, in_body))
        and len(keys) < 2
    )


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Nobody decides what the fuzzer waits for: a second is as good as sixty."""
    if case.query and str(case.query.get("wait", "")).isdigit():
        case.query["wait"] = min(int(case.query["wait"]), 1)


def _is_more_than(value: Any, most: int) -> bool:
    try:
        return int(value) > most
    except (TypeError, ValueError):
        return False
