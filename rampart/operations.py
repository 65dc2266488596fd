"""What can be asked of the API, a row an operation: who answers what, and with which refusals.

The schema is drawn from this table; a view without a row stops its drawing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from pydantic import BaseModel, ConfigDict

from approvals import examples
from approvals.bodies import LONGEST_WAIT, DecisionBody, InvokeBody
from approvals.idempotency import LONGEST_KEY
from approvals.results import HTTP_STATUS
from approvals.shapes import (
    Approval,
    ApprovalPage,
    DecidedApproval,
    InvalidCall,
    InvocationPage,
    Result,
    SessionReport,
)
from approvals.states import ApprovalStatus, InvocationStatus, api_word
from audit.shapes import ConsistencyProof, EventPage, InclusionProof, Shape, SignedNote
from rampart.pagination import DEFAULT_LIMIT, LARGEST_LIMIT
from tools.definition import NAME
from tools.shapes import (
    ClosedSession,
    McpToolList,
    NewKey,
    NewSession,
    OwnKey,
    RotationBody,
    Session,
    SessionBody,
    Tool,
    ToolList,
)

Codes = Mapping[int, tuple[str, ...]]
Examples = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """The JSON of one HTTP status; `words` are those that its `status` may then have."""

    shape: type[BaseModel]
    words: tuple[str, ...] = ()
    examples: Examples = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass(frozen=True)
class Operation:
    """One method of one address."""

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    problems: Codes
    description: str = ""
    body: type[BaseModel] | None = None
    requests: Examples = field(default_factory=dict)
    parameters: tuple[OpenApiParameter, ...] = ()


class Document(Shape):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str


class Health(Shape):
    """The process serves."""

    status: str


class Checks(Shape):
    """Each part is `ok` or `failed`."""

    database: str
    broker: str
    migrations: str
    sandbox: str


class Readiness(Shape):
    """Whether calls would be carried out."""

    status: str
    checks: Checks


# Problems, by HTTP status.

ANYWHERE: Codes = {400: ("bad_request",), 411: ("length_required",), 500: ("internal_error",)}
AT_THE_GATE: Codes = {
    401: (
        "not_authenticated", "invalid_credentials", "malformed_credentials", "key_expired",
        "key_revoked", "key_owner_disabled", "key_not_allowed_here", "token_expired",
        "token_not_yet_valid", "token_incomplete", "token_inactive", "wrong_audience",
        "wrong_issuer", "wrong_algorithm", "unknown_signing_key", "unknown_person",
        "person_disabled", "not_a_person",
    ),
    400: ("malformed_credentials",),
    429: ("locked_out",),
    503: ("database_unavailable", "issuer_unavailable", "busy"),
}  # fmt: skip
IN_A_LIST: Codes = {400: ("invalid_filter", "invalid_cursor", "invalid_limit")}
IN_A_BODY: Codes = {
    400: ("malformed_json", "invalid_request"),
    413: ("body_too_large",),
    415: ("unsupported_media_type",),
}
BY_A_SESSION: Codes = {403: ("csrf_failed",), 413: ("body_too_large",)}
NOT_THERE: Codes = {404: ("not_found",)}
NO_SUCH_SESSION: Codes = {404: ("session_not_found", "not_found")}
NO_SUCH_TOOL: Codes = {404: ("unknown_tool", "not_found")}
OF_THE_LEDGER: Codes = {403: ("scope_denied",)}
OF_A_PROOF: Codes = {404: ("no_checkpoint",)}
OF_A_CALL: Codes = {
    400: ("invalid_idempotency_key", "idempotency_key_mismatch"),
    403: ("key_required",),
}
OF_A_CANCEL: Codes = {403: ("permission_denied",), 409: ("already_final",)}
OF_A_DECISION: Codes = {
    403: (
        "machine_cannot_approve", "permission_denied", "self_approval", "not_in_group",
        "step_up_required",
    ),
    409: (
        "already_decided", "already_voted", "single_only", "digest_mismatch", "tool_changed",
        "tool_gone", "tool_disabled",
        "policy_changed", "key_revoked", "scope_lost",
    ),
    410: ("expired",),
    422: ("reason_required", "confirmation_required"),
}  # fmt: skip


def _problems(*groups: Codes) -> Codes:
    """The groups together, status by status, each code once."""
    found: dict[int, tuple[str, ...]] = {}
    for group in (ANYWHERE, *groups):
        for status, codes in group.items():
            found[status] = tuple(dict.fromkeys((*found.get(status, ()), *codes)))
    return found


# Parameters.


def _query(
    name: str, schema: dict[str, Any] | OpenApiTypes, says: str, *, required: bool = False
) -> OpenApiParameter:
    return OpenApiParameter(
        name, schema, OpenApiParameter.QUERY, description=says, required=required
    )


def _path(name: str, schema: dict[str, Any] | OpenApiTypes) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.PATH, required=True)


def _sent(name: str, schema: dict[str, Any], says: str) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.HEADER, description=says)


def _one_of(words: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": words}


TEXT = {"type": "string"}
SECONDS = {"type": "integer", "minimum": 0}

WAIT = _query(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0},
    f"Seconds to wait for a decision or for the end; more than {LONGEST_WAIT} count as that.",
)
PAGE = (
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
        f"Rows at most; more than {LARGEST_LIMIT} count as that.",
    ),
    _query(
        "cursor",
        {"type": "string", "pattern": "^([A-Za-z0-9_-]{21}[AQgw])?$"},
        "The `next` of the page before.",
    ),
)
CALL_WORDS = sorted({*InvocationStatus.values, *map(api_word, InvocationStatus)})
OF_A_TOOL = _query("tool", TEXT, "Of this tool.")
SESSION = _query("session", OpenApiTypes.UUID, "Of this session.")
TOOL = _path("name", {"type": "string", "pattern": f"^{NAME.pattern}$"})
INVOCATION = _path("invocation_id", OpenApiTypes.UUID)
APPROVAL = _path("approval_id", OpenApiTypes.UUID)
EVENT = _path("event_id", OpenApiTypes.UUID)
LEAVES = {"type": "integer", "minimum": 1}
ONE_SESSION = _path("session_id", OpenApiTypes.UUID)
IDEMPOTENCY_KEY = {
    "type": "string",
    "maxLength": LONGEST_KEY,
    "pattern": r'^("[ -~]{2,}|[!#-+\--~]([ !-+\--~]*[!-+\--~])?)$',
}
"""Quoted, or bare and without a comma: the server joins two headers of a name with one."""
CALL_HEADERS = (
    _sent("Idempotency-Key", IDEMPOTENCY_KEY, "The same key again gets the first call's outcome."),
    _sent("X-Idempotency-Key", IDEMPOTENCY_KEY, "The same under its older name."),
    _sent("Prefer", TEXT, "`respond-async`, or `wait=N`: RFC 7240."),
)


# Headers of answers.


def _given(
    name: str, says: str, statuses: Iterable[int], schema: dict[str, Any], *, always: bool = False
) -> OpenApiParameter:
    return OpenApiParameter(
        name, schema, OpenApiParameter.HEADER, description=says, response=list(statuses),
        required=always,
    )  # fmt: skip


CALL_STATUSES = sorted({*HTTP_STATUS.values(), 400})
CALL_ANSWER_HEADERS = (
    _given("Location", "Where to look again.", [202], TEXT, always=True),
    _given(
        "Retry-After", "Seconds until it is worth asking again.", [202, 429], SECONDS, always=True
    ),
    _given("Retry-After", "Seconds, where they are known.", [409, 503], SECONDS),
    _given("Preference-Applied", "What was taken of `Prefer`.", CALL_STATUSES, TEXT),
    _given("Idempotency-Replayed", "An earlier call's outcome.", CALL_STATUSES, {"const": "true"}),
)


# Answers.


def _ok(shape: type[BaseModel]) -> Mapping[int, Answer]:
    return {200: Answer(shape)}


def _call_answers() -> Iterator[tuple[int, Answer]]:
    """Each HTTP status of a posted call, with the results' words that it stands for."""
    for status in CALL_STATUSES:
        shape = InvalidCall if status == 422 else Result
        words = tuple(word for word, stands in HTTP_STATUS.items() if stands == status)
        yield (
            status,
            Answer(shape, words or ("idempotency_conflict",), examples.results_with(status)),
        )


