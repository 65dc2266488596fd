"""Every page of the admin, walked by everybody: who gets in, and that looking changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session as SignInSession
from django.core import serializers
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import URLPattern, get_resolver, reverse

from approvals.models import Approval, Channel, Invocation, Notice, Policy, Preset
from audit.models import Event, LegalHold
from rampart.site import RampartAdminSite
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, held, work
from tests.session_kit import open_one
from tools import catalogue
from tools.models import ApiKey, EmergencyStop, FederatedIdentity, Session, Tool

WINDOWS = (Approval, Invocation, Event)
VERBS = (
    "approvals_approval_approve", "approvals_approval_reject", "approvals_approval_cancel",
    "approvals_approval_remind", "approvals_approval_bulk", "approvals_approval_bulk_approve",
    "approvals_approval_bulk_reject", "approvals_channel_test", "approvals_channel_secret",
    "approvals_notice_redeliver", "approvals_invocation_cancel", "approvals_invocation_reconcile",
    "tools_apikey_revoke",
    "tools_session_close", "tools_tool_limit",
)  # fmt: skip
"""What is done rather than looked at: POST alone."""
FOR_EVERYBODY = ("index", "password_change", "password_change_done", "wishes", "prove", "jsi18n")
"""What whoever may come in at all may look at: all of it is their own."""
DOORS = ("login", "logout", "autocomplete", "view_on_site", "app_list", None)
"""Django's own: ways in and out, and addresses that lead on."""

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(agent: Agent, trace: Path, reviewer: User, stranger: User) -> dict[type, Any]:
    """One row of everything that the admin shows."""
    approval = held(agent, trace)
    channel = Channel.objects.create(name="ops", kind="email", address="ops@shop.example")
    return {
        Approval: approval,
        Invocation: approval.invocation,
        Event: Event.objects.latest("id"),
        ApiKey: agent.row,
        Session: open_one(agent),
        Tool: Tool.objects.get(name="guarded_trace"),
        EmergencyStop: EmergencyStop.objects.create(reason="drill", engaged_by="test"),
        User: stranger,
        FederatedIdentity: FederatedIdentity.objects.create(
            user=stranger, issuer="https://login.example", subject="stranger-1"
        ),
        Group: Group.objects.create(name="Team"),
        Policy: Policy.objects.create(name="some rule", tool="unknown"),
        Preset: Preset.objects.create(label="Too much", text="Ask for less."),
        Channel: channel,
        LegalHold: LegalHold.objects.create(reason="case 7", placed_by="root"),
        Notice: Notice.objects.create(kind="test", status="sent", channel=channel),
    }


def addresses(rows: dict[type, Any]) -> dict[str, str]:
    """Every address of the admin by its name, with a row for each that is about one."""
    named = {
        f"{model._meta.app_label}_{model._meta.model_name}": row for model, row in rows.items()
    }
    found = {}
    for pattern in _patterns():
        if pattern.name in DOORS:
            continue
        row = next(
            (row for name, row in named.items() if pattern.name.startswith(name + "_")), None
        )
        takes_row = "<" in str(pattern.pattern)
        found[pattern.name] = reverse(f"admin:{pattern.name}", args=[row.pk] if takes_row else [])
    return found


def _patterns() -> list[URLPattern]:
    (site,) = [one for one in get_resolver().url_patterns if str(one.pattern) == "admin/"]
    flat: list[Any] = list(site.url_patterns)
    for one in flat:
        flat.extend(getattr(one, "url_patterns", ()))
    return [one for one in flat if isinstance(one, URLPattern)]


def pages(rows: dict[type, Any]) -> list[str]:
    """The address of every page that can be looked at; everybody's own first."""
    known = addresses(rows)
    names = [*FOR_EVERYBODY, *(set(known) - set(FOR_EVERYBODY) - set(VERBS))]
    return [known[name] for name in names]


def verbs(rows: dict[type, Any]) -> list[str]:
    """The address of everything that is done rather than looked at."""
    return [addresses(rows)[name] for name in VERBS]


def state() -> list[str]:
    """All that the database holds, sessions aside."""
    models = [model for model in apps.get_models() if model is not SignInSession]
    return [serializers.serialize("json", model._base_manager.order_by("pk")) for model in models]


def _but_the_ledger(tables: list[str]) -> list[str]:
    """Without the lines about those who tried."""
    lines = ('"model": "audit.event"', '"model": "audit.unsealed"')
    return [table for table in tables if not any(line in table for line in lines)]


