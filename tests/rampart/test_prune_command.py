"""Retention of every table: `prune`, by hand and by beat, and the lists of what goes and stays."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as WebSession
from django.db import OperationalError
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from approvals import deciding
from approvals.models import Invocation
from audit import holds
from audit.models import Checkpoint, Event, LegalHold, VerificationRun, local_now
from rampart import retention
from rampart.clock import CLOCKS
from rampart.management.base import Exit
from rampart.retention import GROUPS, KEPT, NO_KEY, Periods, Swept
from tests.architecture.test_docs import ROOT, _first_cells, _section
from tests.conftest import Agent, held, work
from tests.rampart.test_commands import run
from tools.models import Session

pytestmark = pytest.mark.feature("K2")
db = pytest.mark.django_db

PAGE = (ROOT / "docs/how-to/retain-and-prune.md").read_text()
DAY = timedelta(days=1)
ALL: Periods = dict.fromkeys(retention.PERIODS, timedelta(0))
NONE: Periods = dict.fromkeys(retention.PERIODS, None)


def pruned(*arguments: str, code: Exit = Exit.DONE) -> dict[str, int]:
    """The tables of which rows went, or would, and how many."""
    out, err, ended = run("prune", "--json", *arguments)
    assert ended == code, err
    return {line["table"]: line["count"] for line in json.loads(out) if line["count"]}


def swept(periods: Periods, **options: Any) -> dict[str, Swept]:
    """What became of each table."""
    return {line.table: line for line in retention.sweep(periods, **options)}


# Every table has its place.


def _all_models() -> list[str]:
    return sorted(model._meta.label for model in apps.get_models(include_auto_created=True))


def test_every_table_either_goes_by_a_period_or_stays_for_a_reason() -> None:
    going = [table for group in GROUPS for table in group.tables]
    assert sorted([*going, *KEPT]) == _all_models()
    assert all(KEPT.values())


def test_every_period_is_a_setting_and_has_a_table() -> None:
    assert {group.period for group in GROUPS} == set(retention.PERIODS)
    assert retention.periods().keys() == set(retention.PERIODS)


def test_the_page_names_each_table_in_its_place() -> None:
    for group in GROUPS:
        for table in group.tables:
            row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{table}`"))
            assert f"`RAMPART_RETENTION_{group.period.upper()}`" in row
    assert sorted(_first_cells(_section(PAGE, "What never goes by its age"))) == sorted(KEPT)


# The command.


@db
@pytest.mark.feature("E35")
def test_a_dry_run_prints_the_counts_of_the_real_run_and_changes_nothing(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    deciding.approve(held(agent, trace), reviewer)
    work()
    held(agent, trace, text="waits")
    for value in range(3):
        agent.invoke("echo", value=value)
    lines = Event.objects.count()
    dry = pruned("--older-than", "0d", "--dry-run")
    assert (Invocation.objects.count(), Event.objects.count()) == (5, lines)
    assert dry["approvals.Invocation"] == 4 and dry["approvals.Vote"] == 1
    assert dry["audit.Event"] > 4
    assert pruned("--older-than", "0d", "--batch-size", "2") == dry
    assert Invocation.objects.get().status == "held"


@db
def test_the_lines_of_a_call_that_waits_stay_with_it(agent: Agent, trace: Path) -> None:
    approval = held(agent, trace)
    pruned("--older-than", "0d")
    assert Event.objects.filter(invocation_id=approval.invocation_id).exists()


@db
def test_a_second_run_finds_nothing_but_what_the_first_has_written(agent: Agent) -> None:
    agent.invoke("echo")
    pruned("--older-than", "0d")
    assert pruned("--older-than", "1h", "--dry-run") == pruned("--older-than", "1h") == {}


@db
def test_people_read_a_table(agent: Agent) -> None:
    agent.invoke("echo")
    out, err, code = run("prune", "--older-than", "90d", "--dry-run")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (code, err) == (0, "")
    assert rows["table"].split() == ["older_than", "count"]
    assert rows["approvals.Invocation"].split() == ["90d", "0"]
    assert rows.keys() - {"table"} == {table for group in GROUPS for table in group.tables}


@db
def test_a_script_reads_each_table_with_its_period(settings: Settings) -> None:
    settings.RAMPART_RETENTION_LEDGER = None
    settings.RAMPART_RETENTION_CALLS = 30 * DAY
    lines = {line["table"]: line for line in json.loads(run("prune", "--json")[0])}
    expected = {"older_than": "30d", "count": 0, "fault": None}
    assert lines["approvals.Vote"] == {"table": "approvals.Vote", **expected}
    assert lines["audit.Event"]["older_than"] == "forever"


@db
def test_without_an_option_each_table_goes_by_its_setting(agent: Agent, settings: Settings) -> None:
    agent.invoke("echo")
    assert "approvals.Invocation" not in pruned("--dry-run")
    settings.RAMPART_RETENTION_CALLS = timedelta(0)
    assert pruned() == {"approvals.Invocation": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--older-than", "90"), ("--older-than=-1d",), ("--older-than", "forever"),
        ("--batch-size", "0"), ("--batch-size", "100001"),
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run("prune", *arguments)[2] == Exit.USAGE


@db
def test_a_period_longer_than_our_reckoning_takes_nothing(agent: Agent) -> None:
    agent.invoke("echo")
    assert pruned("--older-than", "999999d") == {}


# The ledger.


@db
@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_without_a_checkpoint_key_the_ledger_stays_and_all_else_goes(
    agent: Agent, settings: Settings, how: tuple[str, ...]
) -> None:
    settings.RAMPART_CHECKPOINT_KEY = []
    agent.invoke("echo")
    lines = Event.objects.count()
    out, err, code = run("prune", "--older-than", "0d", "--json", *how)
    told = {line["table"]: line for line in json.loads(out)}
    assert code == Exit.COULD_NOT_RUN and f"audit.Event could not be pruned: {NO_KEY}" in err
    assert told["approvals.Invocation"]["count"] == 1
    assert (told["audit.Event"]["count"], told["audit.Event"]["fault"]) == (0, NO_KEY)
    assert Event.objects.count() == lines


@db
def test_without_a_checkpoint_key_nothing_fails_while_the_ledger_is_kept_for_ever(
    agent: Agent, settings: Settings
) -> None:
    settings.RAMPART_CHECKPOINT_KEY = []
    assert run("prune")[2] == Exit.DONE


@db
def test_a_checkpoint_stands_over_the_line_that_tells_of_the_pruning(agent: Agent) -> None:
    agent.invoke("echo")
    pruned("--older-than", "0d")
    line = Event.objects.filter(event="ledger:pruned").latest("id")
    leaf = apps.get_model("audit", "Leaf").objects.get(event_id=line.pk)
    assert Checkpoint.objects.latest().size > leaf.index


# Faults.


@db
def test_what_fails_with_one_table_keeps_no_other_from_its_turn(
    agent: Agent, monkeypatch: MonkeyPatch
) -> None:
    agent.invoke("echo")

    def fail(*arguments: Any) -> Any:
        raise OperationalError("out of luck\nDETAIL: much more")

    broken = [
        retention.Group(group.period, group.tables, group.due, fail)
        if "approvals.Notice" in group.tables
        else group
        for group in GROUPS
    ]
    monkeypatch.setattr(retention, "GROUPS", broken)
    found = swept(ALL)
    assert {line.table for line in found.values() if line.fault == "out of luck"} == {
        "approvals.Notice", "approvals.DeliveryAttempt",
    }  # fmt: skip
    assert found["approvals.Invocation"].count == 1 and not found["audit.Event"].fault


# The admin's own tables.


def _a_change(person: User) -> None:
    LogEntry.objects.create(user=person, object_repr="x", action_flag=CHANGE)


def _a_web_session(person: User) -> None:
    WebSession.objects.create(session_key="k", session_data="", expire_date=local_now())


def _a_failed_sign_in(person: User) -> None:
    for model in (AccessFailureLog, AccessLog):
        model.objects.create(username=person.username)
    attempt = AccessAttempt.objects.create(username=person.username, failures_since_start=3)
    AccessAttemptExpiration.objects.create(access_attempt=attempt, expires_at=local_now())
    AccessAttempt.objects.update(attempt_time=local_now() - DAY)


def _a_verification(person: User) -> None:
    VerificationRun.objects.create(asked_by=person.username, finished_at=local_now())


@db
@pytest.mark.parametrize(
    ("make", "tables"),
    [
        (_a_change, {"admin.LogEntry"}),
        (_a_web_session, {"sessions.Session"}),
        (
            _a_failed_sign_in,
            {
                "axes.AccessAttempt",
                "axes.AccessAttemptExpiration",
                "axes.AccessFailureLog",
                "axes.AccessLog",
            },
        ),
        (_a_verification, {"audit.VerificationRun"}),
    ],
)
@pytest.mark.feature("E35")
def test_the_admins_tables_go_by_their_period(
    owner: User, make: Callable[[User], None], tables: set[str]
) -> None:
    make(owner)
    assert not [line for line in swept(NONE | {"admin": 10 * DAY}).values() if line.count]
    only_admin = NONE | {"admin": timedelta(0)}
    foreseen = {line.table: line.count for line in retention.foreseen(only_admin) if line.count}
    assert foreseen == dict.fromkeys(tables, 1)
    assert {line.table for line in swept(only_admin).values() if line.count} == tables


@db
def test_a_web_session_that_lasts_is_not_ended(owner: User) -> None:
    WebSession.objects.create(session_key="k", session_data="", expire_date=local_now() + DAY)
    assert not swept(ALL)["sessions.Session"].count


@db
@pytest.mark.feature("S6")
def test_pruning_opens_no_address_that_is_locked(owner: User) -> None:
    AccessAttempt.objects.create(username=owner.username, failures_since_start=10)
    assert not swept(ALL)["axes.AccessAttempt"].count


@db
def test_a_verification_that_runs_is_not_taken_away_from_who_waits_for_it(owner: User) -> None:
    VerificationRun.objects.create(asked_by=owner.username)
    assert not swept(ALL)["audit.VerificationRun"].count
    VerificationRun.objects.update(asked_at=local_now() - 2 * DAY)
    assert swept(ALL)["audit.VerificationRun"].count == 1


@db
def test_a_hold_keeps_what_a_person_did_in_the_admin(owner: User, stranger: User) -> None:
    for person in (owner, stranger):
        _a_change(person)
    holds.place(LegalHold(reason="a lawsuit", actor="owner"), by="counsel")
    assert swept(ALL)["admin.LogEntry"].count == 1
    assert LogEntry.objects.get().user == owner


# By beat.


def test_beat_comes_round_each_hour() -> None:
    (clock,) = [each for each in CLOCKS if each.name == "retention"]
    assert (clock.seconds, clock.act) == (3600, retention.sweep_by_the_settings)


@db
def test_a_round_goes_by_the_settings_and_tells_of_what_it_did(
    agent: Agent, settings: Settings, caplog: LogCaptureFixture
) -> None:
    agent.invoke("echo")
    settings.RAMPART_CHECKPOINT_KEY = []
    settings.RAMPART_RETENTION_CALLS = settings.RAMPART_RETENTION_LEDGER = timedelta(0)
    with caplog.at_level("INFO"):
        retention.sweep_by_the_settings()
    assert not Invocation.objects.exists()
    assert "1 rows of approvals.Invocation were pruned" in caplog.messages
    assert f"audit.Event could not be pruned: {NO_KEY}" in caplog.messages


# What is counted.


@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("T24", "O1")
def test_no_counter_goes_down_when_what_it_counted_is_pruned(
    agent: Agent, trace: Path, reviewer: User, client: Any
) -> None:
    agent.invoke("echo")
    agent.invoke("fails", pin="1234")
    deciding.approve(held(agent, trace), reviewer)
    work()
    before = _counters(client)
    assert any("rampart_calls_total" in name for name in before)
    assert pruned("--older-than", "0d")["approvals.Invocation"] == 3
    after = _counters(client)
    assert not Invocation.objects.exists() and not Session.objects.exists()
    assert {name: count for name, count in before.items() if after.get(name, 0) < count} == {}


def _counters(client: Any) -> dict[str, float]:
    """Each sample of `/metrics` that may only grow."""
    page = client.get("/metrics", REMOTE_ADDR="127.0.0.1").content.decode()
    samples = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    growing = ("_total", "_count", "_sum", "_bucket")
    return {
        name: float(value)
        for name, _, value in samples
        if name.partition("{")[0].endswith(growing) and name.startswith(("rampart_", "django_"))
    }
