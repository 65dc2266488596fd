"""Keys, switches, the stop, people and sign-ins: each act is done once and told once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from audit.events import EventName
from audit.models import Event
from tests.admin.conftest import browser
from tests.conftest import Agent
from tools.key_cabinet import create_key
from tools.models import ApiKey, EmergencyStop, Tool

pytestmark = pytest.mark.django_db

KEY = {"actor": "billing-bot", "scopes": "kit.read, kit.write", "lifetime": "30d"}
ADD_KEY = "/admin/tools/apikey/add/"


def lines() -> list[Event]:
    """The ledger's lines, oldest first, signing in aside."""
    return list(Event.objects.exclude(event=EventName.SIGN_IN).order_by("id"))


# Keys.


@pytest.mark.feature("V4", "I2")
def test_a_keys_text_is_shown_once_and_kept_nowhere(owner: User, superuser: User) -> None:
    client = browser(superuser)
    answer = client.post(ADD_KEY, {**KEY, "owner": owner.pk, "cidrs": "10.0.0.0/8 ::1"})
    key = ApiKey.objects.get(actor="billing-bot")
    shown = answer.content.decode()
    text = next(word for word in shown.replace("<", " ").replace(">", " ").split()
                if word.startswith(f"{key.prefix}_"))  # fmt: skip
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert (key.owner, key.scopes) == (owner, ["kit.read", "kit.write"])
    assert key.cidrs == ["10.0.0.0/8", "::1/128"]
    everything = [
        str(client.session.items()),
        *(session.get_decoded() for session in Session.objects.all()),
        *(entry.change_message for entry in LogEntry.objects.all()),
        *(event.metadata for event in Event.objects.all()),
        *(client.get(f"/admin/{page}").content.decode()
          for page in ("", "tools/apikey/", f"tools/apikey/{key.pk}/change/", "audit/event/")),
    ]  # fmt: skip
    secret = text.removeprefix(f"{key.prefix}_")
    assert len(secret) == 43
    assert not [one for one in everything if secret in str(one)]


@pytest.mark.feature("I2")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lifetime": "366d"}, "expires"),
        ({"lifetime": "soon"}, "is not a duration such as 90d"),
        ({"scopes": ""}, "required"),
        ({"cidrs": "10.0.0.0/99"}, "cidr"),
        ({"rate_tier": "often"}, "rate_tier"),
        ({"actor": "a\u202eb"}, "actor"),
    ],
)
def test_a_key_that_cannot_be_is_an_error_of_the_form(
    wrong: dict[str, str], told: str, superuser: User
) -> None:
    answer = browser(superuser).post(ADD_KEY, {**KEY, **wrong})
    assert told in answer.content.decode()
    assert not ApiKey.objects.exists()
    assert lines() == []


@pytest.mark.feature("V4")
def test_a_key_is_made_only_by_whom_may(stranger: User) -> None:
    assert browser(stranger).post(ADD_KEY, KEY).status_code == 403
    assert not ApiKey.objects.exists()


@pytest.mark.feature("I2")
def test_a_revoked_key_opens_nothing_any_more(agent: Agent, reviewer: User) -> None:
    client = browser(reviewer)
    revoke = reverse("admin:tools_apikey_revoke", args=[agent.row.pk])
    assert client.post(revoke).status_code == 302
    assert agent.get("invocations").status_code == 401
    assert "revoked" in client.get("/admin/tools/apikey/").content.decode()
    before = len(lines())
    client.post(revoke)
    assert len(lines()) == before


# Each act, one line.


def make_key(client: Client) -> None:
    client.post(ADD_KEY, KEY)


def revoke_key(client: Client) -> None:
    client.post(reverse("admin:tools_apikey_revoke", args=[ApiKey.objects.get(actor="old").pk]))


def revoke_by_action(client: Client) -> None:
    act(client, "tools_apikey", "revoke", ApiKey.objects.get(actor="old"))


def switch_off(client: Client) -> None:
    act(client, "tools_tool", "switch_off", Tool.objects.get(name="echo"))


def switch_on(client: Client) -> None:
    Tool.objects.filter(name="echo").update(enabled=False)
    act(client, "tools_tool", "switch_on", Tool.objects.get(name="echo"))


def stop_all(client: Client) -> None:
    client.post("/admin/tools/emergencystop/add/", {"reason": "fire"})
    assert EmergencyStop.objects.get().engaged_by == "root"


def release(client: Client) -> None:
    EmergencyStop.objects.create(reason="fire", engaged_by="root")
    client.post("/admin/tools/emergencystop/1/delete/", {"post": "yes"})
    assert not EmergencyStop.objects.exists()


def release_by_action(client: Client) -> None:
    stop = EmergencyStop.objects.create(reason="fire", engaged_by="root")
    act(client, "tools_emergencystop", "delete_selected", stop)
    assert not EmergencyStop.objects.exists()


def add_person(client: Client) -> None:
    words = {"password1": "a-long-new-password", "password2": "a-long-new-password"}
    client.post("/admin/auth/user/add/", {"username": "new", "usable_password": "true", **words})
    assert User.objects.filter(username="new").exists()


