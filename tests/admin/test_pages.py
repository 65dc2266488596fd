"""Every page of the admin, walked by everybody: who gets in, and that looking changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import reverse

from approvals.models import Approval, Invocation
from audit.models import Event
from rampart.site import RampartAdminSite
from tests.admin.conftest import browser
from tests.conftest import Agent, held, work
from tools.models import ApiKey, EmergencyStop, FederatedIdentity, Tool

WINDOWS = (Approval, Invocation, Event)
DECIDING = ("approve", "reject")

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(agent: Agent, trace: Path, reviewer: User, stranger: User) -> dict[type, Any]:
    """One row of everything that the admin shows."""
    approval = held(agent, trace)
    return {
        Approval: approval,
        Invocation: approval.invocation,
        Event: Event.objects.latest("id"),
        ApiKey: agent.row,
        Tool: Tool.objects.get(name="guarded_trace"),
        EmergencyStop: EmergencyStop.objects.create(reason="drill", engaged_by="test"),
        User: stranger,
        FederatedIdentity: FederatedIdentity.objects.create(
            user=stranger, issuer="https://login.example", subject="stranger-1"
        ),
        Group: Group.objects.create(name="Team"),
    }


def pages(rows: dict[type, Any]) -> list[str]:
    """The address of every page that can be looked at."""
    found = [reverse("admin:index"), reverse("admin:password_change")]
    for model in admin.site._registry:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found += [reverse(f"{base}_changelist"), reverse(f"{base}_add")]
        found += [
            reverse(f"{base}_{page}", args=[rows[model].pk])
            for page in ("change", "delete", "history")
        ]
    return found


def verbs(rows: dict[type, Any]) -> list[str]:
    """The address of everything that is done rather than looked at."""
    decide = [reverse(f"admin:approvals_approval_{v}", args=[rows[Approval].pk]) for v in DECIDING]
    return [*decide, reverse("admin:tools_apikey_revoke", args=[rows[ApiKey].pk])]


def state() -> list[str]:
    """All that the database holds, sessions aside."""
    models = [model for model in apps.get_models() if model is not Session]
    return [serializers.serialize("json", model._base_manager.order_by("pk")) for model in models]


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
    first, password, *others = pages(rows)
    assert browser(stranger).get(first).status_code == 200
    assert browser(stranger).get(password).status_code == 200
    for page in others:
        assert browser(stranger).get(page).status_code == 403, page


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
        assert client.get(page).status_code in (200, 403), page
    for verb in verbs(rows):
        assert client.get(verb).status_code == 405, verb
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
    for page in ("approvals_approval", "approvals_invocation", "audit_event"):
        with django_assert_max_num_queries(12) as asked:
            client.get(reverse(f"admin:{page}_changelist"))
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
    assert answer.status_code in (302, 400)
