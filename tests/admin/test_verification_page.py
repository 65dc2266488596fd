"""Having the ledger verified from the admin: asked once, told how far, and what was found."""

import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from audit import sealing, verifying
from audit.events import EventName
from audit.models import Event, VerificationRun, local_now
from tests.admin.conftest import browser
from tests.admin.test_ledger_page import altered, page_of, told, words
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.ledgers import make_events
from tests.conftest import at_once, person

pytestmark = [pytest.mark.django_db, pytest.mark.feature("V5", "E51")]

PAGE = "/admin/audit/event/verification/"
PULSE = f"{PAGE}pulse/"
NOTE = "/admin/audit/event/checkpoint/"


@pytest.fixture
def auditor(db: None) -> User:
    return person("auditor", "view_event", "export_event")


@pytest.fixture
def client(auditor: User) -> Client:
    return browser(auditor)


def ask(client: Client) -> VerificationRun:
    """Press the button; the run that is under way then."""
    answer = client.post(PAGE)
    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    run = verifying.latest()
    assert run is not None
    return run


def run_now(client: Client) -> VerificationRun:
    """Ask, and do what a worker would."""
    run = ask(client)
    verifying.run(run.pk)
    run.refresh_from_db()
    return run


def about(run: VerificationRun) -> list[Event]:
    lines = Event.objects.filter(event=EventName.LEDGER_VERIFIED)
    return [line for line in lines if line.metadata["run"] == str(run.pk)]


def test_before_anybody_asked_the_page_shows_height_and_last_checkpoint(client: Client) -> None:
    assert "0 leaves" in words(client.get(PAGE))
    make_events(5)
    size = sealing.seal().size
    page = words(client.get(PAGE))
    assert f"{size} leaves" in page and f"over {size} leaves" in page
    assert "Nobody has had the ledger verified" in page


def test_a_sound_ledger_is_said_to_be_so_and_what_that_means(client: Client) -> None:
    make_events(5)
    sealing.seal()
    run = run_now(client)
    assert (run.fault, run.could_not_run) == ("", "")
    page = words(client.get(PAGE))
    oldest = Event.objects.order_by("id")[0].ended_at
    assert f"Nothing was altered since {oldest:%Y-%m-%d %H:%M:%S} UTC" in page
    assert f"{run.total} leaves: {Event.objects.count() - 1} events" in page
    (line,) = about(run)
    assert (line.actor, line.reason, line.source) == ("auditor", "intact", "admin")
    assert line.metadata["size"] == run.total and line.metadata["fault"] is None
    assert page_of(line) in told(client.get(PAGE))


def test_the_result_prints_the_signed_note_its_key_and_one_line_to_check_it(client: Client) -> None:
    make_events(3)
    newest = sealing.seal().checkpoint
    assert newest is not None
    run_now(client)
    page = client.get(PAGE)
    notes = re.findall(r'<pre class="value command"[^>]*>(.*?)</pre>', told(page), re.S)
    assert newest.note.strip() == notes[0].strip().replace("&#x27;", "'")
    command = notes[1].replace("&#x27;", "'")
    assert "\n" not in command
    first, _, second = command.partition(" | ")
    assert "\n".join(shlex.split(first)[2:]) + "\n" == newest.note
    assert shlex.split(second)[:7] == [
        "python", "manage.py", "verify_audit", "--export", "ledger.jsonl", "--checkpoint", "-",
    ]  # fmt: skip
    assert "The key: rampart/" in words(page)
    file = client.get(NOTE)
    assert file["Content-Type"] == "text/plain; charset=utf-8"
    assert file.content.decode() == newest.note


@pytest.mark.feature("U2")
def test_a_fault_is_said_with_its_row_and_what_to_do(client: Client) -> None:
    made = make_events(5)
    sealing.seal()
    with the_ledger_open():
        altered(made[2])
    run = run_now(client)
    assert run.fault and run.fault_row == str(made[2].pk)
    page = client.get(PAGE)
    assert "The ledger is not what was written" in words(page)
    assert f'href="{page_of(made[2])}"' in told(page)
    assert "Change nothing, and take a backup" in words(page)
    assert "Nothing was altered" not in words(page)
    (line,) = about(run)
    assert line.reason == "altered"
    assert line.metadata["fault"]["event"] == str(made[2].pk)


def test_without_a_key_the_page_says_what_is_not_proven(client: Client, settings: Settings) -> None:
    settings.RAMPART_CHECKPOINT_KEY = []
    make_events(2)
    sealing.seal()
    run_now(client)
    page = words(client.get(PAGE))
    assert "No checkpoint is signed" in page
    assert "Check it elsewhere" not in page
    assert client.get(NOTE)["Location"] == PAGE


