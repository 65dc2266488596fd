"""A tool that gives its secret arguments away in each way that happens by accident."""

import os
import signal
import sys
import time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tools import (
    isolated_process,
    progress,
    redact,
    require_approval,
    scope,
    side_effects,
    timeout,
    tool,
)


class Card(BaseModel):
    """A card, whose number callers write as they like."""

    model_config = ConfigDict(populate_by_name=True)

    number: str = Field(alias="cardNumber")
    holder: str = "Ann"


class Wanted(BaseModel):
    """What no card is."""

    number: int


def give_away(secret: str, how: str) -> Any:
    """By the way that is named."""
    progress({"paying with": secret})
    print(f"stdout {secret}")
    print(f"stderr {secret}", file=sys.stderr)
    match how:
        case "raise":
            raise ValueError(f"refused: {secret}")
        case "chain":
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise RuntimeError(f"no such card: {error}") from error
        case "validate":
            Wanted.model_validate({"number": secret})
        case "name":
            raise type(f"No_{secret}", (Exception,), {})
        case "hang":
            time.sleep(60)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
    return {"paid with": secret, secret: [secret], "url": f"https://bank.example/?card={secret}"}


@tool
@scope("plant.pay")
@redact(["number", "cardNumber", "pin"])
@isolated_process
@timeout(2)
def plant(card: Card, how: str = "return", pin: Any = None, more: Any = None) -> Any:
    """Run at once, by a worker."""
    return give_away(card.number, how)


@tool
@scope("plant.pay")
@side_effects(read_only=True)
@redact(["number", "cardNumber", "pin"])
@timeout(5)
def plant_reading(card: Card, how: str = "return", pin: Any = None, more: Any = None) -> Any:
    """Run where it is asked for."""
    return give_away(card.number, how)


@tool
@scope("plant.pay")
@require_approval
@redact(["number", "cardNumber", "pin"])
@timeout(5)
def plant_held(card: Card, how: str = "return", pin: Any = None, more: Any = None) -> Any:
    """Run when a person has approved it."""
    return give_away(card.number, how)
