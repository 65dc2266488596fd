"""The door: what a call is, what it must bring, and how it is refused.

A refusal is a value with a stable `error_type`. It is written in the ledger, one line, and no
row of the call is kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from approvals.digests import action_digest, request_digest
from approvals.policy import Judgement, Question, Rulebook, judge
from approvals.rulebook import rulebook
from audit.canonical import canonical_text, exact
from audit.redaction import Redactor
from tools import ToolContext, availability, rate_limits, schemas, sessions
from tools.catalogue import Switch, switchboard
from tools.definition import ToolDefinition
from tools.errors import BudgetExceeded
from tools.identity import Caller
from tools.limits import RateLimit
from tools.models import Session
from tools.rate_limits import Bucket, Count

MOST_FAULTS = 50
"""A caller with more wrong arguments than this learns of the rest after mending these."""
LARGEST_ACTION = 2 * 2**20
"""Characters of the arguments as JSON, once defaults are filled in; a run's process takes more."""
SESSION = "session_id"
"""The parameter by which a tool says that its calls belong to a session."""
SHORTEST_PATIENCE = 60
"""Seconds that a caller is told to wait, at least, before it tries a used up session again."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was posted; who posted it is proven elsewhere."""

    tool_name: str
    arguments: dict[str, Any]
    request_id: str
    source: str
    approval_id: str | None = None
    idempotency_key: str | None = None
    session_id: UUID | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call ends here; `fields` names what is wrong with its arguments."""

    status: str
    error_type: str
    message: str
    retry_after: int | None = None
    fields: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """A call, its caller and its tool, from the moment it came in."""

    call: Call
    caller: Caller
    tool: ToolDefinition
    switch: Switch | None
    rules: Rulebook
    redactor: Redactor
    started_at: datetime
    session: Session | None = None
    """What the call is charged to, once it is found to be the caller's."""

    @property
    def session_id(self) -> UUID | None:
        """The session's id, for the records."""
        return self.session.pk if self.session else None

    @property
    def policy_version(self) -> str:
        """The version of all rules that the call may meet."""
        return self.rules.version(self.tool, self.caller.actor)

    @property
    def request_digest(self) -> str:
        """The call as posted, for telling whether its idempotency key is used for another."""
        if self.call.idempotency_key is None:
            return ""
        return request_digest(self.tool.name, self.call.arguments)


@dataclass(frozen=True, slots=True)
class Action:
    """What exactly would be done: validated arguments, for one version of one tool."""

    visit: Visit
    values: Mapping[str, Any]
    """For rules: Python values by parameter name."""
    frozen: dict[str, Any]
    """For keeping and running: JSON, defaults filled in."""
    version: Switch

    def digest(self) -> str:
        """The digest that an approval of this action is bound to."""
        return self.digest_under(self.version.version, self.visit.policy_version)

    def digest_under(self, tool_version: int, policy_version: str) -> str:
        """The digest that it has under another version of the tool and its rules."""
        return action_digest(
            lineage=self.visit.caller.lineage,
            tool=self.visit.tool.name,
            tool_version=tool_version,
            arguments=self.frozen,
            policy_version=policy_version,
        )


def visit_of(call: Call, caller: Caller, tool: ToolDefinition, now: datetime) -> Visit:
    """The call with all that is known of it at the door."""
    redactor = Redactor.over(call.arguments, [*tool.redacts, *_unknown(call, tool)])
    switch = switchboard().switches.get(tool.name)
    return Visit(call, caller, tool, switch, rulebook(), redactor, now)


def _unknown(call: Call, tool: ToolDefinition) -> set[str]:
    """Arguments that the tool does not have: a secret under a misspelt name is a secret still."""
    return set(call.arguments) - set(tool.parameters)


def closed(visit: Visit) -> Refusal | None:
    """Refuse what is switched off, and keys that are limited to other tools."""
    if reason := switchboard().closed_because(visit.tool):
        return Refusal("denied", "ToolDisabled", reason)
    if not visit.caller.may_call(visit.tool.name):
        return Refusal("denied", "ScopeDenied", "this key is limited to other tools")
    return None


def without_idempotency_key(visit: Visit) -> Refusal | None:
    """Refuse a call without a key where the tool requires one, unless it asks for a result."""
    call = visit.call
    if visit.tool.requires_idempotency_key and not (call.idempotency_key or call.approval_id):
        return Refusal(
            "idempotency_conflict", "IdempotencyKeyRequired", "this tool needs an Idempotency-Key"
        )
    return None


