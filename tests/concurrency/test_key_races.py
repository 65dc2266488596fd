"""Keys of one caller, rotated and revoked at the same instant: the lock on the caller decides."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from pytest import MonkeyPatch
from rest_framework.response import Response
from rest_framework.test import APIClient

from audit.models import local_now
from tests.admin.conftest import browser
from tests.stack import until
from tools import identity, key_cabinet
from tools.errors import KeyRefused
from tools.key_cabinet import create_key, revoke_keys, rotate_key
from tools.models import ApiKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

SCOPES = ["key.rotate"]


class Other:
    """Somebody else, on a connection of their own."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.came_of_it: Any = None
        self.thread = threading.Thread(target=self._run, args=(act,))
        self.thread.start()

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            self.came_of_it = act()
        except Exception as error:
            self.came_of_it = error
        finally:
            connections.close_all()

    def result(self) -> Any:
        self.thread.join(30)
        return self.came_of_it


class Pause:
    """A step of the cabinet, stopped when it has been reached, until it may go on."""

    def __init__(self, monkeypatch: MonkeyPatch, step: str) -> None:
        self.reached, self.may_go_on = threading.Event(), threading.Event()
        real = getattr(key_cabinet, step)

        def paused(*args: Any, **kwargs: Any) -> Any:
            found = real(*args, **kwargs)
            if not self.reached.is_set():
                self.reached.set()
                assert self.may_go_on.wait(30)
            return found

        monkeypatch.setattr(key_cabinet, step, paused)


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


def ask(text: str, path: str = "key", verb: str = "get") -> Response:
    identity.forget_all()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    answer: Response = getattr(client, verb)(f"/api/v1/{path}", {}, format="json")
    return answer


@pytest.fixture
def key(owner: User) -> tuple[ApiKey, str]:
    """A key that may renew itself, and has been used."""
    made = create_key(actor="agent", scopes=SCOPES, owner=owner, by="test")
    assert ask(made[1]).status_code == 200
    return made


@pytest.mark.feature("I2", "I3")
def test_whoever_renews_a_key_while_its_lineage_is_revoked_is_out(
    key: tuple[ApiKey, str], monkeypatch: MonkeyPatch
) -> None:
    row, text = key
    pause = Pause(monkeypatch, "_rotatable")
    thief = Other(lambda: ask(text, "key/rotate", "post"))
    assert pause.reached.wait(30)
    operator = Other(lambda: revoke_keys([row.prefix], with_lineage=True, by="operator"))
    until(somebody_waits_for_a_lock)
    pause.may_go_on.set()
    successor = thief.result().json()
    assert operator.result() == {row.prefix: True, successor["prefix"]: True}
    assert ask(successor["key"]).json()["code"] == "key_revoked"
    assert not ApiKey.objects.usable(local_now()).exists()


@pytest.mark.feature("I3")
def test_who_was_let_in_before_the_end_does_not_renew_after_it(
    key: tuple[ApiKey, str], monkeypatch: MonkeyPatch
) -> None:
    row, text = key
    pause = Pause(monkeypatch, "_rotatable")
    operator = Other(lambda: rotate_key(row.prefix, by="operator", overlap=timedelta(0)))
    assert pause.reached.wait(30)
    thief = Other(lambda: ask(text, "key/rotate", "post"))
    until(somebody_waits_for_a_lock)
    pause.may_go_on.set()
    _, new_text = operator.result()
    assert (thief.result().status_code, thief.result().json()["code"]) == (409, "not_rotatable")
    assert ask(new_text).status_code == 200 and ApiKey.objects.count() == 2


@pytest.mark.feature("I3")
def test_a_successor_that_is_used_at_that_moment_is_not_replaced(
    key: tuple[ApiKey, str], monkeypatch: MonkeyPatch
) -> None:
    row, _ = key
    _, text = rotate_key(row.prefix, by="test")
    pause = Pause(monkeypatch, "_rotatable")
    operator = Other(lambda: rotate_key(row.prefix, by="operator"))
    assert pause.reached.wait(30)
    assert ask(text).status_code == 200
    pause.may_go_on.set()
    assert isinstance(operator.result(), KeyRefused)
    assert ask(text).status_code == 200


@pytest.mark.feature("I3")
def test_rotating_and_revoking_crosswise_end_both(
    key: tuple[ApiKey, str], monkeypatch: MonkeyPatch
) -> None:
    row, _ = key
    successor, _ = rotate_key(row.prefix, by="test")
    pause = Pause(monkeypatch, "_rotatable")
    one = Other(lambda: rotate_key(row.prefix, by="one"))
    assert pause.reached.wait(30)
    other = Other(lambda: revoke_keys([successor.prefix, row.prefix], by="other"))
    until(somebody_waits_for_a_lock)
    pause.may_go_on.set()
    assert one.result()[0].rotated_from == row
    assert other.result() == {successor.prefix: False, row.prefix: True}


@pytest.mark.feature("I3", "B1")
def test_a_key_is_replaced_in_the_admin_while_its_caller_opens_a_session(
    key: tuple[ApiKey, str], reviewer: User, monkeypatch: MonkeyPatch
) -> None:
    """Both lock the caller's keys: in the same order, or each would wait for the other."""
    successor, text = rotate_key(key[0].prefix, by="test")
    assert ask(text).status_code == 200
    reached, may_go_on = threading.Event(), threading.Event()

    def late(*args: Any, **kwargs: Any) -> Any:
        reached.set()
        assert may_go_on.wait(30)
        return rotate_key(*args, **kwargs)

    monkeypatch.setattr(key_cabinet, "rotate_key", late)
    page = f"/admin/tools/apikey/{successor.pk}/rotate/"
    operator = Other(lambda: browser(reviewer).post(page, {"seen": ""}))
    assert reached.wait(30)
    caller = Other(lambda: ask(text, "sessions", "post"))
    until(somebody_waits_for_a_lock)
    may_go_on.set()
    assert [each.result().status_code for each in (operator, caller)] == [200, 201]
    assert ApiKey.objects.count() == 3