def change_group(client: Client) -> None:
    group = Group.objects.create(name="Team")
    may = Permission.objects.get(codename="decide_approval")
    form = {"name": "Crew", "permissions": [may.pk]}
    client.post(f"/admin/auth/group/{group.pk}/change/", form)
    assert Group.objects.get().name == "Crew"


def delete_person(client: Client) -> None:
    gone = User.objects.create_user("gone")
    client.post(f"/admin/auth/user/{gone.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(username="gone").exists()


def delete_person_by_action(client: Client) -> None:
    act(client, "auth_user", "delete_selected", User.objects.create_user("gone"))
    assert not User.objects.filter(username="gone").exists()


def set_password(client: Client) -> None:
    person = User.objects.create_user("person", password="old-password-of-theirs")
    words = {"password1": "a-long-new-password", "password2": "a-long-new-password"}
    page = f"/admin/auth/user/{person.pk}/password/"
    client.post(page, {"usable_password": "true", **words})
    assert User.objects.get(pk=person.pk).check_password("a-long-new-password")


def change_own_password(client: Client) -> None:
    words = {"new_password1": "a-long-new-password", "new_password2": "a-long-new-password"}
    client.post("/admin/password_change/", {"old_password": "root-password", **words})
    assert User.objects.get(username="root").check_password("a-long-new-password")


def act(client: Client, page: str, action: str, row: Any) -> None:
    chosen = {"action": action, "_selected_action": [str(row.pk)], "post": "yes"}
    client.post(reverse(f"admin:{page}_changelist"), chosen)


@pytest.mark.feature("U1", "TD7")
@pytest.mark.parametrize(
    ("do", "event"),
    [
        (make_key, EventName.KEY_CREATED),
        (revoke_key, EventName.KEY_REVOKED),
        (revoke_by_action, EventName.KEY_REVOKED),
        (switch_off, EventName.TOOL_DISABLED),
        (switch_on, EventName.TOOL_ENABLED),
        (stop_all, EventName.STOP_ENGAGED),
        (release, EventName.STOP_RELEASED),
        (release_by_action, EventName.STOP_RELEASED),
        (add_person, EventName.ADMIN_EDITED),
        (change_group, EventName.ADMIN_EDITED),
        (delete_person, EventName.ADMIN_EDITED),
        (delete_person_by_action, EventName.ADMIN_EDITED),
        (set_password, EventName.ADMIN_EDITED),
        (change_own_password, EventName.ADMIN_EDITED),
    ],
)
def test_each_act_is_one_line_and_names_who_did_it(
    do: Callable[[Client], None], event: EventName, tools_synced: None, owner: User, superuser: User
) -> None:
    create_key(actor="old", scopes=["kit.read"], owner=owner, by="test")
    client = browser(superuser)
    known = {line.pk for line in lines()}
    do(client)
    new = [line for line in lines() if line.pk not in known]
    assert [(line.event, line.actor) for line in new] == [(event, "root")]
    assert "password-of" not in str(new[0].metadata) + str(new[0].arguments)
    assert "a-long-new-password" not in str(new[0].metadata)
    assert new[0].digest == new[0].computed_digest()


@pytest.mark.feature("TD7")
def test_the_stop_is_felt_by_the_next_call(
    agent: Agent, superuser: User, django_capture_on_commit_callbacks: Any
) -> None:
    assert agent.invoke("echo", value=1).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        stop_all(browser(superuser))
    assert agent.invoke("echo", value=1).status_code == 403
    assert browser(superuser).get("/admin/tools/emergencystop/add/").status_code == 403


# Sign-ins.


def sign_in(username: str, password: str) -> int:
    form = {"username": username, "password": password, "next": "/admin/"}
    return Client().post("/admin/login/", form).status_code


@pytest.mark.feature("U1")
def test_signing_in_is_a_line(owner: User) -> None:
    assert sign_in("owner", "owner-password") == 302
    line = Event.objects.get()
    assert (line.event, line.actor, line.source) == (EventName.SIGN_IN, "owner", "admin")
    assert line.metadata == {"address": "127.0.0.1"}


@pytest.mark.feature("U1")
@pytest.mark.parametrize(
    ("username", "told"), [("owner", "owner"), ("my-secret-password", "unknown user")]
)
def test_a_failed_sign_in_is_a_line_without_what_was_typed(
    username: str, told: str, owner: User
) -> None:
    assert sign_in(username, "wrong-secret-password") == 200
    line = Event.objects.get()
    assert (line.event, line.actor) == (EventName.SIGN_IN_REFUSED, told)
    assert "secret" not in str(line.metadata)


@pytest.mark.feature("U1")
def test_somebody_with_the_right_password_and_no_business_here_is_a_line(db: None) -> None:
    User.objects.create_user("guest", password="guest-password")
    assert sign_in("guest", "guest-password") == 200
    line = Event.objects.get()
    assert (line.event, line.actor, line.reason) == (
        EventName.SIGN_IN_REFUSED,
        "guest",
        "not_staff",
    )