def in_session(visit: Visit) -> Visit | Refusal:
    """The visit with the session that the body or the tool's argument names; SessionNotFound.

    An argument that is no text is left to validation.
    """
    argument = visit.call.arguments.get(SESSION) if SESSION in visit.tool.parameters else None
    named = [each for each in (visit.call.session_id, argument) if isinstance(each, UUID | str)]
    found = [sessions.find(visit.caller.lineage, each) for each in named]
    if len({session.pk for session in found}) > 1:
        what = "the body names another session than the argument"
        return _invalid({"path": SESSION, "type": "session_mismatch", "message": what})
    return replace(visit, session=found[0]) if found else visit


def validated(visit: Visit) -> Action | Refusal:
    """The exact action, or what is wrong with the arguments: paths and rules, never values."""
    try:
        arguments = visit.tool.validate(visit.call.arguments)
        action = _action(visit, arguments)
        size = len(canonical_text(exact(action.frozen)))
    except ValidationError as error:
        faults = error.errors(include_input=False)[:MOST_FAULTS]
        return _invalid(*(_fault(item) for item in faults))
    except Exception as error:  # A type's own code may fail in any way; its message may tell.
        what = f"the arguments have no JSON form: {type(error).__name__}"
        return _invalid({"path": "", "type": "no_json_form", "message": what})
    if size > LARGEST_ACTION:
        what = "the arguments are too large once defaults are filled in"
        return _invalid({"path": "", "type": "too_large", "message": what})
    return action


def _invalid(*faults: dict[str, str]) -> Refusal:
    message = "tool arguments failed validation"
    return Refusal("validation_error", "InputValidationError", message, fields=faults)


def out_of_scope(visit: Visit) -> Refusal | None:
    """Refuse a caller that holds none of the scopes that cover the tool's."""
    if visit.caller.has_scope(visit.tool.scope):
        return None
    return Refusal("denied", "ScopeDenied", f"missing required scope: {visit.tool.scope}")


def unjailed(visit: Visit) -> Refusal | None:
    """Refuse what this machine can't jail as the tool needs it: nothing of it is held or queued."""
    if reason := availability.shut_because(visit.tool):
        return Refusal("unavailable", "SandboxUnavailable", f"nothing was run: {reason}", 60)
    return None


def judged(action: Action) -> Judgement:
    """What the rules say of the action."""
    return judge(question_of(action), action.visit.rules)


def question_of(action: Action) -> Question:
    """The action as the rules see it."""
    visit = action.visit
    context = ToolContext(
        actor=visit.caller.actor,
        scopes=visit.caller.scopes,
        idempotency_key=visit.call.idempotency_key,
        request_id=visit.call.request_id,
        source=visit.call.source,
        metadata=dict(visit.call.metadata),
    )
    return Question(visit.tool, context, action.values)


def counted(visit: Visit) -> Count:
    """Count the call under the tool's limit and the key's tier; one too many is not counted."""
    return rate_limits.count([*_buckets(visit)])


def too_many(count: Count) -> Refusal | None:
    """Refuse the call that a limit has no room for."""
    if count.exceeded is None:
        return None
    message = f"rate limit exceeded: {count.exceeded.limit.text}"
    return Refusal("rate_limited", "RateLimited", message, count.exceeded.whole_seconds)


def uncount(visit: Visit, count: Count) -> None:
    """Take the call back under its limits: its session has refused it, so it counts nowhere."""
    rate_limits.take_back([*_buckets(visit)], count)


def over_budget(error: BudgetExceeded) -> Refusal:
    """Refuse the call that its session has no room for; it never will have any again."""
    wait = max(SHORTEST_PATIENCE, error.seconds)
    return Refusal("rate_limited", "BudgetExceeded", str(error), wait)


def _buckets(visit: Visit) -> Iterator[Bucket]:
    caller, limit = visit.caller, visit.tool.rate_limit
    if limit:
        yield Bucket.of(
            limit, tool=visit.tool.name, actor=caller.actor, lineage=str(caller.lineage)
        )
    if caller.rate_tier:
        yield Bucket(RateLimit.parse(f"{caller.rate_tier}/key"), f"tier:{caller.lineage}")


def _action(visit: Visit, arguments: BaseModel) -> Action:
    if visit.switch is None:
        raise LookupError(visit.tool.name)
    return Action(visit, schemas.plain_values(arguments), schemas.frozen(arguments), visit.switch)


def _fault(item: Any) -> dict[str, str]:
    path = ".".join(str(part) for part in item["loc"])
    return {"path": path, "type": item["type"], "message": item["msg"]}
