"""Whatever becomes of a call, and whatever people do: the lines that tell it, each once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from pytest import MonkeyPatch
from pytest_django import Settings
from rest_framework.test import APIClient

from approvals import execution, rulebook, transitions, upkeep
from approvals.models import Approval, Channel, Invocation, Policy, Preset
from approvals.notices import settling
from audit.events import EventName
from audit.models import Event
from tests.admin.conftest import browser, superuser
from tests.admin.test_editing import changed
from tests.admin.test_policy_pages import BLANK
from tests.conftest import REVIEWER_PERMISSIONS, Agent, MakeAgent, as_person, held, person, work
from tests.desk_cast import Rule, write_rule
from tests.session_kit import call, close, open_one
from tests.stack import ROOT
from tools import catalogue, rate_limits
from tools.models import EmergencyStop, Tool

__all__ = ["superuser", "write_rule"]

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U1")]

TOLD_BY_OTHERS = {
    "key:imported": "tests/rampart/test_import_toolrampart.py",
    "key:rehashed": "tests/tools/test_imported_keys.py",
    "subject:enrolled": "tests/tools/tokens/test_subjects.py",
    "person:enrolled": "tests/rampart/test_oidc.py",
    "person:regrouped": "tests/rampart/test_oidc.py",
    "ledger:key-announced": "tests/audit",
    "ledger:pruned": "tests/audit",
    "ledger:exported": "tests/audit",
    "ledger:verified": "tests/admin/test_verification_page.py",
    "hold:placed": "tests/audit",
    "hold:released": "tests/audit",
    "database:backed-up": "tests/rampart",
    "database:restored": "tests/rampart",
}
"""Where the others are told: they take a provider, a tree, or a database of their own."""


@dataclass
class Cast:
    """Who and what acts in a scene."""

    agent: Agent
    make_agent: MakeAgent
    trace: Path
    owner: User
    reviewing: APIClient
    root: Client
    settings: Settings
    monkeypatch: MonkeyPatch
    write_rule: Rule

    @property
    def path(self) -> str:
        return str(self.trace)

    def decide(self, approval: Approval, verb: str = "approve") -> None:
        """The reviewer decides over REST, in a session that began before the scene."""
        self.reviewing.post(f"/api/v1/approvals/{approval.pk}/{verb}", {}, format="json")

    def admin(self, name: str, row: Any = None, /, **form: Any) -> None:
        """The superuser posts a form of the admin, which takes it."""
        address = reverse(f"admin:{name}", args=[row.pk] if row else [])
        answer = self.root.post(address, form)
        assert answer.status_code in (200, 302), answer.content


@pytest.fixture
def cast(
    agent: Agent, make_agent: MakeAgent, trace: Path, owner: User, reviewer: User,
    superuser: User, settings: Settings, monkeypatch: MonkeyPatch, write_rule: Rule,
) -> Cast:  # fmt: skip
    reviewing, root = as_person(reviewer), browser(superuser)
    return Cast(agent, make_agent, trace, owner, reviewing, root, settings, monkeypatch, write_rule)


Scene = Callable[[Cast], Iterator[None]]
Line = tuple[str, str, str, str | None]
"""Event, actor, reason, and the status of a call."""
SCENES: dict[Scene, list[Line]] = {}


def tells(event: str, actor: str, reason: str = "", status: str | None = None) -> Any:
    """The scene's act, after its `yield`, is told by this line, and by those told below it."""

    def note(scene: Scene) -> Scene:
        SCENES.setdefault(scene, []).insert(0, (event, actor, reason, status))
        return scene

    return note


# Calls: each status of the API, and each way to it.


