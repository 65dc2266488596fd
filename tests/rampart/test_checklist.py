"""The checklist: each line fails where it should, says how to mend it, and scripts can read it."""

import ipaddress
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from rampart import checklist
from rampart.checklist import Line, Verdict, items
from rampart.checklist.tools import theirs
from rampart.management.base import Exit
from sandbox.layers import Layer
from tests.architecture.test_docs import ROOT, _anchors
from tests.conftest import MakeAgent
from tests.processes import Deployment
from tests.rampart.test_commands import run
from tests.rampart.test_settings import configured
from tests.tools.conftest import Bench
from tools import (
    isolated_process,
    max_retries,
    registry,
    require_approval,
    require_idempotency_key,
    scope,
    side_effects,
    timeout,
    tool,
)
from tools.models import ApiKey

db = pytest.mark.django_db
Define = Callable[[], None]


def line(id: str) -> Line:
    """One line of the list, as it is now."""
    (found,) = [each for each in items.items if each.id == id]
    return found.line()


# The list as a whole.


@db
def test_each_failing_line_has_a_fix_and_no_other_line_has(settings: Settings) -> None:
    settings.DEBUG = True
    lines = checklist.run()
    assert {each.status for each in lines} >= {Verdict.PASS, Verdict.FAIL}
    for each in lines:
        assert each.title and each.finding, each.id
        assert bool(each.fix) == (each.status is Verdict.FAIL), each.id


@pytest.mark.parametrize("item", items.items, ids=lambda item: item.id)
def test_each_line_has_a_name_of_its_own_and_a_page_that_exists(item: items.Item) -> None:
    assert [each.id for each in items.items].count(item.id) == 1
    page, _, anchor = item.docs.partition("#")
    assert (ROOT / page).exists()
    assert not anchor or anchor in _anchors(ROOT / page)


@db
@pytest.mark.feature("E34")
def test_a_finding_ends_it_with_6_after_all_is_said(settings: Settings) -> None:
    settings.DEBUG = True
    out, err, code = run("checklist")
    assert code == Exit.FINDINGS
    assert "✖ Django's debug mode is off (debug): error pages show code" in out
    assert "    fix: unset DEBUG\n" in out and "fail" in err
    assert out.count("fix: ") == out.count("✖") and "✔" in out


@db
@pytest.mark.feature("E33")
def test_as_json_it_is_one_bare_array(settings: Settings) -> None:
    settings.DEBUG = True
    out, _, code = run("checklist", "--json")
    lines = json.loads(out)
    assert code == Exit.FINDINGS and isinstance(lines, list)
    assert [each["id"] for each in lines] == [each.id for each in items.items]
    assert all(set(each) == {"id", "title", "status", "finding", "fix", "docs"} for each in lines)
    assert {each["status"] for each in lines} <= {"PASS", "FAIL", "N-A"}


@db
@pytest.mark.postgres
@pytest.mark.feature("E34")
def test_without_a_finding_it_ends_with_0(bench: Bench, settings: Settings, tmp_path: Path) -> None:
    settings.RAMPART_PUBLIC_URL = "https://rampart.example"
    settings.RAMPART_VAR = tmp_path
    settings.RAMPART_ENVIRONMENT = configured(RAMPART_RETENTION_LEDGER="forever")

    @tool
    @scope("orders.read")
    @side_effects(read_only=True)
    def look() -> None:
        """Look."""

    bench.registry()
    out, err, code = run("checklist")
    assert (code, "✖" in out, err) == (0, False, "nothing to mend\n"), out


