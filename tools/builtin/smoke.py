"""The tools of `manage.py smoke`: one for each way that a call can go; they touch nothing.

What they answer is random, so that a replay that had run again would show. Only a key with the
scope `rampart.smoke` sees them, and the command makes one for each of its runs.
"""

from secrets import token_hex

from tools import rate_limit, require_approval, scope, side_effects, timeout, tool


@tool(name="rampart.smoke.read")
@scope("rampart.smoke")
@side_effects(read_only=True, idempotent=True)
@timeout(10)
def read() -> str:
    """Answer at once, in the web process's warm children."""
    return token_hex(8)


@tool(name="rampart.smoke.closed")
@scope("rampart.smoke.closed")
@side_effects(read_only=True, idempotent=True)
@timeout(10)
def closed() -> str:
    """Never answer: it needs a scope that the keys of a smoke run lack."""
    return token_hex(8)


@tool(name="rampart.smoke.limited")
@scope("rampart.smoke")
@side_effects(read_only=True, idempotent=True)
@rate_limit("1/hour/key")
@timeout(10)
def limited() -> str:
    """Answer each key once an hour."""
    return token_hex(8)


@tool(name="rampart.smoke.write")
@scope("rampart.smoke")
@side_effects(writes_data=True)
@require_approval(hold=True)
@timeout(10)
def write(hold: bool = False) -> str:
    """Be treated as a tool that writes: run once, by a worker; held for a person if asked to be."""
    return token_hex(8)
