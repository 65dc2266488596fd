"""The API of one's own key: what it is, and its replacement by its holder."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tools.durations import parse_duration
from tools.errors import KeyRefused
from tools.identity import Caller
from tools.key_cabinet import DEFAULT_OVERLAP, new_key_document, rotate_key
from tools.models import ApiKey

ROTATE = "key.rotate"
"""The scope by which a key may replace itself, and so outlive its time."""


class NotRotatable(APIException):
    """The key can't be replaced now; the sentence says why."""

    status_code = 409
    default_code = "not_rotatable"


class BadRotation(APIException):
    """The body is not as it should be."""

    status_code = 400
    default_code = "invalid_request"


class OwnKeyView(APIView):
    """`GET /key`: what the presented key is, and may do; never its secret."""

    def get(self, request: Request) -> Response:
        row = ApiKey.objects.select_related("owner").get(pk=_caller(request).key_id)
        return Response(row.describe())


class OwnKeyRotationView(APIView):
    """`POST /key/rotate`: another key for the caller, whose old one ends after an overlap."""

    def post(self, request: Request) -> Response:
        caller = _caller(request)
        overlap = _overlap(request.data)
        if not _may_rotate(caller):
            raise PermissionDenied(f"this needs the scope {ROTATE}", code="scope_denied")
        try:
            row, text = rotate_key(caller.prefix, overlap=overlap, by=caller.actor, by_holder=True)
        except KeyRefused as error:
            raise NotRotatable(str(error)) from None
        return Response(new_key_document(row, text), status=201)


def _caller(request: Request) -> Caller:
    who: object = request.user
    if not isinstance(who, Caller):
        raise PermissionDenied("this is about API keys", code="key_required")
    return who


def _may_rotate(caller: Caller) -> bool:
    """Who has to rotate may, too."""
    return caller.has_scope(ROTATE) or caller.must_rotate


def _overlap(body: Any) -> timedelta:
    if not isinstance(body, dict):
        raise BadRotation("the body must be a JSON object")
    given = body.get("overlap")
    if given is None:
        return DEFAULT_OVERLAP
    try:
        if not isinstance(given, str):
            raise ValueError("it is not text")
        return min(parse_duration(given), settings.RAMPART_MAX_KEY_LIFETIME)
    except ValueError as error:
        raise BadRotation(f"overlap: {error}") from None
