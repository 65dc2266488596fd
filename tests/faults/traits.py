"""What the checker knows of the tools in `kit`, without importing them.

Importing them would define them in the process of the tests, beside the tests' own.
"""

from dataclasses import dataclass

MODULE = "tests.faults.kit"


@dataclass(frozen=True)
class Traits:
    """How a tool behaves when nothing goes wrong, and what the product promises of it."""

    ends_as: str = "success"
    repeats: bool = False
    """Running it twice does no harm."""
    reads: bool = False
    """It may run where the request is, and has no line before it runs then."""
    attempts: int = 1
    """In one claim."""
    gated: bool = False
    seconds: bool = False
    """It takes an argument of that name."""
    per_minute: int | None = None


TRAITS = {
    "peek": Traits(repeats=True, reads=True),
    "write": Traits(),
    "write_apart": Traits(),
    "write_slowly": Traits(seconds=True),
    "settle": Traits(repeats=True, seconds=True),
    "stumble": Traits(repeats=True, attempts=3),
    "hang": Traits(ends_as="timeout"),
    "fail": Traits(ends_as="error"),
    "guarded": Traits(gated=True),
    "guarded_settle": Traits(gated=True, repeats=True, seconds=True),
    "counted": Traits(per_minute=6),
}
MOST_CLAIMS = 3
"""How often a tool that may run again is given to a worker, `approvals.upkeep` says."""
