"""Edits by people and changes of rows are told with what was there before and what is there now."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from approvals.models import Channel
from audit.changes import difference, facts_of
from audit.events import EventName
from audit.models import Event
from tests.admin.conftest import browser, superuser
from tools import catalogue
from tools.key_cabinet import create_key, revoke_key, rotate_key
from tools.models import Tool

__all__ = ["superuser"]

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U8")]

PLANTED = "kept-from-everybody"


def told(event: EventName) -> dict[str, Any]:
    """The metadata of the newest line of this kind."""
    newest = Event.objects.filter(event=event).newest_first()[0]
    metadata: dict[str, Any] = newest.metadata
    return metadata


def edited(client: Any, person: User, **changed: Any) -> dict[str, Any]:
    """What is told after a person's page was saved with these fields changed."""
    page = reverse("admin:auth_user_change", args=[person.pk])
    form = client.get(page).context["adminform"].form
    given = {name: form[name].value() for name in form.fields if name != "password"}
    given |= {"date_joined_0": "2026-01-31", "date_joined_1": "12:00:00"} | changed
    answer = client.post(page, {name: value for name, value in given.items() if value})
    assert answer.status_code == 302, answer.context["errors"]
    return told(EventName.ADMIN_EDITED)


# What differs.


def test_only_fields_that_differ_are_told() -> None:
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 3}) == {
        "before": {"b": 2},
        "after": {"b": 3},
    }


def test_of_a_row_that_is_new_or_gone_everything_is_told() -> None:
    assert difference(None, {"a": 1}) == {"before": None, "after": {"a": 1}}
    assert difference({"a": 1}, None) == {"before": {"a": 1}, "after": None}


def test_true_and_one_are_two_things() -> None:
    assert difference({"a": True}, {"a": 1}) == {"before": {"a": True}, "after": {"a": 1}}


def test_a_field_that_appears_was_nothing_before() -> None:
    assert difference({}, {"a": 1}) == {"before": {"a": None}, "after": {"a": 1}}


# People and groups.


def test_a_persons_fields_and_groups_are_told_by_name(owner: User, superuser: User) -> None:
    group = Group.objects.create(name="operators")
    line = edited(browser(superuser), owner, first_name="Ada", groups=[group.pk])
    assert line["before"].items() >= {"first_name": "", "groups": []}.items()
    assert line["after"].items() >= {"first_name": "Ada", "groups": ["operators"]}.items()
    assert "email" not in line["after"]


def test_a_group_is_told_with_the_names_of_its_permissions(superuser: User) -> None:
    may = Permission.objects.get(codename="decide_approval")
    given = {"name": "deciders", "permissions": [may.pk]}
    browser(superuser).post(reverse("admin:auth_group_add"), given)
    line = told(EventName.ADMIN_EDITED)
    assert line["before"] is None
    assert (line["after"]["name"], line["after"]["permissions"]) == ("deciders", [str(may)])


def test_somebody_who_is_deleted_is_told_as_they_were(stranger: User, superuser: User) -> None:
    page = reverse("admin:auth_user_delete", args=[stranger.pk])
    browser(superuser).post(page, {"post": "yes"})
    line = told(EventName.ADMIN_EDITED)
    assert (line["before"]["username"], line["after"]) == ("stranger", None)


def test_neither_a_password_nor_its_hash_is_told(owner: User, superuser: User) -> None:
    was = owner.password
    page = reverse("admin:auth_user_password_change", args=[owner.pk])
    given = {"password1": PLANTED, "password2": PLANTED, "usable_password": "true"}
    assert browser(superuser).post(page, given).status_code == 302
    owner.refresh_from_db()
    assert owner.check_password(PLANTED)
    line = str(told(EventName.ADMIN_EDITED))
    assert "assword" in line  # That it was changed.
    assert not any(secret in line for secret in (PLANTED, was, owner.password, "md5$"))
    assert "password" not in facts_of(owner)


# Tools and keys.


def test_a_switch_is_told_with_how_it_stood(tools_synced: None) -> None:
    tool = Tool.objects.get(name="echo")
    for event, enabled in ((EventName.TOOL_DISABLED, False), (EventName.TOOL_ENABLED, True)):
        assert catalogue.set_enabled(tool, enabled, by="ada")
        assert told(event) == {"before": {"enabled": not enabled}, "after": {"enabled": enabled}}


def test_limits_are_told_as_they_were_and_are(tools_synced: None) -> None:
    tool = Tool.objects.get(name="echo")
    catalogue.set_limits(tool, max_running=3, priority=0, by="ada")
    line = told(EventName.TOOL_LIMITED)
    assert (line["before"]["max_running"], line["after"]["max_running"]) == (None, 3)


def test_another_definition_is_told_by_what_is_different_in_it(tools_synced: None) -> None:
    tool = Tool.objects.get(name="echo")
    assert tool.current is not None
    was = {**tool.current.definition, "description": "What it said."}
    type(tool.current).objects.filter(pk=tool.current.pk).update(definition=was, schema_hash="old")
    catalogue.sync(by="ada")
    line = told(EventName.TOOL_SYNCED)
    assert line["before"] == {"description": "What it said.", "version": 1}
    assert line["after"] == {"description": "Give back what is given.", "version": 2}


def test_a_new_tool_is_told_with_all_that_the_code_says_of_it(db: None) -> None:
    catalogue.sync(by="ada")
    line = told(EventName.TOOL_SYNCED)
    assert line["before"] is None
    assert {"description", "input_schema", "policies", "version"} <= set(line["after"])


def test_each_change_of_a_key_is_told_and_its_secret_never(owner: User) -> None:
    row, text = create_key(actor="a", scopes=["x"], owner=owner, by="ada")
    made = told(EventName.KEY_CREATED)
    assert (made["before"], made["after"]["scopes"]) == (None, ["x"])

    after, other = rotate_key(row.prefix, by="ada")
    rotated = told(EventName.KEY_ROTATED)
    assert set(rotated["before"]) == set(rotated["after"]) == {"expires_at"}
    assert rotated["before"]["expires_at"] > rotated["after"]["expires_at"]

    revoke_key(after.prefix, by="ada")
    revoked = told(EventName.KEY_REVOKED)
    assert revoked["before"] == {"revoked_at": None}
    assert revoked["after"]["revoked_at"].startswith("20")
    lines = str(list(Event.objects.values()))
    assert not any(secret in lines for secret in (text[15:], other[15:], row.digest, after.digest))


# Channels.


def test_a_channel_is_told_by_its_host_and_never_by_its_address(superuser: User) -> None:
    client = browser(superuser)
    given = {
        "name": "chat", "kind": "slack", "is_enabled": "on", "tool": "*", "least_risk": "1",
        "url": f"https://old.example/{PLANTED}",
    }  # fmt: skip
    client.post(reverse("admin:approvals_channel_add"), given)
    assert told(EventName.CHANNEL_CHANGED)["before"] is None
    page = reverse("admin:approvals_channel_change", args=[Channel.objects.get().pk])
    client.post(page, given | {"url": f"https://new.example/{PLANTED}", "tool": "pay"})
    line = told(EventName.CHANNEL_CHANGED)
    assert line["before"] == {"where": "https://old.example/", "tool": "*"}
    assert line["after"] == {"where": "https://new.example/", "tool": "pay"}
    assert PLANTED not in str(list(Event.objects.values()))
