"""`smoke`: try the release paths on the running server, as an agent and a reviewer would.

The agent is a key for the smoke tools alone, revoked in the end and expired minutes later if there
is no end. The reviewer is an account that may decide only inside the transaction in which it does:
no other process ever sees it active, and it decides nothing but this run's own call.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User
from django.core.management.base import CommandParser
from django.db import transaction

from approvals import deciding, pipeline, reviewers
from approvals.deciding import Undecided
from approvals.models import Approval, Invocation
from approvals.transitions import Said
from rampart.management.arguments import id_of
from rampart.management.base import Exit, JsonCommand, operator
from rampart.management.release_paths import Result, Walk
from rampart.management.wire import Server, Unreachable, address
from tools.key_cabinet import create_key, revoke_key, service_account
from tools.models import ApiKey

ACTOR = "smoke"
SCOPES = ("rampart.smoke",)
TOOLS = tuple(f"rampart.smoke.{name}" for name in ("read", "closed", "limited", "write"))
REVIEWER = "smoke:reviewer"
"""The admin's forms take no colon, so no person is called so."""
LIFETIME = timedelta(minutes=10)
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Where to knock at a server that listens on all addresses."""


class Command(JsonCommand):
    help = "Try the six release paths on the running server; exit 6 if one is not as expected."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--base-url", type=address, help="default: the configured host and port"
        )

    def handle(self, **options: Any) -> None:
        base_url = options["base_url"] or own_address()
        key, text = create_key(
            actor=ACTOR,
            scopes=SCOPES,
            owner=service_account(ACTOR),
            tools=TOOLS,
            lifetime=min(LIFETIME, settings.RAMPART_MAX_KEY_LIFETIME),
            by=operator(),
        )
        try:
            results = self._results(base_url, key, text)
        except Unreachable as error:
            raise self.fail(f"{base_url}: {error}", Exit.COULD_NOT_RUN) from None
        finally:
            _clear_away(key)
        self._print(results, options["json"])
        self.end(Exit.DONE if all(result.ok for result in results) else Exit.FINDINGS)

    def _results(self, base_url: str, key: ApiKey, text: str) -> list[Result]:
        server = Server(base_url, text)
        self._introduce(server, base_url)
        return Walk(server, lambda approval_id: approve(approval_id, key)).results()

    def _introduce(self, server: Server, base_url: str) -> None:
        """A server that does not take the key can't be tried."""
        reply = server.get("/tools")
        if reply.status != 200:
            message = f"{base_url} answers {reply.told}; is it this deployment's server?"
            raise self.fail(message, Exit.COULD_NOT_RUN)

    def _print(self, results: list[Result], as_json: bool) -> None:
        if as_json:
            self.print_json([asdict(result) for result in results])
            return
        rows = [asdict(result) | {"ok": "yes" if result.ok else "NO"} for result in results]
        self.print_rows(rows, ("path", "expected", "seen", "ok"))


def own_address() -> str:
    """The address at which `serve` listens."""
    host = EVERYWHERE.get(settings.RAMPART_HOST, settings.RAMPART_HOST)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.RAMPART_PORT}"


def _clear_away(key: ApiKey) -> None:
    """Take back what is still open, so that nobody is asked to decide it, and the key."""
    for row in Invocation.objects.of_lineage(key.lineage):
        pipeline.cancel(row, by=operator())
    revoke_key(key.prefix, by=operator())


@transaction.atomic
def approve(approval_id: str, key: ApiKey) -> str | None:
    """Approve a held call of this key's, whatever a server says; else say why it can't be."""
    own = Approval.objects.with_everything().filter(invocation__key=key)
    approval = own.filter(pk=id_of(approval_id)).first()
    if approval is None:
        return "the server names an approval that is not of this run"
    reviewer = _reviewer()
    _let_decide(reviewer, True)
    said = Said(source="command", operator=operator())
    outcome = deciding.approve(approval, get_user_model().objects.get(pk=reviewer.pk), said)
    _let_decide(reviewer, False)
    return outcome.sentence if isinstance(outcome, Undecided) else None


def _reviewer() -> User:
    """The account, which can't sign in and is inactive wherever it can be seen."""
    defaults = {"is_active": False, "password": make_password(None)}
    reviewer, _ = get_user_model().objects.get_or_create(username=REVIEWER, defaults=defaults)
    return reviewer


def _let_decide(reviewer: User, may: bool) -> None:
    """Saved first: another run that is about to approve waits here until this one has."""
    reviewer.is_active = may
    reviewer.save(update_fields=["is_active"])
    app, codename = reviewers.DECIDE.split(".")
    permission = Permission.objects.get(content_type__app_label=app, codename=codename)
    reviewer.user_permissions.set([permission] if may else [])
