"""Legal holds: what they keep, who places and releases them, and that the ledger tells of it."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

from audit import holds, sealing
from audit.events import EventName
from audit.holds import AlreadyReleased, held
from audit.models import Event, LegalHold, local_now
from audit.retention import COLUMNS, Events
from tests.admin.conftest import browser, superuser
from tests.audit.ageing import CUTOFF, DAY, a_key, old, taken, there
from tests.conftest import MakeAgent, person
from tests.rampart.test_commands import run
from tools.models import ApiKey

__all__ = ["a_key", "superuser"]
pytestmark = [
    pytest.mark.django_db, pytest.mark.usefixtures("a_key"), pytest.mark.feature("U3", "K2"),
]  # fmt: skip

PAGE = "/admin/audit/legalhold/"
CALL, SESSION = uuid4(), uuid4()
MOMENT = CUTOFF - DAY


def placed(**said: Any) -> LegalHold:
    hold = LegalHold(reason="case 7", **said)
    holds.place(hold, by="root")
    return hold


# What they keep.


@pytest.mark.parametrize(
    ("said", "columns"),
    [
        ({"actor": "ann"}, {"actor": "ben"}),
        ({"tool_name": "pay"}, {"tool_name": "refund"}),
        ({"invocation_id": CALL}, {"invocation_id": uuid4()}),
        ({"invocation_id": CALL}, {"invocation_id": None}),
        ({"session_id": SESSION}, {"session_id": uuid4()}),
        ({"session_id": SESSION}, {"session_id": None}),
        ({"since": MOMENT}, {"ended_at": MOMENT - timedelta(microseconds=1)}),
        ({"until": MOMENT}, {"ended_at": MOMENT + timedelta(microseconds=1)}),
        ({"actor": "ann", "tool_name": "pay"}, {"actor": "ben"}),
        ({"actor": "ann", "tool_name": "pay"}, {"tool_name": "refund"}),
        ({"actor": "ann", "since": MOMENT}, {"ended_at": MOMENT - DAY}),
        ({"since": MOMENT, "until": MOMENT}, {"ended_at": MOMENT - DAY}),
    ],
)
def test_a_hold_keeps_what_it_names_and_lets_all_else_go(
    said: dict[str, Any], columns: dict[str, Any]
) -> None:
    usual = {
        "actor": "ann", "tool_name": "pay", "invocation_id": CALL, "session_id": SESSION,
        "ended_at": MOMENT,
    }  # fmt: skip
    (kept,), (going,) = old(**usual), old(**usual | columns)
    sealing.seal()
    placed(**said)
    assert Events().due(CUTOFF) == taken(Events()) == 1
    assert kept.pk in there() and going.pk not in there()


def test_a_hold_that_names_nothing_keeps_everything() -> None:
    old(3), old(2, actor="ben", invocation_id=None)
    sealing.seal()
    placed()
    assert Events().due(CUTOFF) == taken(Events()) == 0


def test_each_of_several_holds_keeps_its_own() -> None:
    old(2, actor="ann"), old(3, actor="ben"), old(4, actor="carl")
    sealing.seal()
    placed(actor="ann"), placed(actor="ben")
    assert taken(Events()) == 4


def test_what_was_held_goes_when_the_hold_is_released() -> None:
    old(3)
    sealing.seal()
    hold = placed(actor="ann")
    assert taken(Events()) == 0
    holds.release(hold.pk, by="root")
    assert taken(Events()) == 3


def test_a_criterion_that_a_table_lacks_keeps_rather_too_much(make_agent: MakeAgent) -> None:
    """A key has no tool: whoever's calls of one tool are held keeps all keys of that caller."""
    columns = {"actor": "actor"}
    make_agent("ann"), make_agent("ben")
    placed(actor="ann", tool_name="pay", since=MOMENT)
    assert [key.actor for key in ApiKey.objects.filter(held(columns))] == ["ann"]
    placed(tool_name="pay")
    assert ApiKey.objects.filter(held(columns)).count() == 2
    assert not ApiKey.objects.exclude(held(columns)).exists()


