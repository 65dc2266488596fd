"""How long a session lasts, and what ends it."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.events import EventName
from audit.models import Event
from tests.conftest import as_person

pytestmark = [pytest.mark.django_db, pytest.mark.feature("E10")]

API = "/api/v1/approvals"


def signed_in(name: str, password: str = "") -> Client:
    """A browser after the form."""
    client = Client()
    form = {"username": name, "password": password or f"{name}-password", "next": "/admin/"}
    assert client.post("/admin/login/", form).status_code == 302
    return client


def away(client: Client, **span: float) -> None:
    """So much time passes without a request; nobody waits for it."""
    session = client.session
    session["seen_at"] -= int(timedelta(**span).total_seconds())
    session.save()


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def told(event: EventName) -> list[tuple[str, str]]:
    return [(line.actor, line.reason) for line in Event.objects.filter(event=event).order_by("id")]


# Age.


def test_a_session_ends_so_long_after_the_sign_in_whatever_happens_in_it(
    owner: User, settings: Settings
) -> None:
    settings.RAMPART_SESSION_AGE = timedelta(hours=2)
    client = signed_in("owner")
    end = Session.objects.get().expire_date
    assert abs(end - timezone.now() - timedelta(hours=2)) < timedelta(minutes=1)
    away(client, minutes=30)
    answer = client.get("/admin/")
    assert Session.objects.get().expire_date == end
    assert answer.cookies["sessionid"]["max-age"] <= 2 * 3600
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not is_in(client)


# Idleness.


def test_a_session_in_which_nothing_is_asked_ends(owner: User, settings: Settings) -> None:
    settings.RAMPART_SESSION_IDLE = timedelta(minutes=20)
    client = signed_in("owner")
    away(client, minutes=19)
    assert is_in(client)
    away(client, minutes=20)
    assert not is_in(client)
    assert not Session.objects.exists()
    assert told(EventName.SIGN_OUT) == [("owner", "idle")]


def test_asking_keeps_a_session_and_is_written_once_a_minute(owner: User) -> None:
    client = signed_in("owner")
    first = client.session["seen_at"]
    away(client, seconds=30)
    client.get("/admin/")
    assert client.session["seen_at"] == first - 30
    away(client, seconds=30)
    client.get("/admin/")
    assert client.session["seen_at"] >= first
    for _ in range(3):
        away(client, minutes=59)
        assert is_in(client)


def test_the_api_by_session_is_no_way_around(reviewer: User) -> None:
    client = as_person(reviewer)
    away(client, minutes=59)
    assert client.get(API).status_code == 200
    assert time.time() - client.session["seen_at"] < 30
    away(client, hours=1)
    answer = client.get(API)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert told(EventName.SIGN_OUT) == [("reviewer", "idle")]


def test_what_asks_nothing_of_a_session_neither_loads_it_nor_keeps_it(
    owner: User, django_assert_num_queries: Any
) -> None:
    client = signed_in("owner")
    away(client, minutes=59)
    with django_assert_num_queries(0):
        assert client.get("/api/v1/health").status_code == 200
    away(client, minutes=1)
    assert not is_in(client)


def test_a_session_that_does_not_say_when_it_was_used_ends(owner: User) -> None:
    """Such as one from before there was a limit."""
    client = signed_in("owner")
    session = client.session
    del session["seen_at"]
    session.save()
    assert not is_in(client)


def test_a_browser_without_a_session_gets_none_by_looking() -> None:
    client = Client()
    client.get("/admin/login/")
    client.get("/api/v1/health")
    assert not Session.objects.exists()


# Keys.


def test_signing_in_changes_the_key(owner: User) -> None:
    client = Client()
    session = client.session
    session["planted"] = "by somebody"
    session.save()
    planted = session.session_key
    form = {"username": "owner", "password": "owner-password", "next": "/admin/"}
    client.post("/admin/login/", form)
    second = client.session.session_key
    assert second != planted
    client.post("/admin/login/", form)
    assert client.session.session_key not in (planted, second)
    assert list(Session.objects.values_list("pk", flat=True)) == [client.session.session_key]


def test_signing_in_as_somebody_else_leaves_nothing_of_the_first(
    owner: User, stranger: User
) -> None:
    client = signed_in("owner")
    session = client.session
    session["draft"] = "of the owner"
    session.save()
    form = {"username": "stranger", "password": "stranger-password", "next": "/admin/"}
    client.post("/admin/login/", form)
    assert client.session[SESSION_KEY] == str(stranger.pk)
    assert "draft" not in client.session


# What ends it.


def test_signing_out_is_posted_and_ends_the_session_on_the_server(owner: User) -> None:
    client = signed_in("owner")
    key = client.session.session_key
    assert client.get("/admin/logout/").status_code == 405
    assert is_in(client)
    answer = client.post("/admin/logout/")
    assert "You are signed out" in answer.content.decode()
    assert not Session.objects.exists()
    assert told(EventName.SIGN_OUT) == [("owner", "")]
    client.cookies["sessionid"] = key or ""
    assert not is_in(client)


def test_a_page_without_a_token_signs_nobody_out(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.post("/admin/logout/").status_code == 403
    assert is_in(client)


def test_a_new_password_ends_the_other_sessions(owner: User, stranger: User) -> None:
    here, there, other = signed_in("owner"), signed_in("owner"), signed_in("stranger")
    form = {"old_password": "owner-password", "new_password1": "a-long-new-password",
            "new_password2": "a-long-new-password"}  # fmt: skip
    assert here.post("/admin/password_change/", form).status_code == 302
    assert is_in(here) and not is_in(there) and is_in(other)


def test_disabling_somebody_ends_their_sessions_for_good(owner: User, stranger: User) -> None:
    theirs, other = signed_in("stranger"), signed_in("owner")
    stranger.is_active = False
    stranger.save(update_fields=["is_active"])
    assert Session.objects.count() == 1
    stranger.is_active = True
    stranger.save(update_fields=["is_active"])
    assert not is_in(theirs) and is_in(other)


def test_somebody_disabled_behind_our_back_is_out_as_well(stranger: User) -> None:
    theirs = signed_in("stranger")
    User.objects.filter(pk=stranger.pk).update(is_active=False)
    assert not is_in(theirs)
    assert theirs.get(API).status_code == 401
