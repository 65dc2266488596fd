"""What a session may spend: five numbers, which a caller may lower and its key's ceilings bound.

Pure. The usual numbers are those of the RLM gateway, whose clients know them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from audit.canonical import storable_text

LARGEST = 2**31 - 1
"""No ceiling is above this: about 24 days, or 2 GiB of results."""
MOST_FAULTS = 20
LONGEST_SHOWN = 40
"""Characters of a name or number that are said back to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much one session may spend, fixed when it is opened."""

    max_depth: int = 10
    max_iterations: int = 30
    max_tool_calls: int = 100
    timeout_ms: int = 300_000
    max_output_bytes: int = 10_485_760

    def describe(self) -> dict[str, int]:
        """The budgets by name."""
        return asdict(self)


USUAL = Budgets()


def within(asked: Mapping[str, Any], ceilings: Budgets) -> Budgets:
    """The budgets as asked for; what is not named is as usual, or the ceiling where that is lower.

    Raises ValueError with everything that is wrong: unknown names, what is no whole number from 1,
    and what is above the ceiling.
    """
    asked = {name: _whole(number) for name, number in asked.items()}
    highest = ceilings.describe()
    if wrong := [*islice(_faults(asked, highest), MOST_FAULTS)]:
        raise ValueError("; ".join(wrong))
    usual = {name: min(number, highest[name]) for name, number in USUAL.describe().items()}
    return Budgets(**{**usual, **asked})


def _whole(number: Any) -> Any:
    """20.0 is a whole number, as JSON Schema has it."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _faults(asked: Mapping[str, Any], highest: Mapping[str, int]) -> Iterator[str]:
    for name, number in asked.items():
        if name not in highest:
            known = ", ".join(highest)
            yield f"config.{_short(name)}: there is no such budget; there are {known}"
        elif type(number) is not int or number < 1:
            yield f"config.{name}: a whole number from 1"
        elif number > highest[name]:
            yield f"config.{name}: {_short(number)} is above this key's ceiling of {highest[name]}"


def ceilings_of(given: Mapping[str, int | None]) -> dict[str, int]:
    """What is kept of a key's ceilings: those that are not as usual. ValueError if one can't be."""
    unusual = {
        name: number
        for name, number in given.items()
        if number is not None and number != getattr(USUAL, name)
    }
    if wrong := [name for name, number in unusual.items() if not 1 <= number <= LARGEST]:
        raise ValueError(f"{', '.join(wrong)}: a whole number from 1 to {LARGEST}")
    return unusual


def _short(value: object) -> str:
    """A stranger's name or number, as long as it is said back."""
    text = storable_text(str(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
