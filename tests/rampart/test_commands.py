"""Commands for scripts: data on stdout, talk on stderr, exit codes that mean one thing each."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import CommandError

from approvals.models import Approval
from audit.events import EventName
from audit.models import Event, local_now
from rampart.management.arguments import seconds
from rampart.management.base import Exit
from tests.conftest import Agent, MakeAgent, held
from tests.processes import ROOT, Deployment
from tests.tools.conftest import Bench
from tools import identity, keys, require_approval, tool
from tools.key_cabinet import rotate_key
from tools.models import ApiKey, Tool, ToolVersion

A_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def run(*arguments: str) -> tuple[str, str, int]:
    """Run a command here; returns stdout, stderr and the exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=err, no_color=True)
    except CommandError as error:
        return out.getvalue(), str(error), error.returncode
    except SystemExit as end:
        return out.getvalue(), err.getvalue(), int(str(end.code))
    return out.getvalue(), err.getvalue(), 0


def data(*arguments: str) -> Any:
    """The one document that a command prints."""
    return json.loads(run(*arguments, "--json")[0])


# Keys.


@pytest.mark.feature("E33", "K5")
@pytest.mark.django_db
def test_create_key_prints_the_contracts_document() -> None:
    document = data("create_key", "--actor", "bot", "--scope", "a.read", "b.*", "--scope", "c")
    assert set(document) == {"prefix", "key", "actor", "scopes", "expires_at"}
    assert (document["actor"], document["scopes"]) == ("bot", ["a.read", "b.*", "c"])
    assert document["key"].startswith(document["prefix"]) and A_TIME.fullmatch(
        document["expires_at"]
    )
    assert identity.identify(document["key"], "").actor == "bot"


@pytest.mark.feature("E33", "T27")
@pytest.mark.django_db
def test_create_key_prints_the_key_alone_on_stdout_and_once() -> None:
    out, err, code = run("create_key", "--actor", "bot", "--scope", "a")
    assert code == 0 and keys.KEY.fullmatch(out.removesuffix("\n"))
    assert out.strip() not in err and "not shown again" in err
    for listing in (run("list_keys")[0], run("list_keys", "--json")[0]):
        assert out.strip()[15:] not in listing and out[:14] in listing


@pytest.mark.feature("E33", "I7")
@pytest.mark.django_db
def test_create_key_takes_every_limit(owner: User) -> None:
    data(
        "create_key", "--actor", "bot", "--scope", "a", "--owner", "owner", "--tool", "echo",
        "--tool", "pay", "--cidr", "10.0.0.0/8", "--rate-tier", "5/minute", "--expires", "1d",
    )  # fmt: skip
    row = ApiKey.objects.get()
    assert (row.owner, row.tools, row.cidrs) == (owner, ["echo", "pay"], ["10.0.0.0/8"])
    assert row.rate_tier == "5/minute"
    assert row.expires_at == row.created_at + timedelta(days=1)


@pytest.mark.feature("E33", "I2", "T27")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--expires", "9999d"], Exit.USAGE, "expires: "),
        (["--expires", "soon"], Exit.USAGE, "--expires: "),
        (["--cidr", "home"], Exit.USAGE, "cidr: "),
        (["--rate-tier", "fast"], Exit.USAGE, "rate_tier: "),
        (["--owner", "nobody"], Exit.NOT_FOUND, "'nobody'"),
    ],
)
def test_create_key_refuses_what_cannot_be(options: list[str], code: int, says: str) -> None:
    out, err, found = run("create_key", "--actor", "bot", "--scope", "a", *options)
    assert (out, found) == ("", code) and says in err
    assert not ApiKey.objects.exists()


@pytest.mark.feature("E33", "I2", "U1")
@pytest.mark.django_db
def test_revoke_key_takes_a_key_back_and_tells_who_did(agent: Agent) -> None:
    out, err, code = run("revoke_key", agent.row.prefix)
    prefix = agent.row.prefix
    assert (out, err, code) == ("", f"{prefix} revoked\n", 0)
    assert run("revoke_key", prefix) == ("", f"{prefix} was revoked already\n", 0)
    event = Event.objects.get(event=EventName.KEY_REVOKED)
    assert event.actor.startswith("command:") and event.key_prefix == agent.row.prefix


@pytest.mark.feature("I2", "I3")
@pytest.mark.django_db
def test_revoke_key_takes_a_callers_other_keys_back_too(make_agent: MakeAgent) -> None:
    agent, other = make_agent("leaky"), make_agent("other")
    successor, _ = rotate_key(agent.row.prefix, by="test")
    _, err, code = run("revoke_key", agent.row.prefix, "--lineage", "--reason", "it leaked")
    assert code == 0 and agent.row.prefix in err and successor.prefix in err
    usable = ApiKey.objects.usable(local_now())
    assert list(usable) == [other.row]
    told = Event.objects.filter(event=EventName.KEY_REVOKED)
    assert [line.metadata["reason"] for line in told] == ["it leaked"] * 2


