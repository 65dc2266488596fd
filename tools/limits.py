"""A rate limit as it is written: `10/minute/user`, `100/5 minutes/global`."""

import re
from dataclasses import dataclass
from enum import StrEnum

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
EXPRESSION = re.compile(r"(\d+)/(?:(\d+) )?(second|minute|hour|day)s?/([a-z]+)", re.ASCII)
LONGEST_WINDOW = 366 * 86400


class LimitScope(StrEnum):
    """Whose calls are counted together."""

    USER = "user"
    """The calling actor, under ToolRampart's first name for it."""
    ACTOR = "actor"
    """The calling actor."""
    KEY = "key"
    """One API key and those that it was rotated from or to."""
    TOOL = "tool"
    """Everybody's calls to this tool."""
    GLOBAL = "global"
    """Everybody's calls to all tools that carry the same limit."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` calls in any `seconds` in a row, counted per `scope`."""

    count: int
    seconds: int
    scope: LimitScope
    text: str

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """Read an expression; ValueError says what is wrong with it."""
        match = EXPRESSION.fullmatch(_plain(text)) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"rate limit {text!r} is not like '10/minute/user'")
        count, times, unit, scope = match.groups()
        seconds = int(times or 1) * SECONDS[unit]
        if int(count) < 1 or not 1 <= seconds <= LONGEST_WINDOW:
            raise ValueError(f"rate limit {text!r}: count and window must be above zero")
        if scope not in set(LimitScope):
            raise ValueError(f"rate limit {text!r}: scope is one of {', '.join(LimitScope)}")
        return cls(int(count), seconds, LimitScope(scope), text)


def _plain(text: str) -> str:
    """The expression without capitals and without blanks about its slashes, which mean nothing."""
    return "/".join(part.strip(" ") for part in text.lower().split("/"))