def test_without_a_hold_nothing_is_held() -> None:
    old(2)
    holds.release(placed(actor="ann").pk, by="root")
    assert not Event.objects.filter(held(COLUMNS)).exists()


# Who did it.


def the_line(event: EventName) -> Event:
    return Event.objects.get(event=event)


@pytest.mark.feature("U1", "U8")
def test_placing_and_releasing_are_told_with_what_was_and_what_is() -> None:
    hold = placed(actor="ann", since=MOMENT)
    line = the_line(EventName.HOLD_PLACED)
    assert (line.actor, line.metadata["hold"]) == ("root", str(hold.pk))
    assert line.metadata["before"] is None
    after = line.metadata["after"]
    assert (after["reason"], after["actor"], after["placed_by"]) == ("case 7", "ann", "root")
    assert after["released_at"] is None and after["since"].endswith("Z")

    holds.release(hold.pk, by="judge", source="admin", request_id="r-1")
    line = the_line(EventName.HOLD_RELEASED)
    assert (line.actor, line.source, line.request_id) == ("judge", "admin", "r-1")
    assert line.metadata["before"] == {"released_by": "", "released_at": None}
    assert line.metadata["after"]["released_by"] == "judge"
    assert (line.metadata["hold"], line.metadata["reason"]) == (str(hold.pk), "case 7")


def test_a_hold_is_released_once() -> None:
    hold = placed()
    holds.release(hold.pk, by="judge")
    with pytest.raises(AlreadyReleased):
        holds.release(hold.pk, by="somebody else")
    hold.refresh_from_db()
    assert hold.released_by == "judge"
    the_line(EventName.HOLD_RELEASED)


def test_nobody_releases_a_hold_without_a_name() -> None:
    hold = placed()
    with pytest.raises(IntegrityError), transaction.atomic():
        LegalHold.objects.filter(pk=hold.pk).update(released_at=local_now())


# By command.


@pytest.mark.feature("E33")
def test_the_command_places_lists_and_releases() -> None:
    out, _, code = run(
        "legal_hold", "place", "--reason", "case 7", "--actor", "ann", "--tool", "pay",
        "--invocation", str(CALL), "--session", str(SESSION), "--since", "2026-01-31",
        "--until", "2026-02-28T12:00:00+02:00",
    )  # fmt: skip
    hold = LegalHold.objects.get()
    assert (out, code) == (f"{hold.pk}\n", 0)
    assert (hold.reason, hold.actor, hold.tool_name) == ("case 7", "ann", "pay")
    assert (hold.invocation_id, hold.session_id) == (CALL, SESSION)
    assert hold.since == datetime.fromisoformat("2026-01-31T00:00:00Z")
    assert hold.until == datetime.fromisoformat("2026-02-28T10:00:00Z")
    assert hold.placed_by.startswith("command:")
    assert the_line(EventName.HOLD_PLACED).source == "command"

    (document,) = json.loads(run("legal_hold", "list", "--json")[0])
    assert (document["id"], document["released_at"]) == (str(hold.pk), None)
    head, line = run("legal_hold", "list")[0].splitlines()
    assert head.split()[0] == "id" and str(hold.pk) in line

    assert run("legal_hold", "release", str(hold.pk))[2] == 0
    assert json.loads(run("legal_hold", "list", "--json")[0]) == []
    assert len(json.loads(run("legal_hold", "list", "--all", "--json")[0])) == 1
    assert run("legal_hold", "release", str(hold.pk))[1:] == ("it was released before", 1)