# The table.

OPERATIONS: dict[str, Operation] = {
    "GET /health": Operation(
        "health", "service", "Whether the process serves", _ok(Health), _problems(),
        "Open. Asks nobody else.",
    ),
    "GET /ready": Operation(
        "ready", "service", "Whether calls would be carried out",
        {200: Answer(Readiness, ("ok",)), 503: Answer(Readiness, ("unavailable",))}, _problems(),
        "Open.",
    ),
    "GET /schema": Operation(
        "schema", "service", "This document", _ok(Document), _problems(AT_THE_GATE),
        "Open: it tells of the API, and of no tool, key or call.",
    ),
    "GET /tools": Operation(
        "listTools", "tools", "The tools that the requester may call", _ok(ToolList),
        _problems(AT_THE_GATE), "A person sees all.",
    ),
    "GET /tools/{name}": Operation(
        "readTool", "tools", "One of them", _ok(Tool), _problems(AT_THE_GATE, NO_SUCH_TOOL),
        parameters=(TOOL,),
    ),
    "GET /mcp/tools": Operation(
        "listToolsForMcp", "tools", "The same in MCP's words", _ok(McpToolList),
        _problems(AT_THE_GATE),
    ),
    "POST /tools/{name}/invoke": Operation(
        "invoke", "calls", "Call a tool", dict(_call_answers()),
        _problems(
            AT_THE_GATE, NO_SUCH_TOOL, NO_SUCH_SESSION, IN_A_BODY, OF_A_CALL, BY_A_SESSION
        ),
        "Refuses, runs or holds the call. A refusal or a failure of the call is a result as well, "
        "`application/json`; what is `application/problem+json` never was a call.",
        body=InvokeBody, requests=examples.REQUESTS,
        parameters=(TOOL, *CALL_HEADERS, *CALL_ANSWER_HEADERS),
    ),
    "GET /invocations": Operation(
        "listInvocations", "calls", "The requester's calls", _ok(InvocationPage),
        _problems(AT_THE_GATE, IN_A_LIST),
        "Newest first. A key's own; a person's, by permission.",
        parameters=(
            _query("status", _one_of(CALL_WORDS), "Of this status."), OF_A_TOOL, SESSION, *PAGE,
        ),
    ),
    "GET /invocations/{invocation_id}": Operation(
        "readInvocation", "calls", "How a call stands, or how it ended", _ok(Result),
        _problems(AT_THE_GATE, NOT_THERE, {400: ("invalid_request",)}),
        "200 whatever the call's status.",
        parameters=(INVOCATION, WAIT),
    ),
    "POST /invocations/{invocation_id}/cancel": Operation(
        "cancelInvocation", "calls", "Take a call back", _ok(Result),
        _problems(AT_THE_GATE, NOT_THERE, OF_A_CANCEL, BY_A_SESSION),
        "By the caller, or by its key's owner. A running call is asked to stop.",
        parameters=(INVOCATION,),
    ),
    "GET /approvals": Operation(
        "listApprovals", "approvals", "Decisions about the requester's calls", _ok(ApprovalPage),
        _problems(AT_THE_GATE, IN_A_LIST),
        "Newest first. A key's own; a person's, by permission.",
        parameters=(
            _query("status", _one_of(ApprovalStatus.values), "Of this status."), OF_A_TOOL, *PAGE,
        ),
    ),
    "GET /approvals/{approval_id}": Operation(
        "readApproval", "approvals", "One of them", _ok(Approval),
        _problems(AT_THE_GATE, NOT_THERE), parameters=(APPROVAL,),
    ),
    "POST /approvals/{approval_id}/approve": Operation(
        "approve", "approvals", "Say yes to exactly this call", _ok(DecidedApproval),
        _problems(AT_THE_GATE, NOT_THERE, IN_A_BODY, OF_A_DECISION, BY_A_SESSION),
        "By a person who may decide and is not of the requester's side; it then runs, once.",
        body=DecisionBody, parameters=(APPROVAL,),
    ),
    "POST /approvals/{approval_id}/reject": Operation(
        "reject", "approvals", "Say no", _ok(DecidedApproval),
        _problems(AT_THE_GATE, NOT_THERE, IN_A_BODY, OF_A_DECISION, BY_A_SESSION),
        "By a person who may decide and is not of the requester's side.",
        body=DecisionBody, parameters=(APPROVAL,),
    ),
    "POST /approvals/{approval_id}/cancel": Operation(
        "cancelApproval", "approvals", "Take the held call back", _ok(Result),
        _problems(AT_THE_GATE, NOT_THERE, OF_A_CANCEL, BY_A_SESSION),
        "By the caller, or by its key's owner.",
        parameters=(APPROVAL,),
    ),
    "POST /sessions": Operation(
        "openSession", "sessions", "Open a session with budgets", {201: Answer(NewSession)},
        _problems(
            AT_THE_GATE, IN_A_BODY, BY_A_SESSION,
            {
                403: ("key_required",), 422: ("invalid_session_config",),
                429: ("too_many_sessions",),
            },
        ),
        "Calls that name it are charged to it. Some keys have other ceilings than are said here.",
        body=SessionBody,
        parameters=(_given("Location", "The session.", [201], TEXT, always=True),),
    ),
    "GET /sessions/{session_id}": Operation(
        "readSession", "sessions", "A session, and what is left of it", _ok(Session),
        _problems(AT_THE_GATE, NO_SUCH_SESSION), parameters=(ONE_SESSION,),
    ),
    "DELETE /sessions/{session_id}": Operation(
        "closeSession", "sessions", "Close a session", _ok(ClosedSession),
        _problems(
            AT_THE_GATE, NO_SUCH_SESSION, BY_A_SESSION, {403: ("permission_denied",)},
        ),
        "By the caller, by its key's owner, or by permission. Its calls that wait are cancelled, "
        "those that run are asked to stop; closing again changes nothing.",
        parameters=(ONE_SESSION,),
    ),
    "GET /sessions/{session_id}/provenance": Operation(
        "reportSession", "sessions", "What a session has done", _ok(SessionReport),
        _problems(AT_THE_GATE, NO_SUCH_SESSION, {400: ("invalid_request",)}),
        "After it is closed, too.",
        parameters=(
            ONE_SESSION,
            _query(
                "export_json", {"type": "boolean", "default": False},
                "The report as one JSON text beside it.",
            ),
        ),
    ),
    "GET /key": Operation(
        "readOwnKey", "keys", "What the presented key is", _ok(OwnKey),
        _problems(AT_THE_GATE, {403: ("key_required",)}),
    ),
    "POST /key/rotate": Operation(
        "rotateOwnKey", "keys", "Replace the presented key", {201: Answer(NewKey)},
        _problems(
            AT_THE_GATE, IN_A_BODY, BY_A_SESSION,
            {403: ("key_required", "scope_denied"), 409: ("not_rotatable",)},
        ),
        "Needs the scope `key.rotate`, or a key that must be rotated. Both keys work until the "
        "overlap ends. If the answer is lost, ask again: a successor that nobody used is replaced.",
        body=RotationBody,
    ),
    "GET /audit": Operation(
        "listEvents", "ledger", "Lines of the ledger", _ok(EventPage),
        _problems(AT_THE_GATE, IN_A_LIST, OF_THE_LEDGER),
        "Newest first. A key with `audit.read` sees its own actor's, with `audit.read_all` all.",
        parameters=(
            OF_A_TOOL,
            _query("actor", TEXT, "Of this actor."),
            _query("status", TEXT, "Of calls with this status."),
            _query("event", TEXT, "Of this kind."),
            _query("request_id", TEXT, "Of this request."),
            _query("invocation", OpenApiTypes.UUID, "About this call."),
            _query("since", OpenApiTypes.DATETIME, "Written at this time or later."),
            _query("until", OpenApiTypes.DATETIME, "Written before this time."),
            *PAGE,
        ),
    ),
    "GET /audit/checkpoint": Operation(
        "readCheckpoint", "ledger", "The newest signed word on the whole ledger",
        {200: Answer(SignedNote, media_type="text/plain")},
        _problems(AT_THE_GATE, OF_THE_LEDGER, OF_A_PROOF),
        "As it was signed. Whoever keeps it can tell later whether anything before it was changed.",
    ),
    "GET /audit/consistency": Operation(
        "proveConsistency", "ledger", "That nothing but additions lie between two sizes",
        _ok(ConsistencyProof),
        _problems(AT_THE_GATE, OF_THE_LEDGER, OF_A_PROOF, {400: ("invalid_filter",)}),
        "A proof of RFC 9162, between a checkpoint that was kept and a later one.",
        parameters=(
            _query("from", LEAVES, "The size of the older tree.", required=True),
            _query("to", LEAVES, "Of the newer; of the newest checkpoint if it is not given."),
        ),
    ),
    "GET /audit/{event_id}/proof": Operation(
        "proveEvent", "ledger", "That an event is in the newest checkpoint's tree",
        _ok(InclusionProof),
        _problems(
            AT_THE_GATE, OF_THE_LEDGER, OF_A_PROOF, NOT_THERE, {409: ("not_sealed_yet",)}
        ),
        "A proof of RFC 9162. With `audit.read_all` also of an event that retention has taken.",
        parameters=(
            EVENT,
            _given(
                "Retry-After", "Seconds until the next checkpoint.", [409], SECONDS, always=True
            ),
        ),
    ),
}  # fmt: skip
"""By method, and path below the base."""
