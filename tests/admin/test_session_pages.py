"""Sessions in the admin: what each has spent, and who may close it; ceilings of a new key."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from approvals.models import Invocation
from audit.models import Event
from tests.admin.conftest import browser
from tests.conftest import Agent, person
from tests.session_kit import call, close, now, open_one
from tools.models import ApiKey, Session

pytestmark = pytest.mark.django_db

LIST = reverse("admin:tools_session_changelist")


def page_of(session: Session, verb: str = "change") -> str:
    return reverse(f"admin:tools_session_{verb}", args=[session.pk])


def onlooker(*permissions: str) -> User:
    """A person with these permissions about sessions of agents."""
    user = person("ona")
    ours = Permission.objects.filter(content_type__app_label="tools", codename__in=permissions)
    user.user_permissions.set(ours)
    return User.objects.get(pk=user.pk)


@pytest.mark.feature("B1")
def test_the_list_and_the_page_say_what_is_spent(agent: Agent) -> None:
    session = open_one(agent, max_tool_calls=7)
    call(agent, session, value="abc")
    client = browser(onlooker("view_session"))
    listed, shown = client.get(LIST).content.decode(), client.get(page_of(session)).content.decode()
    for text in (listed, shown):
        for word in ("1 of 7", "5 of 10485760", "agent", "owner", "open"):
            assert word in text, word
    assert str(Invocation.objects.get().pk) in shown
    assert "Close, and cancel" not in shown


@pytest.mark.feature("B1")
def test_sessions_are_found_by_their_state(agent: Agent) -> None:
    is_open, closed, over = (open_one(agent) for _ in range(3))
    close(agent, closed)
    ended = over.created_at - timedelta(seconds=1)
    Session.objects.filter(pk=over.pk).update(ends_at=ended)
    client = browser(onlooker("view_session"))
    for state, session in (("open", is_open), ("closed", closed), ("timed_out", over)):
        found = client.get(f"{LIST}?state={state}").content.decode()
        shown = {one.pk for one in (is_open, closed, over) if page_of(one) in found}
        assert shown == {session.pk}, state


@pytest.mark.feature("B6")
def test_who_may_close_closes_with_what_is_under_way(agent: Agent, trace: Path) -> None:
    session = open_one(agent)
    call(agent, session, "leave_trace", path=str(trace))
    client = browser(onlooker("view_session", "close_session"))
    assert "Close, and cancel" in client.get(page_of(session)).content.decode()
    answer = client.post(page_of(session, "close"), follow=True)
    assert "cancelled with it: 1." in answer.content.decode()
    assert (now(session.pk).state, Invocation.objects.get().status) == ("closed", "cancelled")
    told = Event.objects.get(event="session:closed")
    assert (told.actor, told.source) == ("ona", "admin")


@pytest.mark.feature("B6", "V2")
@pytest.mark.parametrize("permission", ["view_session", "close_session", "change_session"])
def test_who_may_not_close_closes_nothing(agent: Agent, permission: str) -> None:
    session = open_one(agent)
    assert browser(onlooker(permission)).post(page_of(session, "close")).status_code == 403
    assert now(session.pk).state == "open"


@pytest.mark.feature("B1")
def test_ceilings_are_set_where_a_key_is_made(superuser: User) -> None:
    client = browser(superuser)
    given = {"actor": "small", "scopes": "kit.*", "max_tool_calls": "5", "max_depth": "10"}
    assert client.post(reverse("admin:tools_apikey_add"), given).status_code == 200
    key = ApiKey.objects.get(actor="small")
    assert key.ceilings == {"max_tool_calls": 5}
    shown = client.get(reverse("admin:tools_apikey_change", args=[key.pk])).content.decode()
    assert "max_tool_calls" in shown


@pytest.mark.feature("B1")
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "2147483648"])
def test_a_ceiling_that_cannot_be_makes_no_key(superuser: User, number: str) -> None:
    given = {"actor": "wrong", "scopes": "kit.*", "timeout_ms": number}
    answer = browser(superuser).post(reverse("admin:tools_apikey_add"), given)
    assert "errorlist" in answer.content.decode()
    assert not ApiKey.objects.filter(actor="wrong").exists()
