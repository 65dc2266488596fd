"""Edit, then let somebody else approve: other arguments in the place of those that are held.

What an editor puts in goes through everything that a caller's arguments go through: the tool's
types, every rule. What was hidden from the editor stays as it was unless it is written anew.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User

from approvals import door, transitions, vault, waiting
from approvals.deciding import (
    Decided,
    Undecided,
    changed_since,
    fresh_approval,
    refuse,
    seen_otherwise,
    unmet_to_decide,
)
from approvals.door import Action, Call, Refusal
from approvals.errors import StaleTransition, UnreadableArguments
from approvals.holding import Revision
from approvals.models import Approval, Invocation
from approvals.policy import Deny
from approvals.reviewers import Reason, who_won, why_not
from approvals.transitions import Said
from audit.canonical import canonical_text
from audit.models import local_now
from audit.redaction import REDACTED, Redactor
from tools import registry, strict_json
from tools.identity import Caller


class Unfitting(Exception):
    """The arguments can't be taken; the message says why, without their values.

    `faults` names what is wrong with which argument, where it is one of them: `{path, message}`.
    """

    def __init__(self, message: str, faults: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.faults = faults


def edit(
    approval: Approval,
    editor: User,
    arguments: dict[str, Any],
    said: Said,
    *,
    expected_digest: str,
) -> Decided | Undecided:
    """Change what would run. Unfitting says what is wrong with the arguments, to be mended.

    The editor may not decide the call afterwards, and yeses to the old arguments are void.
    """
    refused = (
        why_not(approval, editor)
        or seen_otherwise(approval, expected_digest)
        or unmet_to_decide(approval, said)
        or changed_since(approval)
    )
    if refused is None:
        try:
            moment, revision = transitions.now(), revised(approval.invocation, arguments)
            if revision.approval_columns(approval)["expires_at"] <= moment:
                raise Unfitting("By the rules for that, the time to decide it would be over.")
            transitions.edit(approval, editor, revision, said, moment)
        except StaleTransition:
            approval = fresh_approval(approval.pk)
            refused = (
                why_not(approval, editor)
                or seen_otherwise(approval, expected_digest)
                or (
                    Reason("digest_mismatch", "Somebody has voted meanwhile; look again.")
                    if approval.is_pending
                    else Reason("already_decided", who_won(approval))
                )
            )
        else:
            waiting.announce(approval.invocation_id)
            return Decided(fresh_approval(approval.pk))
    return refuse(approval, editor, refused, said)


def revised(row: Invocation, arguments: dict[str, Any]) -> Revision:
    """The held call with other arguments, validated and judged anew; Unfitting if it can't be."""
    try:
        frozen = vault.unseal(row.arguments_sealed or b"")
    except UnreadableArguments:
        raise Unfitting("What was asked can't be read any more.") from None
    if strict_json.is_deeper(arguments, strict_json.DEEPEST):
        raise Unfitting("It is nested too deeply.")
    try:
        meant = merged(frozen, row.arguments, arguments)
    except ValueError:  # A half surrogate, or a number that no JSON reader holds exactly.
        raise Unfitting("There are characters or numbers in it that can't be kept.") from None
    action = _validated(row, meant)
    _refuse_another_session(frozen, action)
    _refuse_what_tells(frozen, action)
    if action.digest() == row.digest:
        raise Unfitting("Nothing is changed.")
    judgement = door.judged(action)
    if isinstance(judgement.decision, Deny):
        said = action.visit.redactor.text(judgement.decision.message)
        raise Unfitting(f"The rules deny it: {said}")
    return Revision(action, judgement, _changes(row, frozen, action))


def _validated(row: Invocation, arguments: dict[str, Any]) -> Action:
    call = Call(
        tool_name=row.tool_name,
        arguments=arguments,
        request_id=row.request_id,
        source=row.source,
        idempotency_key=row.idempotency_key,
        session_id=row.session_id,
        metadata=row.metadata,
    )
    tool = registry.find(row.tool_name)
    visit = door.visit_of(call, Caller.of(row.key), tool, local_now())
    found = door.validated(visit)
    if isinstance(found, Refusal):
        faults = [
            {**fault, "message": visit.redactor.text(fault["message"])} for fault in found.fields
        ]
        told = [f"{fault['path']}: {fault['message']}" for fault in faults]
        raise Unfitting("; ".join(told) or found.message, faults)
    return found


