"""Paging by key: stable while rows are inserted, and as fast on the last page as on the first."""

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from rest_framework.exceptions import APIException
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200
BATCH = 25
LARGEST_PAGE = 4 * 2**20
"""Bytes of the rows' large columns, as the view weighs them; a page ends after the row that
passes it, however many were asked for."""


class BadCursor(APIException):
    """`cursor` and `limit` come from a `next`, or are a number from 1."""

    status_code = 400
    default_code = "invalid_cursor"


class OpaqueCursor(BasePagination):
    """Rows by descending id; `next` is given back as `cursor` for the page that follows.

    Ids are UUIDs of version 7, so newest is first, and a new row is never before an old cursor.
    """

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        limit = _limit(request.query_params.get("limit"))
        if cursor := request.query_params.get("cursor"):
            queryset = queryset.filter(pk__lt=_decoded(cursor))
        weigh = getattr(view, "weigh", _nothing)
        rows, more_follow = _page(queryset.order_by("-pk"), limit, weigh)
        self.next = _encoded(rows[-1].pk) if more_follow else None
        self.results_name = getattr(view, "results_name", "results")
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.results_name: data, "next": self.next})


def _page(queryset: Any, limit: int, weigh: Callable[[Any], int]) -> tuple[list[Any], bool]:
    """The rows up to the limit, or until they weigh too much; and whether more follow.

    They are read a few at a time, so that a page of large rows never stands in memory whole.
    """
    rows: list[Any] = []
    weight, rest = 0, queryset
    while True:
        batch = list(rest[:BATCH])
        for row in batch:
            if len(rows) == limit or weight > LARGEST_PAGE:
                return rows, True
            rows.append(row)
            weight += weigh(row)
        if len(batch) < BATCH:
            return rows, False
        rest = queryset.filter(pk__lt=rows[-1].pk)


def _nothing(row: Any) -> int:
    return 0


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise BadCursor("limit is a whole number from 1", code="invalid_limit")
    return min(int(text[:9]), LARGEST_LIMIT)


def _encoded(key: UUID) -> str:
    return base64.urlsafe_b64encode(key.bytes).rstrip(b"=").decode()


def _decoded(cursor: str) -> UUID:
    with suppress(ValueError):
        key = UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
        if _encoded(key) == cursor:  # Else it is another spelling, which nobody was given.
            return key
    raise BadCursor("this cursor was not given out here")
