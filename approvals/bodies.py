"""The bodies that the API accepts, and the two headers that say how to treat a call."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from approvals.idempotency import KEY_FORM, LONGEST_KEY, is_key
from approvals.pipeline import Patience
from audit.canonical import storable_text

LONGEST_WAIT = 60
IDEMPOTENCY_HEADERS = ("Idempotency-Key", "X-Idempotency-Key")
WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.ASCII | re.IGNORECASE)
KEY_SCHEMA = {"type": "string", "pattern": "^[ -~]+$", "minLength": 1, "maxLength": LONGEST_KEY}
"""What is promised of an idempotency key; other printable characters are taken as well."""

Note = Annotated[str, AfterValidator(storable_text)]
"""What a person writes; no text in PostgreSQL holds NUL, and a decision is not refused for it."""

Body = TypeVar("Body", bound=BaseModel)


class BadRequest(APIException):
    """The request can't be read as what it should be."""

    status_code = 400
    default_code = "invalid_request"


def _or_null(schema: dict[str, Any]) -> None:
    """A member that is null counts as one that is not there, and the schema says so."""
    for name, member in schema["properties"].items():
        if "anyOf" not in member:
            schema["properties"][name] = {"anyOf": [member, {"type": "null"}]}


class InvokeBody(BaseModel):
    """`POST …/invoke`; ToolRampart's identity fields are let in and looked at by nobody."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, json_schema_extra=_or_null)

    arguments: dict[str, Any] = Field(default_factory=dict)
    approval_id: str | None = Field(default=None, max_length=64)
    idempotency_key: Annotated[str, WithJsonSchema(KEY_SCHEMA)] | None = None
    session_id: UUID | None = None
    request_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class DecisionBody(BaseModel):
    """`POST …/approve` and `/reject`."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, json_schema_extra=_or_null)

    note: Note = Field(default="", max_length=10_000)
    reason_to_agent: Note = Field(default="", max_length=10_000)
    expected_digest: str | None = None
    confirmation: str = Field(default="", max_length=200)
    """The tool's name, where the rules ask that it is typed."""


def read_invoke(request: Request) -> InvokeBody:
    """The body of a call, or BadRequest naming the fields."""
    return _read(InvokeBody, request)


def read_decision(request: Request) -> DecisionBody:
    """The body of a decision, or BadRequest naming the fields."""
    return _read(DecisionBody, request)


def _read(model: type[Body], request: Request) -> Body:
    data = request.data
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_request")
    data = {key: value for key, value in data.items() if value is not None}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_input=False)
        )
        raise BadRequest(wrong, code="invalid_request") from None


def idempotency_key(request: Request, body: InvokeBody) -> str | None:
    """The key, quoted or bare: the headers must agree, and they beat the body."""
    given = [request.headers[name] for name in IDEMPOTENCY_HEADERS if name in request.headers]
    if any("," in value and not value.strip().startswith('"') for value in given):
        # WSGI joins a header that is given twice; which of the two is meant, nobody knows.
        raise BadRequest("one header, or a quoted key", code="idempotency_key_mismatch")
    in_headers = {_unquoted(value) for value in given}
    in_body = {body.idempotency_key} if body.idempotency_key is not None else set()
    if len(in_headers) > 1:
        raise BadRequest("the two headers disagree", code="idempotency_key_mismatch")
    if not all(map(is_key, in_headers | in_body)):
        raise BadRequest(f"an idempotency key has {KEY_FORM}", code="invalid_idempotency_key")
    return next(iter(in_headers or in_body), None)


def _unquoted(value: str) -> str:
    """RFC 8941 strings are quoted; bare ones are what most clients send."""
    value = value.strip()
    quoted = len(value) >= 2 and value[0] == value[-1] == '"'
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value


@dataclass(frozen=True, slots=True)
class Preference:
    """What the Prefer header (RFC 7240) asks for, and what was applied of it."""

    patience: Patience
    applied: str | None


def preference(request: Request) -> Preference:
    """`respond-async` answers at once, `wait=N` waits up to N seconds, also for a person."""
    asked = request.headers.get("Prefer", "")
    if "respond-async" in asked.casefold():
        return Preference(Patience(0.0), "respond-async")
    if match := WAIT.search(asked):
        seconds = min(int(match[1]), LONGEST_WAIT)
        return Preference(Patience(seconds, for_people=True), f"wait={seconds}")
    return Preference(Patience(settings.RAMPART_SYNC_WAIT_SECONDS), None)


def wait_of(request: Request) -> int:
    """`?wait=SECONDS`, at most 60."""
    text = request.query_params.get("wait", "0")
    if not text.isascii() or not text.isdigit():
        raise BadRequest("wait is a whole number of seconds", code="invalid_request")
    return min(int(text[:6]), LONGEST_WAIT)


REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def is_request_id(text: str) -> bool:
    """Whether the text may serve as a request's id."""
    return REQUEST_ID.fullmatch(text) is not None