def _refuse_another_session(frozen: dict[str, Any], action: Action) -> None:
    """The caller was found to own the session that it named, and is charged there."""
    if door.SESSION in frozen and frozen[door.SESSION] != action.frozen[door.SESSION]:
        what = "A call stays in its session."
        raise Unfitting(what, [{"path": door.SESSION, "message": what}])


def _refuse_what_tells(frozen: dict[str, Any], action: Action) -> None:
    """What was secret before is secret still: Unfitting if it would stand in the open now."""
    visit = action.visit
    both = Redactor.over([frozen, action.frozen], visit.tool.redacts)
    if both(action.frozen) != visit.redactor(action.frozen):
        raise Unfitting("What you replace is hidden elsewhere too: replace it there as well.")


def merged(frozen: Any, shown: Any, edited: Any) -> Any:
    """What the editor means: what was left as it was shown is what it was, hidden parts included.

    Unfitting where a hidden part was moved, or written over in part: nobody could tell what goes
    there.
    """
    if canonical_text(edited) == canonical_text(shown):
        return frozen
    if isinstance(edited, dict):
        if any(REDACTED in key for key in edited):
            raise Unfitting(_LEAVE_IT)
        there = _both(frozen, shown, dict)
        return {key: merged(*there(key), item) for key, item in edited.items()}
    if isinstance(edited, list):
        there = _both(frozen, shown, list, len(edited))
        _refuse_moves(shown, edited)
        return [merged(*there(number), item) for number, item in enumerate(edited)]
    if isinstance(edited, str) and REDACTED in edited:
        raise Unfitting(_LEAVE_IT)
    return edited


_LEAVE_IT = f"{REDACTED} stands for what is hidden: leave it, or replace all of it."


def _refuse_moves(shown: Any, edited: list[Any]) -> None:
    """Which hidden part belongs to which item of a list nobody can tell once two of them differ."""
    if not isinstance(shown, list) or len(shown) != len(edited):
        return
    before, after = map(canonical_text, shown), map(canonical_text, edited)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    if len(changed) > 1 and any(REDACTED in item for item in changed):
        raise Unfitting("Of a list that hides something one item is changed, or all is replaced.")


def _both(
    frozen: Any, shown: Any, kind: type, length: int | None = None
) -> Callable[[Any], tuple[Any, Any]]:
    """What stands at a key or place now, as it is and as it is shown; nothing if not comparable."""
    comparable = isinstance(frozen, kind) and isinstance(shown, kind)
    if not comparable or (length is not None and not len(frozen) == len(shown) == length):
        return lambda key: (None, None)
    if length is not None:
        return lambda key: (frozen[key], shown[key])
    return lambda key: (frozen.get(key), shown.get(key))


def _changes(row: Invocation, frozen: dict[str, Any], action: Action) -> list[dict[str, Any]]:
    """What differs from what was asked, argument by argument, over all edits so far."""
    shown = action.visit.redactor(action.frozen)
    found = {change["argument"]: change for change in row.modifications or []}
    for name in dict.fromkeys([*frozen, *action.frozen]):
        if frozen.get(name) != action.frozen.get(name):
            asked = found[name]["asked"] if name in found else row.arguments.get(name)
            found[name] = {"argument": name, "asked": asked, "approved": shown.get(name)}
    return [change for change in found.values() if not _is_as_asked(change)]


def _is_as_asked(change: dict[str, Any]) -> bool:
    """Whether an argument was put back to what was asked; of what is hidden nobody can tell."""
    if REDACTED in canonical_text(change["asked"]):
        return False
    return canonical_text(change["asked"]) == canonical_text(change["approved"])
