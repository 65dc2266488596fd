"""`approvals`: look at held calls, and decide them as a named person."""

from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import CommandParser
from pydantic import ValidationError

from approvals import deciding
from approvals.bodies import DecisionBody
from approvals.deciding import Undecided
from approvals.models import Approval
from approvals.reviewers import deciders, eligible, lacking
from approvals.serializers import describe_approvals
from approvals.states import ApprovalStatus
from approvals.transitions import Said
from rampart.management.arguments import id_of
from rampart.management.base import Exit, JsonCommand, operator

DECIDING = {"approve": deciding.approve, "reject": deciding.reject}
DECIDED = {"approve": "approved; the call is on its way", "reject": "rejected; the call has ended"}
COUNTED = "your yes counts; it still needs"
COLUMNS = ("id", "status", "requested_at", "expires_at", "summary")
MOST_LISTED = 10_000


class Command(JsonCommand):
    help = "List and show held calls; approve or reject one as a person who may."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "show", *DECIDING])
        parser.add_argument("id", nargs="?", help="the approval's; not for list")
        parser.add_argument("--user", help="who decides, or through whose eyes to look")
        parser.add_argument("--note", default="", help="kept with the decision, for people")
        parser.add_argument("--reason-to-agent", default="", help="what the caller is told")
        parser.add_argument(
            "--confirmation", default="", help="the tool's name, where the rules ask for it"
        )
        parser.add_argument("--status", choices=ApprovalStatus.values, help="list only these")
        parser.add_argument("--limit", type=int, default=50, help="list at most so many")

    def handle(self, **options: Any) -> None:
        person = self._person(options["user"])
        if options["verb"] == "list":
            self._list(person, options)
            return
        approval = self._approval(options["id"])
        if options["verb"] in DECIDING:
            approval = self._decided(approval, person, options)
            self.talk(
                f"{COUNTED} {lacking(approval)}"
                if approval.is_pending
                else DECIDED[options["verb"]]
            )
            if not options["json"]:
                return
        self._show(approval, person, options["json"])

    def _list(self, person: User | None, options: dict[str, Any]) -> None:
        if options["id"] is not None or not 1 <= options["limit"] <= MOST_LISTED:
            self.misused(f"list takes no id, and a --limit from 1 to {MOST_LISTED}")
        rows = Approval.objects.with_everything()
        if options["status"]:
            rows = rows.filter(status=options["status"])
        found = _described(list(rows[: options["limit"]]), person)
        if options["json"]:
            self.print_json(found)
        else:
            self.print_rows(found, COLUMNS)

    def _show(self, approval: Approval, person: User | None, as_json: bool) -> None:
        (document,) = _described([approval], person)
        if as_json:
            self.print_json(document)
            return
        self.print_fields(document)

    def _decided(
        self, approval: Approval, person: User | None, options: dict[str, Any]
    ) -> Approval:
        if person is None:
            self.misused(f"{options['verb']} needs --user: a person decides")
        try:
            words = DecisionBody(note=options["note"], reason_to_agent=options["reason_to_agent"])
        except ValidationError:
            self.misused("--note and --reason-to-agent are texts of at most 10000 characters")
        outcome = DECIDING[options["verb"]](
            approval,
            person,
            Said(
                note=words.note,
                reason_to_agent=words.reason_to_agent,
                request_id=uuid4().hex,
                source="command",
                operator=operator(),
                typed=options["confirmation"],
            ),
        )
        if isinstance(outcome, Undecided):
            raise self.fail(f"{outcome.code}: {outcome.sentence}", Exit.DENIED)
        return outcome.approval

    def _person(self, name: str | None) -> User | None:
        if name is None:
            return None
        person = get_user_model().objects.filter(username=name).first()
        if person is None:
            raise self.fail("no user is called so", Exit.NOT_FOUND)
        return person

    def _approval(self, given: str | None) -> Approval:
        if given is None:
            self.misused("which approval? give its id")
        approval = Approval.objects.with_everything().filter(pk=id_of(given)).first()
        if approval is None:
            raise self.fail("no approval has this id", Exit.NOT_FOUND)
        return approval


def _described(rows: list[Approval], person: User | None) -> list[dict[str, Any]]:
    """The approvals as the API shows them to this person; else with all who may decide."""
    found = describe_approvals(rows, person)
    if person is None:
        holders = deciders()
        for row, document in zip(rows, found, strict=True):
            document["eligible"] = eligible(row, holders)
            document["why_not"] = "Name a person with --user."
    return found