@pytest.mark.feature("I2")
@pytest.mark.django_db
def test_of_several_keys_with_an_unknown_one_none_is_revoked(agent: Agent) -> None:
    out = run("revoke_key", agent.row.prefix, "rmp_aaaaaaaaaa")
    assert out[2] == Exit.NOT_FOUND and "nothing was revoked" in out[1]
    assert ApiKey.objects.usable(local_now()).count() == 1


@pytest.mark.feature("E33", "T27")
@pytest.mark.django_db
def test_revoke_key_of_an_unknown_prefix_is_not_found() -> None:
    assert run("revoke_key", "rmp_aaaaaaaaaa")[2] == Exit.NOT_FOUND


@pytest.mark.feature("E33", "K5")
@pytest.mark.django_db
def test_list_keys_prints_a_bare_array(agent: Agent) -> None:
    (key,) = data("list_keys")
    assert set(key) == {
        "prefix", "actor", "owner", "scopes", "tools", "cidrs", "rate_tier", "ceilings",
        "created_at", "expires_at", "revoked_at", "last_used_at", "must_rotate",
    }  # fmt: skip
    assert (key["prefix"], key["actor"], key["owner"]) == (agent.row.prefix, "agent", "owner")
    assert A_TIME.fullmatch(key["expires_at"]) and key["revoked_at"] is None


@pytest.mark.feature("E33")
@pytest.mark.django_db
def test_list_keys_of_none_is_an_empty_array() -> None:
    assert data("list_keys") == []


@pytest.mark.feature("E33")
@pytest.mark.django_db
def test_list_keys_prints_columns_for_people(agent: Agent) -> None:
    head, line = run("list_keys")[0].splitlines()
    assert head.split()[:3] == ["prefix", "actor", "owner"]
    assert line.split()[:4] == [agent.row.prefix, "agent", "owner", "kit.*"]


# Tools.


def define(bench: Bench, limit: int) -> None:
    """One tool on the bench."""
    bench.clear()

    @tool
    @require_approval(over_amount=limit)
    def pay_much(amount: float) -> None:
        """Pay much."""

    bench.registry()


@pytest.mark.feature("E33", "TD6", "K5")
@pytest.mark.django_db
def test_sync_tools_tells_each_change_and_a_dry_run_makes_none(bench: Bench) -> None:
    define(bench, 100)
    assert run("sync_tools", "--dry-run") == ("new pay_much\n", "", 0)
    assert not Tool.objects.exists()
    assert run("sync_tools")[0] == "new pay_much\n"
    assert run("sync_tools")[0] == ""
    define(bench, 50)
    assert run("sync_tools", "--dry-run")[0] == "changed pay_much\n"
    assert ToolVersion.objects.count() == 1
    assert run("sync_tools")[0] == "changed pay_much\n"
    bench.clear()
    bench.registry()
    assert run("sync_tools")[0] == "gone pay_much\n"
    assert Event.objects.filter(event=EventName.TOOL_SYNCED).count() == 3


@pytest.mark.feature("TD6")
@pytest.mark.django_db
def test_sync_tools_voids_what_was_held_for_an_older_version(agent: Agent, trace: Any) -> None:
    approval = held(agent, trace)
    row = Tool.objects.get(name="guarded_trace")
    newer = ToolVersion.objects.create(tool=row, number=2, schema_hash="x", definition={})
    Tool.objects.filter(pk=row.pk).update(current=newer)
    assert run("sync_tools")[0] == "changed guarded_trace\nvoid 1 held calls\n"
    approval.refresh_from_db()
    assert (approval.status, approval.invocation.reason) == ("void", "tool_changed")


# The ledger and upkeep.


@pytest.mark.feature("E33", "K5")
@pytest.mark.django_db
def test_expire_approvals_writes_down_what_ran_out(agent: Agent, trace: Any) -> None:
    approval = held(agent, trace)
    assert run("expire_approvals")[0] == "0 expired\n"
    Approval.objects.filter(pk=approval.pk).update(expires_at=local_now())
    assert run("expire_approvals")[0] == "1 expired\n"
    assert run("expire_approvals")[0] == "0 expired\n"
    approval.refresh_from_db()
    assert approval.status == "expired"


# The demo.


@pytest.mark.feature("E33", "E3", "K5")
@pytest.mark.django_db
def test_load_demo_prints_its_secrets_once_and_overwrites_nothing() -> None:
    first = run("load_demo")[0]
    key = re.search(r"RAMPART_KEY=(\S+)", first)
    password = re.search(r"Password: +(\S+)", first)
    assert key is not None and password is not None
    reviewer = User.objects.get(username="demo-reviewer")
    assert reviewer.check_password(password[1]) and not reviewer.is_superuser
    assert identity.identify(key[1], "").actor == "demo-agent"
    before = (reviewer.password, *ApiKey.objects.values_list("digest", flat=True))

    second = run("load_demo")[0]
    assert key[1] not in second and password[1] not in second and "shown once" not in second
    reviewer.refresh_from_db()
    assert (reviewer.password, *ApiKey.objects.values_list("digest", flat=True)) == before
    assert (Group.objects.count(), User.objects.filter(is_staff=True).count()) == (1, 1)
    assert first.count("curl ") == second.count("curl ") == 3


