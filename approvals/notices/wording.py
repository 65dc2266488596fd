"""What notices say: pure texts and payloads. No argument, no result and no private note is in them.

Names come from strangers: what is hidden in them is made visible, and in chats they are set as
code, so that they neither link to anything nor call anybody.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals.notices import kinds
from approvals.notices.kinds import ASKS, REMINDER
from audit.canonical import rfc3339
from audit.events import EventName
from audit.plain_text import visible

LONGEST_REASON = 500
MOST_NAMED = 20
MOST_IN_DIGEST = 50


@dataclass(frozen=True, slots=True)
class Facts:
    """What may be told of a call, as far as it is known."""

    kind: str
    at: str = ""
    tool: str = ""
    actor: str = ""
    risk: str = ""
    status: str = ""
    by: str = ""
    reason_to_agent: str = ""
    lacking: str = ""
    expires_at: datetime | None = None
    may_decide: tuple[str, ...] = ()
    page: str = ""
    link: str = ""
    ids: tuple[tuple[str, str | None], ...] = ()
    decision: str = ""
    """The decision's own status; empty if there is nothing to decide."""
    wishes_page: str = ""
    channel: str = ""
    because: str = ""
    """Of a channel that is switched off: its name, and why it is."""


def sentence(facts: Facts) -> str:
    """One plain sentence: who wants what, or what became of it."""
    return _sentence(facts, _plain)


def _sentence(facts: Facts, name: Any) -> str:
    tool, actor, by = name(facts.tool), name(facts.actor), name(facts.by)
    needs = f" and needs {name(facts.lacking)}" if facts.lacking else ""
    call = f"{actor}'s call of {tool}{_risk(facts)}"
    wants = f"{actor} wants to run {tool}{_risk(facts)}"
    said = {
        kinds.TEST: "This is a test from Rampart: notices arrive here",
        kinds.HELD: wants,
        EventName.INVOCATION_HELD: wants,
        REMINDER: f"{by} reminds you: {wants}",
        EventName.APPROVAL_VOTED: f"{call} was approved by {by}{needs}",
        EventName.APPROVAL_EDITED: f"{by} edited {call}: somebody else decides it",
        EventName.APPROVAL_APPROVED: f"{by} approved {call}",
        EventName.APPROVAL_REJECTED: f"{by} rejected {call}",
        EventName.INVOCATION_EXPIRED: f"The time for {call} is over: it will not run",
        EventName.INVOCATION_CANCELLED: f"{call} was taken back by {by}",
        EventName.INVOCATION_VOIDED: f"{call} is void: what was asked has changed since",
        kinds.DECIDED: f"{by} decided {call}: {facts.decision}",
        kinds.FINISHED: f"{call} has ended: {facts.status}",
        EventName.CHANNEL_DISABLED: f"Notices to {name(facts.channel)} end: {facts.because}",
    }
    return f"{said[facts.kind]}."


def _risk(facts: Facts) -> str:
    return f" ({facts.risk})" if facts.risk else ""


def _until(facts: Facts) -> str:
    """When it expires, to the minute, for people."""
    return f"{facts.expires_at:%Y-%m-%d %H:%M} UTC" if facts.expires_at else "then"


def _plain(text: str) -> str:
    """A stranger's name in one visible line."""
    return visible(" ".join(text.split()))


# Mail.


def subject(facts: Facts, *, joins: bool = False) -> str:
    """The subject: the same for all that is said of a call, so that it stays together."""
    if facts.kind == EventName.CHANNEL_DISABLED:
        return f"Notices to {_plain(facts.channel)} are switched off"
    if facts.kind == kinds.TEST:
        return "A test from Rampart"
    first = f"{_plain(facts.actor)} wants to run {_plain(facts.tool)}{_risk(facts)}"
    return f"Re: {first}" if joins else first


def mail_text(facts: Facts) -> str:
    """The text of one mail."""
    lines = [sentence(facts), ""]
    if facts.reason_to_agent:
        lines += [f"Reason: {_plain(facts.reason_to_agent)[:LONGEST_REASON]}", ""]
    if facts.kind in ASKS:
        lines += [f"To be decided until {_until(facts)}.", _who(facts), ""]
    if facts.page:
        lines += [facts.page, ""]
    lines += [_why_mailed(facts.wishes_page)] if facts.wishes_page else []
    return "\n".join(lines).rstrip() + "\n"


def digest_text(several: list[Facts], wishes_page: str) -> str:
    """The text of one mail about several calls, the soonest to expire first."""
    lines = [f"{_count(len(several))} waiting for you.", ""]
    for facts in several[:MOST_IN_DIGEST]:
        lines += [sentence(facts), f"until {_until(facts)}: {facts.page}", ""]
    if (left := len(several) - MOST_IN_DIGEST) > 0:
        lines += [f"And {left} more.", ""]
    return "\n".join([*lines, _why_mailed(wishes_page)]) + "\n"


def digest_subject(count: int) -> str:
    """`3 calls are waiting for you`."""
    return f"{_count(count)} waiting for you"


def _count(count: int) -> str:
    return "1 call is" if count == 1 else f"{count} calls are"


def _who(facts: Facts) -> str:
    return f"Who may decide: {', '.join(map(_plain, named(facts.may_decide))) or 'nobody now'}."


def named(people: tuple[str, ...]) -> list[str]:
    """The first of many names, and how many there are beside."""
    more = len(people) - MOST_NAMED
    return [*people[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]


def _why_mailed(wishes_page: str) -> str:
    return f"When such mail comes is yours to say: {wishes_page}"


# Chats.


def chat_body(facts: Facts) -> dict[str, Any]:
    """Slack's incoming form, which Mattermost, Rocket.Chat and others read as well."""
    lines = [_sentence(facts, _code)]
    if facts.reason_to_agent:
        lines.append(f"Reason: {_code(facts.reason_to_agent[:LONGEST_REASON])}")
    if facts.kind in ASKS:
        people = ", ".join(map(_code, named(facts.may_decide))) or "nobody now"
        lines.append(f"Until {_until(facts)}; who may decide: {people}")
    return {"text": "\n".join([*lines, *([facts.page] if facts.page else [])])}


def _code(text: str) -> str:
    """A stranger's words as code: nothing in them is markup."""
    escaped = _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"`{re.sub('`+', chr(39), escaped)}`" if escaped else ""


# Webhooks.


def webhook_body(facts: Facts) -> dict[str, Any]:
    """The payload by Standard Webhooks: `type`, `timestamp`, `data`."""
    data: dict[str, Any] = {
        **dict(facts.ids),
        "tool_name": facts.tool,
        "actor": facts.actor,
        "status": facts.status or None,
        "risk": facts.risk or None,
        "summary": sentence(facts),
        "expires_at": rfc3339(facts.expires_at) if facts.expires_at else None,
        "decision": _decision(facts),
        "links": {"self": facts.link or None, "page": facts.page or None},
    }
    if facts.kind in ASKS:
        data["may_decide"] = list(facts.may_decide)
    return {"type": facts.kind.replace(":", "."), "timestamp": facts.at, "data": data}


def _decision(facts: Facts) -> dict[str, str | None] | None:
    if not facts.decision:
        return None
    return {
        "status": facts.decision,
        "by": facts.by or None,
        "reason_to_agent": facts.reason_to_agent or None,
    }
