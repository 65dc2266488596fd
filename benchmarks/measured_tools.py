"""The two tools that are measured, for Rampart; `their_app` has the same for ToolRampart."""

from tools import isolated_process, rate_limit, scope, side_effects, tool


@tool(name="bench.add")
@scope("bench.read")
@rate_limit("100000000/hour/actor")
@side_effects(read_only=True)
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


@tool(name="bench.add_isolated")
@scope("bench.write")
@side_effects(writes_data=True)
@isolated_process
def add_isolated(a: int, b: int) -> dict[str, int]:
    """Add two numbers in a process of its own."""
    return {"sum": a + b}