@pytest.mark.feature("E3")
@pytest.mark.django_db
def test_load_demo_leaves_what_an_operator_changed_alone() -> None:
    run("load_demo")
    Group.objects.get().permissions.clear()
    User.objects.filter(username="demo-reviewer").update(is_active=False)
    run("load_demo")
    assert not User.objects.get(username="demo-reviewer").is_active
    assert not Group.objects.get().permissions.exists()


@pytest.mark.feature("E3")
@pytest.mark.django_db
def test_the_demos_reviewer_may_decide_and_may_not_make_keys() -> None:
    run("load_demo")
    reviewer = User.objects.get(username="demo-reviewer")
    assert reviewer.has_perm("approvals.decide_approval")
    assert reviewer.has_perm("audit.view_event")
    assert not reviewer.has_perm("tools.add_apikey")
    assert not reviewer.has_perm("auth.change_user")


# As processes.


@pytest.mark.feature("E33", "T27")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list_keys", "--json"), 0),
        (("create_key",), 2),
        (("create_key", "--actor", "a", "--scope", "b", "--expires", "9999d"), 2),
        (("revoke_key", "rmp_aaaaaaaaaa"), 5),
    ],
)
def test_a_process_ends_with_the_contracts_code(
    migrated: Deployment, arguments: tuple[str, ...], code: int
) -> None:
    done = migrated.manage(*arguments)
    assert done.returncode == code, done.stderr
    assert bool(done.stderr) is (code != 0)
    assert "Traceback" not in done.stderr


@pytest.mark.feature("E33")
def test_json_is_all_that_stands_on_stdout(migrated: Deployment) -> None:
    made = migrated.manage("create_key", "--actor", "bot", "--scope", "a", "--json")
    assert made.returncode == 0 and made.stderr == ""
    prefix = json.loads(made.stdout)["prefix"]
    listed = json.loads(migrated.manage("list_keys", "--json").stdout)
    assert prefix in [key["prefix"] for key in listed]
    assert "\x1b" not in made.stdout


@pytest.mark.feature("E33", "U4")
def test_an_altered_ledger_ends_the_process_with_6(migrated: Deployment) -> None:
    assert migrated.manage("create_key", "--actor", "bot", "--scope", "a").returncode == 0
    database = sqlite3.connect(migrated.folder / "rampart.sqlite3")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        database.execute("UPDATE audit_event SET actor = 'mallory'")
    (trigger,) = database.execute(
        "SELECT sql FROM sqlite_master WHERE name = 'audit_event_no_update'"
    ).fetchone()
    (honest,) = database.execute("SELECT actor FROM audit_event ORDER BY id").fetchone()
    database.execute("DROP TRIGGER audit_event_no_update")
    alter = "UPDATE audit_event SET actor = ? WHERE id = (SELECT min(id) FROM audit_event)"
    database.execute(alter, ["mallory"])
    database.commit()
    done = migrated.manage("verify_audit", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (6, False)
    database.execute(alter, [honest])
    database.execute(trigger)
    database.commit()
    database.close()
    assert migrated.manage("verify_audit").returncode == 0


@pytest.mark.feature("E33")
def test_a_ledger_that_cannot_be_read_ends_the_process_with_1(bare: Deployment) -> None:
    done = bare.manage("verify_audit")
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not read the ledger" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.feature("E33", "E3")
def test_the_demo_loads_twice_as_processes(migrated: Deployment) -> None:
    first, second = (migrated.manage("load_demo").stdout for _ in range(2))
    assert "RAMPART_KEY=rmp_" in first and "RAMPART_KEY=rmp_" not in second


# Limits of tools.


@pytest.mark.feature("X10", "E33")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "option",
    ["--running=0", "--running=10001", "--running=0100009", "--running=9999999999", "--running=",
     "--priority=1001", "--priority=-1001", "--priority=00100099999", "--priority=--1"],
)  # fmt: skip
def test_a_limit_that_cannot_be_is_refused(agent: Agent, option: str) -> None:
    assert "takes a whole number from" in run("limit_tool", "leave_trace", option)[1]
    assert data("limit_tool", "leave_trace") == {
        "tool": "leave_trace", "max_running": None, "priority": 0,
    }  # fmt: skip


@pytest.mark.parametrize("given", ["86401", "0086400999", "-1", "1.5", ""])
def test_a_wait_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(ArgumentTypeError):
        seconds(given)
    assert seconds("86400") == 86_400


# Readers.


@pytest.mark.feature("E33")
@pytest.mark.parametrize("command", [["list_keys", "--json"], ["checklist"]], ids="-".join)
def test_a_reader_that_has_gone_away_ends_a_command_without_a_complaint(
    migrated: Deployment, command: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT, env=migrated.environment, stdout=writer, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, "BrokenPipe" in done.stderr) == (Exit.COULD_NOT_RUN, False)
