"""ToolRampart 0.2.0 with the same two tools, on the same PostgreSQL; it runs in its own venv."""

import os

from toolrampart import (
    ToolRampart,
    hash_api_key,
    isolated_process,
    rate_limit,
    scope,
    side_effects,
)
from toolrampart.app import create_app
from toolrampart.auth import APIKeyAuthenticator, HashedAPIKeyAuthenticator, Principal
from toolrampart.storage import create_audit_store

KEY = os.environ["BENCH_KEY"]
SCOPES = ["bench.read", "bench.write"]

rampart = ToolRampart(audit_log=create_audit_store(os.environ["DATABASE_URL"]))


@rampart.tool(name="bench.add")
@scope("bench.read")
@rate_limit("100000000/hour/actor")
@side_effects(read_only=True)
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


@rampart.tool(name="bench.add_isolated")
@scope("bench.write")
@side_effects(writes_data=True)
@isolated_process
def add_isolated(a: int, b: int) -> dict[str, int]:
    """Add two numbers in a process of its own."""
    return {"sum": a + b}


if os.environ["BENCH_KEYS"] == "hashed":
    hashed = {"actor": "bench", "scopes": SCOPES, "hash": hash_api_key(KEY)}
    authenticator = HashedAPIKeyAuthenticator({"bench": hashed})
else:
    authenticator = APIKeyAuthenticator({KEY: Principal(actor="bench", scopes=SCOPES)})

app = create_app(rampart, authenticator=authenticator, require_auth=True)