def test_without_a_database_it_ends_with_1(bare: Deployment) -> None:
    done = bare.manage("checklist", "--json", DATABASE_URL="postgres://127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (Exit.COULD_NOT_RUN, "")
    assert "the database: " in done.stderr and "Traceback" not in done.stderr


def test_a_fault_that_would_stop_a_start_is_on_the_list(migrated: Deployment) -> None:
    """The command speaks where others refuse to begin."""
    done = migrated.manage("checklist", "--json", RAMPART_TOOL_MODULES="no.such.module")
    (found,) = [each for each in json.loads(done.stdout) if each["id"] == "checks"]
    assert done.returncode == Exit.FINDINGS
    assert found["status"] == "FAIL" and "tools.E001" in found["finding"]


# The deployment.


@db
@pytest.mark.parametrize(
    ("id", "setting", "wrong", "right"),
    [
        ("debug", "DEBUG", True, False),
        ("authentication", "REST_FRAMEWORK", {"DEFAULT_PERMISSION_CLASSES": []}, None),
        ("https", "RAMPART_PUBLIC_URL", "http://rampart.example", "https://rampart.example"),
        ("https", "RAMPART_PUBLIC_URL", "", "https://rampart.example"),
        ("retention", "RAMPART_RESULT_RETENTION", timedelta(days=31), timedelta(days=30)),
        ("metrics", "RAMPART_METRICS_ALLOW", [ipaddress.ip_network("0.0.0.0/0")], []),
        ("jail.waived", "RAMPART_WAIVE_ISOLATION", [Layer.LANDLOCK], []),
    ],
)
def test_a_setting_fails_its_line_and_a_better_one_passes(
    settings: Settings, id: str, setting: str, wrong: Any, right: Any
) -> None:
    usual = getattr(settings, setting)
    setattr(settings, setting, wrong)
    assert line(id).status is Verdict.FAIL
    setattr(settings, setting, usual if right is None else right)
    assert line(id).status is Verdict.PASS


@pytest.mark.feature("K2")
@pytest.mark.parametrize(
    ("given", "kept", "keys", "verdict", "finding"),
    [
        ("", None, [b"key"], Verdict.FAIL, "nobody has: it is kept for ever"),
        ("forever", None, [], Verdict.PASS, "for ever"),
        ("90d", timedelta(days=90), [b"key"], Verdict.PASS, "for 90d"),
        ("90d", timedelta(days=90), [], Verdict.FAIL, "for 90d, and then nothing goes"),
    ],
)
def test_for_how_long_the_ledger_is_kept_is_for_somebody_to_say(
    settings: Settings, given: str, kept: Any, keys: list[bytes], verdict: Verdict, finding: str
) -> None:
    settings.RAMPART_ENVIRONMENT = configured(RAMPART_RETENTION_LEDGER=given)
    settings.RAMPART_RETENTION_LEDGER, settings.RAMPART_CHECKPOINT_KEY = kept, keys
    found = line("retention.ledger")
    assert found.status is verdict and found.finding.startswith(finding)


@db
def test_sqlite_is_a_finding_and_postgresql_is_none(settings: Settings) -> None:
    on_postgres = connection.vendor == "postgresql"
    wanted = Verdict.PASS if on_postgres else Verdict.FAIL
    settings.REDIS_URL = ""
    assert (line("database").status, line("limits").status) == (wanted, wanted)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert (line("database").status, line("limits").status) == (wanted, Verdict.PASS)


def test_secrets_that_others_may_read_are_a_finding(settings: Settings, tmp_path: Path) -> None:
    settings.RAMPART_VAR = tmp_path
    assert line("secrets").status is Verdict.PASS
    file = tmp_path / "secrets.env"
    file.touch(0o600)
    assert line("secrets").status is Verdict.PASS
    file.chmod(0o640)
    assert (line("secrets").status, line("secrets").fix) == (Verdict.FAIL, f"chmod 600 {file}")


# The jail.


@pytest.mark.feature("S3")
def test_the_list_says_of_each_jail_which_layers_hold_here() -> None:
    for name, layers in (("warm", 2), ("fresh", 2), ("strict", 5), ("native", 11)):
        found = line(f"jail.{name}")
        assert found.status is Verdict.PASS, found
        assert found.finding.startswith(f"{layers} of {layers} layers: resource_limits, ")
    assert re.match(r"\d\d forbidden acts tried", line("jail.acts").finding)


@pytest.mark.feature("S3")
@pytest.mark.parametrize(
    ("lacking", "jail", "layers"),
    [
        ("landlock", "native", {"landlock"}),
        ("not_dumpable", "fresh", {"not_dumpable"}),
        ("namespaces", "native", {"user_namespace", "network_namespace", "private_root"}),
    ],
)
def test_a_layer_that_a_tool_needs_and_the_kernel_lacks_is_a_finding(
    migrated: Deployment, lacking: str, jail: str, layers: set[str]
) -> None:
    lines = without(lacking, migrated, RAMPART_TOOL_MODULES="tests.kit_tools,tests.jailed_tools")
    assert lines[f"jail.{jail}"]["status"] == "FAIL"
    held, missing = lines[f"jail.{jail}"]["finding"].split("; missing: ")
    for layer in layers:
        assert f"{layer} (" in missing and layer not in held.split(", ")
    assert "needed by " in missing


def test_a_layer_that_no_tool_needs_is_said_and_no_finding(migrated: Deployment) -> None:
    lines = without("landlock", migrated, RAMPART_TOOL_MODULES="")
    assert lines["jail.native"]["status"] == "N-A"
    assert "missing: landlock" in lines["jail.native"]["finding"]


def test_what_gets_through_a_thin_jail_is_a_finding(migrated: Deployment) -> None:
    lines = without("namespaces", migrated)
    assert lines["jail.acts"]["status"] == "FAIL"
    assert "find_a_process in native" in lines["jail.acts"]["finding"]


def without(part: str, deployment: Deployment, **environment: str) -> dict[str, Any]:
    """The list, by id, on a machine without a part of what jails are made of."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.without_layer", part,
         sys.executable, "manage.py", "checklist", "--json"],
        cwd=ROOT, env=deployment.environment | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == Exit.FINDINGS, done.stderr
    return {each["id"]: each for each in json.loads(done.stdout)}


# Tools.


def _no_scope() -> None:
    @tool
    @side_effects(read_only=True)
    def at_fault() -> None:
        """At fault."""


def _nothing_declared() -> None:
    @tool
    @scope("a.write")
    def at_fault() -> None:
        """At fault."""


def _may_be_done_twice() -> None:
    @tool
    @side_effects(money_movement=True)
    def at_fault() -> None:
        """At fault."""


def _long() -> None:
    @tool
    @timeout(61)
    def at_fault() -> None:
        """At fault."""


def _without_end() -> None:
    @tool
    @timeout(None)
    def at_fault() -> None:
        """At fault."""


def _tries_often() -> None:
    @tool
    @side_effects(idempotent=True)
    @max_retries(4)
    def at_fault() -> None:
        """At fault."""


def _tries_what_it_must_not() -> None:
    @tool
    @max_retries(1)
    def at_fault() -> None:
        """At fault."""


def _unruled() -> None:
    @tool
    @side_effects(writes_data=True)
    def at_fault() -> None:
        """At fault."""


def _sound() -> None:
    @tool
    @scope("money.pay")
    @side_effects(money_movement=True)
    @isolated_process
    @require_idempotency_key
    @require_approval
    @timeout(60)
    def pay() -> None:
        """Pay."""

    @tool
    @scope("money.look")
    @side_effects(read_only=True)
    @max_retries(3)
    def look() -> None:
        """Look."""


@db
@pytest.mark.parametrize(
    ("id", "define"),
    [
        ("tools.scope", _no_scope),
        ("tools.effects", _nothing_declared),
        ("tools.rules", _unruled),
        ("tools.idempotency", _may_be_done_twice),
        ("tools.timeout", _long),
        ("tools.timeout", _without_end),
        ("tools.retries", _tries_often),
        ("tools.retries", _tries_what_it_must_not),
        ("tools.isolation", _may_be_done_twice),
    ],
)
def test_a_tool_fails_its_line_by_name_and_sound_ones_pass(
    bench: Bench, id: str, define: Define
) -> None:
    _sound()
    bench.registry()
    assert line(id).status is Verdict.PASS, line(id)
    define()
    bench.registry()
    assert line(id).status is Verdict.FAIL
    assert "at_fault" in line(id).finding and "look" not in line(id).finding


@pytest.mark.parametrize("id", ["tools.scope", "tools.idempotency", "tools.isolation"])
def test_a_line_about_tools_that_are_not_there_does_not_apply(bench: Bench, id: str) -> None:
    bench.registry()
    assert line(id).status is Verdict.NOT_APPLICABLE


def test_the_tools_that_every_deployment_has_are_not_the_operators_to_mend() -> None:
    judged = {tool.name for tool in theirs()}
    assert {"echo", "lookup_order"} <= judged
    assert "rampart.smoke.write" in set(registry.loaded()) - judged


# Keys.


@db
@pytest.mark.parametrize(
    ("id", "column", "faulty"),
    [
        ("keys.expiry", "expires_at", None),
        ("keys.scopes", "scopes", ["*"]),
        ("keys.imported", "must_rotate", True),
    ],
)
def test_a_key_fails_its_line_by_its_visible_start_until_it_is_revoked(
    make_agent: MakeAgent, id: str, column: str, faulty: Any
) -> None:
    assert line(id).status is Verdict.NOT_APPLICABLE
    agent = make_agent()
    assert line(id).status is Verdict.PASS
    rows = ApiKey.objects.filter(pk=agent.row.pk)
    rows.update(**{column: faulty})
    assert line(id).status is Verdict.FAIL
    assert agent.row.prefix in line(id).finding and agent.key not in line(id).finding
    rows.update(revoked_at=agent.row.created_at)
    assert line(id).status is Verdict.NOT_APPLICABLE