@tells("invocation:finished", "agent", status="success")
def a_call_that_only_reads(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("echo", value=1)


@tells("invocation:queued", "agent", status="pending")
@tells("invocation:started", "agent", status="pending")
@tells("invocation:finished", "agent", status="success")
def a_call_that_writes(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("leave_trace", path=cast.path)
    work()


@tells("invocation:refused", "agent", "input_validation_error", "validation_error")
def arguments_that_do_not_fit(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("echo", nonsense=1)


@tells("invocation:refused", "agent", "unknown_tool")
def a_tool_that_there_is_not(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("no_such_tool")


@tells("invocation:refused", "reader", "scope_denied", "denied")
def a_scope_that_is_missing(cast: Cast) -> Iterator[None]:
    reader = cast.make_agent("reader", ("kit.read",))
    yield
    reader.invoke("leave_trace", path=cast.path)


@tells("invocation:refused", "agent", "policy_denied", "denied")
def a_policy_that_denies(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("on_weekdays", day="sunday")


@tells("invocation:refused", "agent", "policy_error", "denied")
def a_policy_that_fails(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("never_judged", day="monday")


@tells("invocation:refused", "agent", "tool_disabled", "denied")
def a_tool_that_is_off(cast: Cast) -> Iterator[None]:
    catalogue.set_enabled(Tool.objects.get(name="echo"), False, by="test")
    catalogue.forget()
    yield
    cast.agent.invoke("echo", value=1)


@tells("invocation:refused", "agent", "action_mismatch", "denied")
def an_approval_for_another_action(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    yield
    given = {"path": cast.path, "text": "other"}
    cast.agent.post("guarded_trace", {"arguments": given, "approval_id": str(approval.pk)})


@tells("invocation:refused", "mallory", "not_yours", "denied")
def an_approval_of_somebody_elses(cast: Cast) -> Iterator[None]:
    approval, mallory = held(cast.agent, cast.trace), cast.make_agent("mallory")
    yield
    given = {"arguments": {"path": cast.path}, "approval_id": str(approval.pk)}
    mallory.post("guarded_trace", given)


@tells("invocation:refused", "agent", "rate_limited", "rate_limited")
def a_limit_that_is_reached(cast: Cast) -> Iterator[None]:
    cast.settings.REDIS_URL = ""
    for _ in range(10):
        cast.agent.invoke("ten_an_hour")
    yield
    cast.agent.invoke("ten_an_hour")


@tells("invocation:refused", "agent", "budget_exceeded", "rate_limited")
def a_budget_that_is_spent(cast: Cast) -> Iterator[None]:
    session = open_one(cast.agent, max_tool_calls=1)
    call(cast.agent, session, value=1)
    yield
    call(cast.agent, session, value=2)


@tells("invocation:refused", "agent", "session_not_found")
def a_session_that_there_is_not(cast: Cast) -> Iterator[None]:
    session = open_one(cast.agent)
    close(cast.agent, session)
    yield
    call(cast.agent, session, value=1)


@tells("invocation:refused", "agent", "limiter_unavailable", "unavailable")
def a_limiter_that_is_down(cast: Cast) -> Iterator[None]:
    def down(*_: Any, **__: Any) -> Any:
        raise rate_limits.LimiterUnavailable

    cast.monkeypatch.setattr(rate_limits, "count", down)
    yield
    cast.agent.invoke("ten_an_hour")


@tells("invocation:refused", "agent", "idempotency_key_required", "idempotency_conflict")
def a_key_that_is_required(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("once", path=cast.path)


@tells("invocation:refused", "agent", "idempotency_in_progress", "idempotency_conflict")
def a_key_in_use(cast: Cast) -> Iterator[None]:
    keyed = {"Idempotency-Key": "k"}
    cast.agent.invoke("leave_trace", path=cast.path, headers=keyed)
    yield
    cast.agent.invoke("leave_trace", path=cast.path, headers=keyed)


@tells("invocation:refused", "agent", "idempotency_conflict", "idempotency_conflict")
def a_key_for_other_arguments(cast: Cast) -> Iterator[None]:
    keyed = {"Idempotency-Key": "k"}
    cast.agent.invoke("leave_trace", path=cast.path, headers=keyed)
    yield
    cast.agent.invoke("leave_trace", path=cast.path, text="other", headers=keyed)


@tells("invocation:replayed", "agent")
def a_replay(cast: Cast) -> Iterator[None]:
    keyed = {"Idempotency-Key": "k"}
    cast.agent.invoke("leave_trace", path=cast.path, headers=keyed)
    work()
    yield
    cast.agent.invoke("leave_trace", path=cast.path, headers=keyed)


@tells("invocation:started", "agent", status="pending")
@tells("invocation:finished", "agent", status="timeout")
def a_deadline(cast: Cast) -> Iterator[None]:
    cast.agent.invoke("hangs_with_children", path=cast.path)
    yield
    work()


@tells("invocation:finished", "agent", status="killed")
@tells("sandbox:violated", "agent", status="killed")
def a_forbidden_system_call(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("reads_what_is_forbidden")


@tells("invocation:finished", "agent", status="error")
def a_tool_that_raises(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("fails", pin="12345")


@tells("invocation:finished", "agent", status="error")
def a_result_that_does_not_fit(cast: Cast) -> Iterator[None]:
    yield
    cast.agent.invoke("wrong_result", secret="x")


def under_way(cast: Cast, tool: str) -> Invocation:
    """A call whose worker has just taken it."""
    cast.agent.invoke(tool, path=cast.path, go=cast.path)
    return transitions.claim(Invocation.objects.latest("id"), transitions.now())


@tells("invocation:lost", "agent", "lease_lost", "unknown")
def a_worker_that_dies(cast: Cast) -> Iterator[None]:
    under_way(cast, "waits_for")
    Invocation.objects.update(lease_expires_at=transitions.now())
    yield
    upkeep.settle_lost(transitions.now())


@tells("invocation:requeued", "agent", "lease_lost", "pending")
def a_worker_that_dies_over_what_may_run_again(cast: Cast) -> Iterator[None]:
    under_way(cast, "may_repeat")
    Invocation.objects.update(lease_expires_at=transitions.now())
    yield
    upkeep.settle_lost(transitions.now())


@tells("invocation:reconciled", "root", "reconciled", "success")
def somebody_says_what_became_of_it(cast: Cast) -> Iterator[None]:
    row = under_way(cast, "waits_for")
    Invocation.objects.update(lease_expires_at=transitions.now())
    upkeep.settle_lost(transitions.now())
    yield
    cast.admin("approvals_invocation_reconcile", row, outcome="succeeded", note="seen at the bank")


@tells("invocation:cancelled", "agent", status="cancelled")
def a_call_taken_back(cast: Cast) -> Iterator[None]:
    row = held(cast.agent, cast.trace).invocation
    yield
    cast.agent.client.post(f"/api/v1/invocations/{row.pk}/cancel")


@tells("invocation:cancelled", "root", "cancel_requested", "pending")
def a_running_call_that_is_asked_to_stop(cast: Cast) -> Iterator[None]:
    row = under_way(cast, "waits_for")
    yield
    cast.admin("approvals_invocation_cancel", row)


# Held calls, and those who decide them.


@tells("invocation:held", "agent", "approval_required", "requires_approval")
def a_call_that_waits_for_a_person(cast: Cast) -> Iterator[None]:
    yield
    held(cast.agent, cast.trace)


@tells("invocation:replayed", "agent", "not_ended_yet")
def the_same_call_again_while_it_waits(cast: Cast) -> Iterator[None]:
    held(cast.agent, cast.trace)
    yield
    held(cast.agent, cast.trace)


@tells("approval:approved", "reviewer", status="pending")
@tells("invocation:started", "agent", status="pending")
@tells("invocation:finished", "agent", status="success")
def a_yes(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    yield
    cast.decide(approval)
    work()


@tells("approval:rejected", "reviewer", status="rejected")
def a_no(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    yield
    cast.decide(approval, "reject")


@tells("approval:voted", "reviewer", status="requires_approval")
def a_yes_of_several(cast: Cast) -> Iterator[None]:
    cast.write_rule("two", [(2, None)], tool="guarded_trace")
    person("second", *REVIEWER_PERMISSIONS)
    approval = held(cast.agent, cast.trace)
    yield
    cast.decide(approval)


@tells("approval:approved", "root", status="pending")
@tells("approval:approved", "root", status="pending")
def a_yes_to_several(cast: Cast) -> Iterator[None]:
    both = [held(cast.agent, cast.trace, text=text) for text in ("one", "two")]
    yield
    items = [f"{one.pk}:{one.invocation.digest}" for one in both]
    cast.admin("approvals_approval_bulk_approve", item=items, note="seen")


@tells("approval:refused", "owner", "self_approval")
def a_yes_to_ones_own_call(cast: Cast) -> Iterator[None]:
    cast.owner.user_permissions.set(Permission.objects.filter(codename="decide_approval"))
    approval, own = held(cast.agent, cast.trace), as_person(cast.owner)
    yield
    own.post(f"/api/v1/approvals/{approval.pk}/approve")


@tells("approval:refused", "agent", "machine_cannot_approve")
def a_yes_by_a_machine(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    yield
    cast.agent.client.post(f"/api/v1/approvals/{approval.pk}/approve")


@tells("approval:reminded", "owner")
def somebody_asks_to_decide(cast: Cast) -> Iterator[None]:
    cast.settings.EMAIL_HOST = "mail.example"
    User.objects.filter(username="reviewer").update(email="reviewer@example.org")
    approval, owning = held(cast.agent, cast.trace), browser(cast.owner)
    yield
    owning.post(reverse("admin:approvals_approval_remind", args=[approval.pk]))


@tells("approval:edited", "root", status="requires_approval")
def other_arguments(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    yield
    changed(cast.root, approval, reason="this one", text="other")


@tells("invocation:expired", "agent", "approval_expired", "expired")
def a_time_that_runs_out(cast: Cast) -> Iterator[None]:
    approval = held(cast.agent, cast.trace)
    Approval.objects.filter(pk=approval.pk).update(expires_at=transitions.now())
    approval.refresh_from_db()
    yield
    upkeep.expire(approval)


@tells("invocation:voided", "agent", "policy_changed", "void")
def rules_that_changed_meanwhile(cast: Cast) -> Iterator[None]:
    cast.agent.invoke("leave_trace", path=cast.path)
    cast.write_rule("new", tool="leave_trace", effect="deny")
    rulebook.forget()
    yield
    execution.run(Invocation.objects.latest("id").pk)


# Sessions and credentials.


@tells("session:created", "agent")
def a_session(cast: Cast) -> Iterator[None]:
    yield
    open_one(cast.agent)


@tells("session:closed", "agent")
def the_end_of_a_session(cast: Cast) -> Iterator[None]:
    session = open_one(cast.agent)
    yield
    close(cast.agent, session)


@tells("credentials:refused", "", "not_authenticated")
def nobody(cast: Cast) -> Iterator[None]:
    yield
    APIClient().get("/api/v1/tools")


@tells("credentials:refused", "", "invalid_credentials")
def a_wrong_key(cast: Cast) -> Iterator[None]:
    yield
    APIClient().get("/api/v1/tools", headers={"Authorization": "Bearer rmp_wrong"})


@tells("credentials:locked-out", "", "not_authenticated")
def too_many_wrong_keys(cast: Cast) -> Iterator[None]:
    cast.settings.RAMPART_REFUSALS_PER_MINUTE = 2
    for _ in range(2):
        APIClient().get("/api/v1/tools")
    yield
    for _ in range(3):
        APIClient().get("/api/v1/tools")


# What people do in the admin.


@tells("key:created", "root")
def a_key_is_made(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("tools_apikey_add", actor="bot", scopes="kit.read", lifetime="30d")


@tells("key:created", "root")
@tells("key:rotated", "root")
def a_key_is_rotated(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("tools_apikey_rotate", cast.agent.row, overlap="24h", lifetime="30d")


@tells("key:revoked", "root")
def a_key_is_revoked(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("tools_apikey_revoke", cast.agent.row)


@tells("tool:disabled", "root")
@tells("tool:enabled", "root")
def a_tool_is_switched_off_and_on(cast: Cast) -> Iterator[None]:
    yield
    for action in ("switch_off", "switch_on"):
        chosen = [str(Tool.objects.get(name="echo").pk)]
        cast.admin("tools_tool_changelist", action=action, _selected_action=chosen)


@tells("tool:limited", "root")
def a_tool_is_limited(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("tools_tool_limit", Tool.objects.get(name="echo"), max_running="3", priority="1")


@tells("tool:synced", "test")
def a_tool_is_defined_otherwise(cast: Cast) -> Iterator[None]:
    version = Tool.objects.get(name="echo").current
    assert version is not None
    type(version).objects.filter(pk=version.pk).update(schema_hash="old")
    yield
    catalogue.sync(by="test")


@tells("stop:engaged", "root")
@tells("stop:released", "root")
def everything_is_stopped_for_a_while(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("tools_emergencystop_add", reason="drill")
    cast.admin("tools_emergencystop_delete", EmergencyStop.objects.get(), post="yes")


@tells("policy:changed", "root", "added")
@tells("policy:changed", "root", "deleted")
def a_policy_comes_and_goes(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("approvals_policy_add", **BLANK)
    cast.admin("approvals_policy_delete", Policy.objects.get(), post="yes")


@tells("channel:changed", "root", "added")
@tells("channel:changed", "root", "changed")
def a_channel_is_written(cast: Cast) -> Iterator[None]:
    given = {
        "name": "ops", "kind": "email", "address": "ops@shop.example", "tool": "*",
        "least_risk": "1",
    }  # fmt: skip
    yield
    cast.admin("approvals_channel_add", is_enabled="on", **given)
    cast.admin("approvals_channel_change", Channel.objects.get(), **given)


@tells("channel:changed", "root", "new key")
def a_channel_gets_another_key(cast: Cast) -> Iterator[None]:
    channel = Channel.objects.create(name="hook", kind="webhook")
    yield
    cast.admin("approvals_channel_secret", channel)


@tells("channel:disabled", "", "undeliverable")
def a_channel_is_given_up(cast: Cast) -> Iterator[None]:
    channel = Channel.objects.create(name="hook", kind="webhook")
    yield
    settling.disable(channel, "nothing could be delivered for three days")


@tells("admin:edited", "root", "added")
@tells("admin:edited", "root", "changed")
@tells("admin:edited", "root", "deleted")
def a_group_comes_changes_and_goes(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("auth_group_add", name="Team")
    cast.admin("auth_group_change", Group.objects.get(), name="Crew")
    cast.admin("auth_group_delete", Group.objects.get(), post="yes")


@tells("admin:edited", "root", "added")
def a_reason_to_reject(cast: Cast) -> Iterator[None]:
    yield
    cast.admin("approvals_preset_add", label="Too much", text="Ask for less.", position="1")
    assert Preset.objects.exists()


def sign_in(password: str) -> Client:
    client = Client()
    client.post("/admin/login/", {"username": "reviewer", "password": password, "next": "/admin/"})
    return client


@tells("person:signed-in", "reviewer")
@tells("person:signed-out", "reviewer")
def somebody_comes_and_goes(cast: Cast) -> Iterator[None]:
    yield
    sign_in("reviewer-password").post("/admin/logout/")


@tells("person:refused", "reviewer", "bad_credentials")
def a_wrong_password(cast: Cast) -> Iterator[None]:
    yield
    sign_in("a guess")


@tells("person:locked-out", "reviewer")
@tells("person:refused", "reviewer", "bad_credentials")
def too_many_wrong_passwords(cast: Cast) -> Iterator[None]:
    for _ in range(9):
        sign_in("a guess")
    yield
    for _ in range(3):
        sign_in("a guess")


@tells("person:proved", "reviewer")
def somebody_proves_who_they_are(cast: Cast) -> Iterator[None]:
    yield
    cast.reviewing.post("/admin/prove/", {"password": "reviewer-password"})


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_what_happens_is_told_by_its_lines_and_no_others(scene: Scene, cast: Cast) -> None:
    steps = scene(cast)
    next(steps)
    known = set(Event.objects.values_list("pk", flat=True))
    next(steps, None)
    new = [line for line in Event.objects.order_by("id") if line.pk not in known]
    told = [(line.event, line.actor, line.reason, line.status) for line in new]
    assert told == SCENES[scene]
    for line in new:
        assert line.digest == line.computed_digest()
        assert_names_what_it_is_about(line)


def assert_names_what_it_is_about(line: Event) -> None:
    """Ids by which each line finds its call, its approval, its session, its request, its key."""
    subject = line.event.split(":")[0]
    if subject in ("approval", "invocation") and not line.event.endswith(":refused"):
        assert Invocation.objects.filter(pk=line.invocation_id).exists()
        assert line.tool_name
    if subject == "approval" or line.event == "invocation:held":
        assert Approval.objects.filter(pk=line.approval_id).exists()
    if subject in ("invocation", "session", "key"):
        assert line.key_prefix
    if subject == "session":
        assert line.session_id
    if subject in ("invocation", "session", "credentials", "policy", "stop", "person", "admin"):
        assert line.request_id


def test_every_kind_of_line_is_told_here_or_by_tests_that_say_where() -> None:
    here = {event for lines in SCENES.values() for event, *_ in lines}
    assert here.isdisjoint(TOLD_BY_OTHERS)
    assert here | set(TOLD_BY_OTHERS) == {str(name) for name in EventName}


@pytest.mark.parametrize("event", TOLD_BY_OTHERS)
def test_what_others_tell_is_named_where_it_is_said_to_be(event: str) -> None:
    place = ROOT / TOLD_BY_OTHERS[event]
    files = [place] if place.is_file() else place.rglob("test_*.py")
    texts = [file.read_text() for file in files if file != Path(__file__)]
    member = EventName(event).name
    assert any(event in text or f"EventName.{member}" in text for text in texts)


def test_every_status_of_the_api_is_the_end_of_a_scene() -> None:
    """But `requires_approval` and `pending`, which are no end, all of a call's are final."""
    statuses = {status for lines in SCENES.values() for *_, status in lines if status}
    assert statuses == {
        "success", "pending", "requires_approval", "validation_error", "denied", "rejected",
        "expired", "cancelled", "void", "rate_limited", "idempotency_conflict", "timeout",
        "killed", "error", "unknown", "unavailable",
    }  # fmt: skip