def test_who_asks_while_one_is_under_way_gets_that_one(client: Client) -> None:
    first = ask(client)
    assert ask(client) == first
    VerificationRun.objects.update(heard_of_at=local_now(), seen=3, total=9)
    assert ask(client) == first
    page = client.get(PAGE)
    assert "3 of 9 leaves" in words(page)
    assert '<progress id="progress" aria-labelledby="under-way" value="3" max="9">' in told(page)
    assert client.get(PULSE).json() == {
        "seen": 3, "total": 9, "has_begun": True, "is_over": False,
    }  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_one_begins_it() -> None:
    runs = at_once(6, lambda number: verifying.ask(f"person-{number}").pk)
    assert len(set(runs)) == VerificationRun.objects.count() == 1


def test_two_messages_verify_once(client: Client) -> None:
    run = run_now(client)
    verifying.run(run.pk)
    assert len(about(run)) == 1


def test_what_another_worker_has_taken_is_left_to_it(client: Client) -> None:
    run = ask(client)
    VerificationRun.objects.update(heard_of_at=local_now())
    verifying.run(run.pk)
    run.refresh_from_db()
    assert (run.finished_at, about(run)) == (None, [])


def test_what_no_worker_has_taken_waits_and_says_so(client: Client) -> None:
    run = ask(client)
    VerificationRun.objects.update(asked_at=local_now() - timedelta(days=2))
    verifying.upkeep()
    assert "Waiting for a worker" in words(client.get(PAGE))
    assert client.get(PULSE).json()["has_begun"] is False
    verifying.run(run.pk)
    assert "Nothing was altered" in words(client.get(PAGE))


@pytest.mark.parametrize("how", [verifying.upkeep, lambda: verifying.ask("ann")])
def test_a_run_whose_worker_died_is_closed_and_may_be_asked_anew(
    how: Callable[[], Any], client: Client
) -> None:
    run = ask(client)
    silent = local_now() - verifying.SILENT_AFTER
    VerificationRun.objects.update(heard_of_at=silent + timedelta(seconds=30))
    how()
    run.refresh_from_db()
    assert run.finished_at is None, "it may still speak"
    VerificationRun.objects.update(heard_of_at=silent - timedelta(seconds=1))
    how()
    run.refresh_from_db()
    assert "not been heard of" in run.could_not_run
    assert run.finished_at is not None
    assert "could not be verified" in words(client.get(f"{PAGE}?run={run.pk}"))
    again = ask(client)
    assert again.pk != run.pk


def test_a_run_that_was_closed_meanwhile_writes_nothing(client: Client) -> None:
    run = ask(client)
    teller = verifying._Teller(run.pk)
    teller(0, 5)
    VerificationRun.objects.update(finished_at=local_now())
    verifying.run(run.pk)
    teller.told_at = float("-inf")
    with pytest.raises(verifying.Abandoned):
        teller(1, 5)
    assert about(run) == []


@pytest.mark.django_db(transaction=True)
def test_a_run_that_breaks_off_says_so_and_nothing_of_the_ledger(client: Client) -> None:
    sealing.seal()
    run = ask(client)
    with the_ledger_open():
        run_sql("ALTER TABLE audit_node RENAME TO gone")
        verifying.run(run.pk)
        run_sql("ALTER TABLE gone RENAME TO audit_node")
    run.refresh_from_db()
    assert "It broke off" in run.could_not_run
    assert about(run) == []
    assert "could not be verified" in words(client.get(PAGE))


def test_earlier_runs_are_kept_and_shown(client: Client) -> None:
    first, second = run_now(client), run_now(client)
    page = told(client.get(PAGE))
    for run in (first, second):
        assert f"?run={run.pk}" in page
        assert client.get(f"{PAGE}?run={run.pk}").status_code == 200
    for nonsense in ("x", "01234567-89ab-7def-8123-456789abcdef"):
        assert client.get(f"{PAGE}?run={nonsense}").status_code == 404
        assert client.get(f"{PULSE}?run={nonsense}").status_code == 404


def test_looking_begins_nothing(client: Client, auditor: User) -> None:
    strict = browser(auditor, strict=True)
    before = Event.objects.count()
    assert client.get(PAGE).status_code == 200
    assert client.get(PULSE).json() == {}
    assert client.get(NOTE)["Location"] == PAGE
    assert strict.post(PAGE).status_code == 403
    assert client.post(PULSE).status_code == client.post(NOTE).status_code == 403
    assert (VerificationRun.objects.count(), Event.objects.count()) == (0, before)


def test_who_may_not_see_the_ledger_has_nothing_verified(stranger: User) -> None:
    client = browser(stranger)
    for page in (PAGE, PULSE, NOTE):
        assert client.get(page).status_code == client.post(page).status_code == 403
    assert not VerificationRun.objects.exists()


def test_the_ledgers_pages_lead_to_it(client: Client, trace: Path) -> None:
    assert f'href="{PAGE}"' in told(client.get("/admin/audit/event/"))
    assert "/admin/audit/event/" in told(client.get("/admin/"))
