"""What a run has done and seen, as Markdown."""

from collections import Counter

from tests.faults.stories import World
from tests.faults.storm import Result


def report(result: Result) -> str:
    """The counts of one run."""
    plan, world = result.plan, result.world
    faults = Counter(fault.kind for fault in world.breaks)
    counts = {
        "requests": len(world.asks),
        "of which without an answer": sum(ask.answer is None for ask in world.asks),
        "calls": len(world.rows),
        "effects begun": sum(effect.word == "start" for effect in world.effects),
        "lines of the ledger about calls": len(world.lines),
        "calls given to a second or third worker": sum(row.claims > 1 for row in world.rows),
        "messages dropped": _messages(world, "drop"),
        "messages doubled": _messages(world, "double") + faults["echo"],
        "seconds until all was quiet": round(result.seconds_to_quiet),
        "findings": len(result.findings),
    }
    parts = [
        f"### {plan.stores}, {plan.seconds / 60:g} minutes, seed `{plan.seed}`",
        _table("what", counts),
        _table("call ended as", Counter(row.status for row in world.rows)),
        _table("fault", faults),
    ]
    return "\n\n".join(parts) + "\n"


def _messages(world: World, kind: str) -> int:
    return sum(int(fault.detail) for fault in world.breaks if fault.kind == kind)


def _table(title: str, counts: dict[str, int]) -> str:
    """Two columns; a counter's highest first."""
    rows = counts.most_common() if isinstance(counts, Counter) else list(counts.items())
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {n} |" for name, n in rows)])
