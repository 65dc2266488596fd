"""Drives ToolRampart's own client; run by the environment that has it, never imported here.

A line of standard input is a call: `[options of the client, method, arguments, options]`. A line of
standard output is what the client made of it: `{"returned"}` or `{"raised", "text", "answer"}`,
the last being the text of the answer that a typed error of theirs carries. Two options are ours:
`headers` for an HTTP client that the user brings along, and `hooked` to have it raise problems.
"""

import json
import sys
from typing import Any

import httpx
from toolrampart import ToolRampartClient
from toolrampart.client import ToolRampartHTTPError


def main() -> None:
    """Answer line by line until there is no more to read."""
    for line in sys.stdin:
        print(json.dumps(made_of(*json.loads(line)), default=as_json), flush=True)


def made_of(
    options: dict[str, Any], method: str, arguments: list[Any], named: dict[str, Any]
) -> dict[str, Any]:
    """What one call of the client comes to."""
    hooks = {"response": [raise_problems]} if options.pop("hooked", False) else {}
    headers = options.pop("headers", {})
    try:
        with (
            httpx.Client(headers=headers, event_hooks=hooks, timeout=30) as http,
            ToolRampartClient(**options, client=http) as client,
        ):
            return {"returned": getattr(client, method)(*arguments, **named)}
    except ToolRampartHTTPError as error:
        return raised(error) | {"answer": error.response.text}
    except Exception as error:
        return raised(error)


def raise_problems(response: httpx.Response) -> None:
    """The hook of docs/how-to/move-from-toolrampart.md."""
    if response.headers["Content-Type"] == "application/problem+json":
        response.read()
        raise ToolRampartHTTPError(response)


def raised(error: Exception) -> dict[str, Any]:
    """The error as a user of the client reads it."""
    return {"raised": type(error).__name__, "text": str(error)}


def as_json(result: Any) -> dict[str, Any]:
    """A result of theirs, with the property that their docs tell users to ask."""
    return {**result.model_dump(), "ok": result.ok}


if __name__ == "__main__":
    main()