@pytest.mark.feature("E33")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["place"], 2, "--reason: "),
        (["place", "--reason", " "], 2, "--reason: "),
        (["place", "--reason", "x" * 401], 2, "--reason: "),
        (["place", "--reason", "x", "--invocation", "7"], 2, "--invocation: "),
        (["place", "--reason", "x", "--session", "7"], 2, "--session: "),
        (["place", "--reason", "x", "--since", "soon"], 2, "--since: "),
        (["place", "--reason", "x", "--since", "2026-02-01", "--until", "2026-01-01"], 2, "begins"),
        (["place", "7", "--reason", "x"], 2, "takes the id"),
        (["release"], 2, "takes the id"),
        (["release", "7"], 5, "no hold"),
        (["release", str(uuid4())], 5, "no hold"),
        (["list", "--actor", "ann"], 2, "--actor is for place"),
    ],
)
def test_the_command_refuses_what_cannot_be(arguments: list[str], code: int, says: str) -> None:
    out, err, found = run("legal_hold", *arguments)
    assert (out, found) == ("", code) and says in err
    assert not LegalHold.objects.exists()


# In the admin.


def counsel(*permissions: str) -> Client:
    return browser(person("counsel", *permissions))


FORM = {"reason": "case 7", "actor": "ann", "since_0": "2026-01-31", "since_1": "12:00"}


@pytest.mark.feature("V2")
def test_who_may_places_a_hold_in_the_admin() -> None:
    client = counsel("add_legalhold", "view_legalhold")
    assert client.get(f"{PAGE}add/").status_code == 200
    assert client.post(f"{PAGE}add/", FORM).status_code == 302
    hold = LegalHold.objects.get()
    assert (hold.reason, hold.actor, hold.placed_by) == ("case 7", "ann", "counsel")
    line = the_line(EventName.HOLD_PLACED)
    assert (line.actor, line.source) == ("counsel", "admin") and line.request_id
    assert not Event.objects.filter(event=EventName.ADMIN_EDITED).exists()
    shown = client.get(f"{PAGE}{hold.pk}/change/").content.decode()
    assert "case 7" in shown and "counsel" in shown
    assert "actor ann" in client.get(PAGE).content.decode()


@pytest.mark.feature("V2")
def test_a_form_that_makes_no_sense_places_nothing() -> None:
    client = counsel("add_legalhold", "view_legalhold")
    for wrong in (
        {"reason": ""},
        {"invocation_id": "7"},
        {"until_0": "2026-01-01", "until_1": "0:00"},
    ):
        assert client.post(f"{PAGE}add/", FORM | wrong).status_code == 200
    assert not LegalHold.objects.exists()


@pytest.mark.feature("V2")
def test_who_may_releases_holds_in_the_admin() -> None:
    hold, other = placed(), placed()
    client = counsel("change_legalhold")
    chosen = {"action": "release", "_selected_action": [str(hold.pk), str(other.pk)]}
    assert "2 released" in client.post(PAGE, chosen, follow=True).content.decode()
    assert "2 released already" in client.post(PAGE, chosen, follow=True).content.decode()
    hold.refresh_from_db()
    assert hold.released_by == "counsel"
    assert Event.objects.filter(event=EventName.HOLD_RELEASED).count() == 2


@pytest.mark.feature("V2", "U2")
def test_nobody_changes_or_deletes_a_hold_in_the_admin(superuser: User) -> None:
    hold = placed(actor="ann")
    client = browser(superuser)
    assert client.post(f"{PAGE}{hold.pk}/change/", FORM | {"actor": "ben"}).status_code == 403
    assert client.post(f"{PAGE}{hold.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(PAGE, {"action": "delete_selected", "_selected_action": [str(hold.pk)]})
    assert LegalHold.objects.get().actor == "ann"


@pytest.mark.feature("V2")
@pytest.mark.parametrize("permissions", [(), ("view_legalhold",), ("view_event", "change_tool")])
def test_without_permission_nobody_places_or_releases(permissions: tuple[str, ...]) -> None:
    hold, client = placed(), counsel(*permissions)
    assert client.post(f"{PAGE}add/", FORM).status_code == 403
    client.post(PAGE, {"action": "release", "_selected_action": [str(hold.pk)]})
    assert list(LegalHold.objects.active()) == [hold]