def a_request(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def test_every_model_of_the_admin_is_walked(rows: dict[type, Any]) -> None:
    assert set(admin.site._registry) == set(rows)
    assert isinstance(admin.site._wrapped, RampartAdminSite)  # type: ignore[attr-defined]


@pytest.mark.feature("V2", "T21")
def test_nobody_sees_anything_before_signing_in(rows: dict[type, Any]) -> None:
    for page in [*pages(rows), *verbs(rows)]:
        answer = browser().get(page)
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/")


@pytest.mark.feature("V2")
def test_staff_without_permissions_see_the_empty_overview(
    rows: dict[type, Any], stranger: User
) -> None:
    client, own = browser(stranger), len(FOR_EVERYBODY)
    for page in pages(rows)[:own]:
        assert client.get(page).status_code == 200, page
    for page in pages(rows)[own:]:
        answer = client.get(page)
        assert answer.status_code == 403 or answer["Location"] == "/admin/", page


@pytest.mark.feature("V2", "V8")
def test_an_owner_without_permissions_sees_the_calls_of_their_own_keys_and_no_more(
    rows: dict[type, Any], owner: User, make_agent: MakeAgent, trace: Path
) -> None:
    client, known = browser(owner), addresses(rows)
    may = {"changelist", "change", "pulse", "raw", "history", "running", "running_pulse"}
    for name, page in known.items():
        if name in VERBS or name in FOR_EVERYBODY:
            continue
        verb = name.removeprefix("approvals_approval_")
        assert (client.get(page).status_code == 200) == (verb in may), name
    EmergencyStop.objects.all().delete()
    catalogue.forget()
    other = make_agent("other", owner=User.objects.create_user("somebody"))
    others = held(other, trace, text="not yours")
    for verb in ("change", "raw", "history"):
        page = reverse(f"admin:approvals_approval_{verb}", args=[others.pk])
        assert client.get(page).status_code in (302, 403, 404), verb
    assert "not yours" not in client.get(known["approvals_approval_changelist"]).content.decode()


@pytest.mark.feature("V2", "T3")
@pytest.mark.parametrize("who", ["stranger", "owner"])
def test_nothing_is_decided_or_changed_by_who_may_not(
    rows: dict[type, Any], who: str, request: pytest.FixtureRequest
) -> None:
    """The verbs and every form, by the stranger and by the requester's own side."""
    client = browser(request.getfixturevalue(who))
    item = f"{rows[Approval].pk}:{rows[Approval].invocation.digest}"
    given = {"item": item, "note": "n", "reason_to_agent": "r", "post": "yes", "name": "x"}
    cancel = addresses(rows)["approvals_approval_cancel"]
    own = {addresses(rows)[name] for name in FOR_EVERYBODY}
    before = state()
    harmless = {cancel, addresses(rows)["approvals_approval_remind"]}
    harmless.add(addresses(rows)["approvals_invocation_cancel"])  # It is held: nothing runs.
    for page in {*pages(rows), *verbs(rows)} - own - harmless:
        answer = client.post(page, given)
        assert answer.status_code in (403, 404, 405) or page.endswith("/history/"), page
    assert _but_the_ledger(state()) == _but_the_ledger(before)
    approval = Approval.objects.get()
    assert (approval.status, approval.votes.count(), approval.edits.count()) == ("pending", 0, 0)
    assert Policy.objects.filter(name="some rule").exists()
    assert ApiKey.objects.get(pk=rows[ApiKey].pk).revoked_at is None
    assert client.post(cancel).status_code == (302 if who == "owner" else 403)


@pytest.mark.feature("V2", "T21")
def test_no_page_can_be_framed_or_runs_a_script_of_its_own(
    rows: dict[type, Any], superuser: User
) -> None:
    client = browser(superuser)
    for page in pages(rows):
        answer = client.get(page)
        assert answer["X-Frame-Options"] == "DENY", page
        policy = answer["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy, page
        assert "unsafe-inline" not in policy and "unsafe-eval" not in policy, page


@pytest.mark.feature("V1")
def test_a_reviewer_sees_the_queue_the_calls_and_the_ledger(
    rows: dict[type, Any], reviewer: User
) -> None:
    for model in WINDOWS:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for page in (
            reverse(f"{base}_changelist"),
            reverse(f"{base}_change", args=[rows[model].pk]),
        ):
            assert browser(reviewer).get(page).status_code == 200, page


@pytest.mark.feature("V2")
@pytest.mark.parametrize("who", ["stranger", "reviewer", "superuser"])
def test_looking_changes_nothing(
    rows: dict[type, Any], who: str, request: pytest.FixtureRequest
) -> None:
    client = browser(request.getfixturevalue(who))
    before = state()
    for page in pages(rows):
        assert client.get(page).status_code in (200, 302, 403), page
    for verb in verbs(rows):
        assert client.get(verb).status_code in (403, 405), verb
    assert state() == before


@pytest.mark.feature("V2", "T21")
def test_nothing_is_done_without_a_csrf_token(rows: dict[type, Any], superuser: User) -> None:
    client = browser(superuser, strict=True)
    before = state()
    for page in [*pages(rows), *verbs(rows)]:
        assert client.post(page, {"reason_to_agent": "no"}).status_code == 403, page
    assert state() == before


@pytest.mark.feature("V5")
@pytest.mark.parametrize("model", WINDOWS)
def test_a_window_stays_shut_even_for_a_superuser(
    model: type[Any], rows: dict[type, Any], superuser: User
) -> None:
    window, request = admin.site._registry[model], a_request(superuser)
    assert window.has_view_permission(request)
    assert not window.has_add_permission(request)
    assert not window.has_change_permission(request, rows[model])
    assert not window.has_delete_permission(request, rows[model])
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    client, before = browser(superuser), state()
    for page in (
        reverse(f"{base}_add"),
        reverse(f"{base}_change", args=[rows[model].pk]),
        reverse(f"{base}_delete", args=[rows[model].pk]),
    ):
        assert client.post(page, {"post": "yes", "status": "approved"}).status_code in (403, 405)
    chosen = {"action": "delete_selected", "_selected_action": [str(rows[model].pk)], "post": "yes"}
    client.post(reverse(f"{base}_changelist"), chosen)
    assert state() == before


@pytest.mark.feature("V2")
def test_every_action_declares_its_permissions(superuser: User) -> None:
    actions = [
        (one.__class__.__name__, name, function)
        for one in admin.site._registry.values()
        for function, name, _ in one._get_base_actions()
    ]
    assert {name for _, name, _ in actions} == {
        "delete_selected",
        "revoke",
        "switch_on",
        "switch_off",
        "release",
    }
    for owner, name, function in actions:
        assert getattr(function, "allowed_permissions", None), f"{owner}.{name}"


@pytest.mark.feature("TD7", "I2", "V2")
@pytest.mark.parametrize(
    ("page", "action", "model", "untouched"),
    [
        ("tools_tool", "switch_off", Tool, lambda row: row.enabled),
        ("tools_apikey", "revoke", ApiKey, lambda row: row.revoked_at is None),
    ],
)
def test_an_action_needs_its_permission(
    page: str,
    action: str,
    model: type[Any],
    untouched: Callable[[Any], bool],
    rows: dict[type, Any],
    stranger: User,
) -> None:
    stranger.user_permissions.set(
        Permission.objects.filter(codename__in=("view_tool", "view_apikey"))
    )
    client, row = browser(User.objects.get(pk=stranger.pk)), rows[model]
    chosen = {"action": action, "_selected_action": [str(row.pk)]}
    client.post(reverse(f"admin:{page}_changelist"), chosen)
    assert untouched(model.objects.get(pk=row.pk))
    if model is ApiKey:
        assert client.post(reverse("admin:tools_apikey_revoke", args=[row.pk])).status_code == 403


@pytest.mark.feature("V1")
def test_lists_are_never_counted_to_the_end(
    rows: dict[type, Any], superuser: User, django_assert_max_num_queries: Any
) -> None:
    client = browser(superuser)
    with django_assert_max_num_queries(12) as asked:
        client.get(reverse("admin:approvals_invocation_changelist"))
    counts = [one["sql"] for one in asked.captured_queries if "COUNT(" in one["sql"].upper()]
    assert counts, "the list counts as far as it pages"
    assert all("LIMIT 10000" in sql for sql in counts)


@pytest.mark.feature("AP1")
def test_sealed_columns_are_read_by_no_page(
    agent: Agent, trace: Path, superuser: User, django_assert_max_num_queries: Any
) -> None:
    answer = agent.invoke("echo", value={"password": "hunter2-and-more"})
    call = answer.json()["invocation_id"]
    held(agent, trace)
    work()
    client = browser(superuser)
    for page in (
        reverse("admin:approvals_invocation_changelist"),
        reverse("admin:approvals_invocation_change", args=[call]),
    ):
        with django_assert_max_num_queries(30) as asked:
            shown = client.get(page).content.decode()
        assert "hunter2" not in shown
        assert not [one for one in asked.captured_queries if "_sealed" in one["sql"]]


def test_old_bookmarks_and_nonsense_are_not_found(rows: dict[type, Any], reviewer: User) -> None:
    client = browser(reviewer)
    for nonsense in ("nonsense", "01234567-89ab-7def-8123-456789abcdef"):
        assert client.get(f"/admin/approvals/approval/{nonsense}/change/").status_code == 404
        assert client.post(f"/admin/approvals/approval/{nonsense}/approve/").status_code == 404


@pytest.mark.feature("TD7")
def test_the_stop_is_told_on_every_page(rows: dict[type, Any], reviewer: User) -> None:
    shown = browser(reviewer).get("/admin/").content.decode()
    assert "All tools are stopped" in shown
    EmergencyStop.objects.all().delete()
    assert "All tools are stopped" not in browser(reviewer).get("/admin/").content.decode()


def test_error_pages_are_plain_and_self_contained(reviewer: User) -> None:
    client = browser(reviewer)
    assert "There is nothing here" in client.get("/nowhere").content.decode()
    assert "already_decided" in client.get("/problems/already_decided").content.decode()
    refused = browser(reviewer, strict=True).post("/admin/logout/")
    assert "The page was too old" in refused.content.decode()


@pytest.mark.parametrize(
    "page", ["approvals/approval", "approvals/invocation", "audit/event", "tools/apikey"]
)
@pytest.mark.parametrize(
    "query", ["status=%00", "digest__startswith=a", "arguments_sealed__isnull=1"]
)
def test_a_query_string_neither_breaks_a_list_nor_searches_its_columns(
    superuser: User, page: str, query: str
) -> None:
    answer = browser(superuser).get(f"/admin/{page}/?{query}")
    looks_away = page == "approvals/approval" and "status" not in query
    assert answer.status_code in ((200,) if looks_away else (302, 400))
