"""JSON as RFC 8259 readers agree on it, within bounds, and nothing else."""

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from tools import strict_json
from tools.strict_json import DEEPEST

LARGEST_BODY = 2**20
"""Bytes."""


class BodyTooLarge(APIException):
    """The body has more bytes than anybody needs for a call."""

    status_code = 413
    default_code = "body_too_large"
    default_detail = f"a body has at most {LARGEST_BODY} bytes"


class StrictJSONParser(BaseParser):
    """Refuses what readers disagree on: doubled keys, NaN, infinities, broken Unicode, depth."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        raw = stream.read(LARGEST_BODY + 1)
        if len(raw) > LARGEST_BODY:
            raise BodyTooLarge
        try:
            value = strict_json.parse(raw.decode("utf-8"))
            _check(value, 0)
        except RecursionError:
            raise ParseError(_TOO_DEEP, code="malformed_json") from None
        except ValueError as error:
            raise ParseError(
                f"not acceptable JSON: {_reason(error)}", code="malformed_json"
            ) from None
        return value


class AlwaysJSON(BaseContentNegotiation):
    """The API speaks JSON, whatever Accept says."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        media_type = (request.content_type or "").partition(";")[0].strip().casefold()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or "application/json"


_TOO_DEEP = f"not acceptable JSON: nested deeper than {DEEPEST} levels"


def _reason(error: ValueError) -> str:
    """Never the text of the body: it may hold a secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _check(value: Any, depth: int) -> None:
    if depth == DEEPEST and isinstance(value, dict | list):
        raise RecursionError
    match value:
        case str():
            if not value.isascii():
                _check_unicode(value)
        case dict():
            for key, item in value.items():
                _check(key, depth + 1)
                _check(item, depth + 1)
        case list():
            for item in value:
                _check(item, depth + 1)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a string has half a surrogate pair") from None
