"""What commands are given: a call's arguments, and a key, which never stands on a command line.

Whoever can list a machine's processes can read their command lines, and shells keep them.
"""

import argparse
import os
import sys
from io import BytesIO
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser
from rest_framework.exceptions import APIException

from rampart.parsers import LARGEST_BODY, StrictJSONParser
from tools.keys import LONGEST_CREDENTIAL

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STDIN = "-"
MOST_DIGITS = 9
LONGEST_WAIT = 86_400
"""Seconds; here a wait holds no thread of a server."""


class BadArguments(Exception):
    """What was given can't be read as a call's arguments; the message says why."""


def add_args(parser: CommandParser) -> None:
    """The option `--args`, as `given_args`: Django has another meaning for `args`."""
    parser.add_argument(
        "--args", dest="given_args", default="{}", metavar="JSON|@FILE|-",
        help="the arguments, one JSON object",
    )  # fmt: skip


def read_args(given: str) -> dict[str, Any]:
    """The object that `--args` names, read as strictly as a body of the API."""
    try:
        raw = _raw(given).removeprefix(BYTE_ORDER_MARK)
        value = StrictJSONParser().parse(BytesIO(raw))
    except OSError as error:
        raise BadArguments(f"{given[1:]}: {error.strerror}") from None
    except APIException as error:
        raise BadArguments(str(error.detail)) from None
    if not isinstance(value, dict):
        raise BadArguments("the arguments must be a JSON object")
    return value


def _raw(given: str) -> bytes:
    """At most one byte more than is allowed, from standard input, a file, or the option itself."""
    if given == STDIN:
        return sys.stdin.buffer.read(LARGEST_BODY + 1)
    if given.startswith("@"):
        with open(given[1:], "rb") as file:
            return file.read(LARGEST_BODY + 1)
    return os.fsencode(given)


def only_stdin(given: str) -> str:
    """The type of `--key`: a hyphen. What else is given may be a key, and is not repeated."""
    if given != STDIN:
        raise argparse.ArgumentTypeError("takes only '-': a key comes in by standard input")
    return given


def read_key() -> str:
    """The key on the first line of standard input."""
    return sys.stdin.readline(LONGEST_CREDENTIAL + 2).strip()


def id_of(text: str) -> UUID:
    """The id that the text is; for what is none, the id of zeros, which nothing has."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)


def seconds(given: str) -> int:
    """The type of `--wait`: a whole number, at most a day."""
    is_number = given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS
    if not is_number or int(given) > LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"takes a whole number up to {LONGEST_WAIT}")
    return int(given)
