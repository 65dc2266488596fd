"""Checks of the rules: what nobody rules, what nobody can decide; silent without a database."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.db import connection
from pytest_django import Settings

from approvals.models import Policy
from audit.models import local_now
from rampart.management.base import Exit
from tests import servers
from tests.desk_cast import Rule
from tests.processes import Deployment
from tests.tools.conftest import Bench
from tools import policy, require_approval, side_effects, tool
from tools.builtin import execution
from tools.key_cabinet import create_key
from tools.models import ApiKey, FederatedIdentity

db = pytest.mark.django_db
Member = Callable[..., User]
Write = Callable[[], None]
GAPS = ("approvals.",)


def found(*, deploy: bool = False) -> dict[str, list[str]]:
    """What the checks say of the rules, by id."""
    messages: dict[str, list[str]] = {}
    for message in checks.run_checks(databases=["default"], include_deployment_checks=deploy):
        if str(message.id).startswith(GAPS):
            messages.setdefault(str(message.id), []).append(message.msg)
    return messages


@pytest.fixture
def bare_bench(bench: Bench) -> Bench:
    """No tools, so that each test has only its own gaps."""
    bench.registry()
    return bench


# A writing tool that nothing rules.


@pytest.fixture
def write() -> Write:
    """What is not a tool yet."""

    def write() -> None:
        """Write."""

    return write


@db
@pytest.mark.feature("TD4")
def test_a_writing_tool_without_a_rule_is_a_gap(bare_bench: Bench, write: Write) -> None:
    bare_bench.build(tool(write))
    assert found() == {
        "approvals.W001": [
            "write writes, and neither its code nor a policy about all callers rules it"
        ]
    }


@db
@pytest.mark.feature("TD4")
@pytest.mark.parametrize(
    "dress",
    [
        side_effects(read_only=True),
        policy(lambda context, arguments: True),
    ],
    ids=["read only", "policy of its code"],
)
def test_a_tool_that_its_code_rules_is_none(bare_bench: Bench, write: Write, dress: Any) -> None:
    bare_bench.build(dress(tool(write)))
    assert found() == {}


@db
@pytest.mark.feature("TD4")
def test_what_runs_in_the_strict_jail_is_none(bare_bench: Bench, write: Write) -> None:
    bare_bench.build(tool(name=execution.NAME)(write))
    assert found() == {}


@db
@pytest.mark.feature("TD4")
@pytest.mark.parametrize(
    ("columns", "is_gap"),
    [
        ({"effect": "allow"}, False),
        ({"effect": "deny", "tool": "wri*"}, False),
        ({"effect": "deny", "actor": "*"}, False),
        ({"effect": "deny", "side_effect": "writes"}, False),
        ({"effect": "deny", "tool": "read*"}, True),
        ({"effect": "deny", "actor": "shop-*"}, True),
        ({"effect": "deny", "scope": "refunds.*"}, True),
        ({"effect": "deny", "side_effect": "destructive"}, True),
        ({"effect": "deny", "is_enabled": False}, True),
    ],
)
def test_a_policy_about_it_and_all_callers_closes_the_gap(
    bare_bench: Bench, write: Write, write_rule: Rule, columns: dict[str, Any], is_gap: bool
) -> None:
    bare_bench.build(tool(write))
    write_rule("rule", **columns)
    assert ("approvals.W001" in found()) == is_gap


@db
@pytest.mark.feature("TD4")
@pytest.mark.parametrize("setting", ["hold", "deny"])
def test_where_unruled_writes_are_not_let_through_there_is_no_gap(
    bare_bench: Bench, write: Write, reviewer: User, settings: Settings, setting: str
) -> None:
    bare_bench.build(tool(write))
    settings.RAMPART_UNRULED_WRITES = setting
    assert found() == {}


# A policy that nobody can decide.


@db
@pytest.mark.feature("TD4", "AP9")
def test_a_policy_with_too_few_people_is_a_gap(
    bare_bench: Bench, write_rule: Rule, member: Member
) -> None:
    member("ana", "ops", "finance")
    outsider = member("eve")
    write_rule("both", [(1, "ops"), (1, "finance")])
    assert found() == {"approvals.W002": ["nobody can decide what the policy 'both' holds"]}
    bob = member("bob", "finance")
    assert found() == {}
    bob.is_active = False
    bob.save(update_fields=["is_active"])
    assert "approvals.W002" in found()
    outsider.groups.set(bob.groups.all())
    assert found() == {}
    outsider.user_permissions.clear()
    assert "approvals.W002" in found()


@db
@pytest.mark.feature("TD4", "AP6")
def test_who_is_behind_every_key_does_not_count(
    bare_bench: Bench, write_rule: Rule, member: Member
) -> None:
    ana, bob, _ = member("ana", "ops"), member("bob", "ops"), member("cora")
    write_rule("two", [(2, "ops")])
    create_key(actor="shop", scopes=["a"], owner=ana, by="test")
    create_key(actor="shop", scopes=["a"], owner=bob, by=ana)
    assert [*found()] == ["approvals.W002"]
    create_key(actor="shop", scopes=["a"], by="test")
    assert found() == {}


@db
@pytest.mark.feature("TD4")
@pytest.mark.parametrize("columns", [{"is_enabled": False}, {"effect": "deny"}])
def test_a_policy_that_holds_nothing_needs_nobody(
    bare_bench: Bench, write_rule: Rule, columns: dict[str, Any]
) -> None:
    write_rule("two", [(2, "ops")], **columns)
    assert found() == {}


# Nobody to judge.


@pytest.fixture
def guarded(bare_bench: Bench, write: Write) -> None:
    """A tool whose calls are held."""
    bare_bench.build(require_approval(tool(write)))


@db
@pytest.mark.feature("TD4")
def test_nobody_who_may_decide_is_a_gap(guarded: None, member: Member) -> None:
    assert [*found()] == ["approvals.W003"]
    User.objects.create_superuser("root", password="root-password", is_active=False)
    assert [*found()] == ["approvals.W003"]
    member("ana")
    assert found() == {}


@db
@pytest.mark.feature("TD4", "AP6")
def test_nobody_but_the_requester_is_a_gap(guarded: None, member: Member) -> None:
    ana = member("ana")
    create_key(actor="shop", scopes=["a"], owner=ana, by="test")
    what = "nobody may decide the calls of 'shop': whoever may decide owns or made the key"
    assert found() == {"approvals.W003": [what]}
    member("bob")
    assert found() == {}


@db
@pytest.mark.feature("TD4", "AP6")
def test_owner_maker_and_holder_of_the_token_are_all_the_requesters_side(
    guarded: None, member: Member
) -> None:
    ana, bob, eve = (member(name) for name in ("ana", "bob", "eve"))
    row, _ = create_key(actor="shop", scopes=["a"], owner=ana, by=bob)
    assert found() == {}
    ApiKey.objects.filter(pk=row.pk).update(issuer="https://idp.example", subject="eve-1")
    FederatedIdentity.objects.create(user=eve, issuer="https://idp.example", subject="eve-1")
    assert [*found()] == ["approvals.W003"]
    ApiKey.objects.filter(pk=row.pk).update(expires_at=local_now() - timedelta(days=1))
    assert found() == {}


@db
@pytest.mark.feature("TD4")
def test_where_nothing_can_be_held_nobody_is_needed(
    bare_bench: Bench, write_rule: Rule, settings: Settings
) -> None:
    assert found() == {}
    settings.RAMPART_UNRULED_WRITES = "hold"
    assert [*found()] == ["approvals.W003"]
    settings.RAMPART_UNRULED_WRITES = "allow"
    write_rule("look")
    assert "approvals.W003" in found()


# As errors, and where there is nothing to ask.


@db
@pytest.mark.feature("TD4")
def test_where_it_is_deployed_each_gap_is_an_error(
    bare_bench: Bench, write: Write, write_rule: Rule
) -> None:
    bare_bench.build(tool(write))
    write_rule("look", actor="shop-*")
    warned = {name.replace(".W", ".E"): told for name, told in found().items()}
    assert [*warned] == ["approvals.E001", "approvals.E002", "approvals.E003"]
    assert {n: told for n, told in found(deploy=True).items() if ".E" in n} == warned


@db
@pytest.mark.feature("TD4")
def test_a_table_of_another_release_is_passed_over_and_harms_nothing(guarded: None) -> None:
    assert [*found()] == ["approvals.W003"]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE approvals_policy RENAME TO approvals_policy_gone")
        assert found() == {}
        cursor.execute("ALTER TABLE approvals_policy_gone RENAME TO approvals_policy")
    assert not Policy.objects.exists()


TOOLS = "tools.examples.demo"


@pytest.mark.feature("TD4")
@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_every_command_that_makes_a_deployment_works_on_an_empty_database(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    environment = {"RAMPART_TOOL_MODULES": TOOLS, "DJANGO_SUPERUSER_PASSWORD": "a-long-passphrase"}
    if store == "postgresql":
        stack = request.getfixturevalue("empty_postgres")
        environment["DATABASE_URL"] = stack
    fresh = Deployment(tmp_path / "var", **environment)
    for command in (
        ("check",),
        ("migrate", "--verbosity", "0"),
        ("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.org"),
        ("sync_tools",),
        ("check",),
    ):
        done = fresh.manage(*command)
        assert done.returncode == Exit.DONE, (command, done.stderr)
        assert "Traceback" not in done.stderr
    assert "approvals.W001" in done.stderr and "rebuild_report writes" in done.stderr
    assert "approvals.W003" not in done.stderr
    failed = fresh.manage("check", "--deploy")
    assert failed.returncode == Exit.COULD_NOT_RUN
    assert "approvals.E001" in failed.stderr and "Traceback" not in failed.stderr


@pytest.fixture
def empty_postgres() -> Any:
    """A server whose database has no table yet."""
    with servers.postgres() as (_, url):
        yield url


@pytest.mark.feature("TD4")
def test_a_database_that_does_not_answer_is_nothing_to_complain_of(tmp_path: Path) -> None:
    away = f"postgresql://nobody@127.0.0.1:{servers.free_port()}/none"
    done = Deployment(tmp_path / "var", RAMPART_TOOL_MODULES=TOOLS, DATABASE_URL=away).manage(
        "check"
    )
    assert (done.returncode, "approvals." in done.stderr) == (Exit.DONE, False)
    assert "Traceback" not in done.stderr


@pytest.mark.feature("TD4")
def test_other_commands_say_nothing_of_the_rules(migrated: Deployment) -> None:
    done = migrated.manage("list_keys")
    assert (done.returncode, "approvals." in done.stderr) == (Exit.DONE, False)


@pytest.mark.feature("TD4")
def test_the_demo_leaves_no_gap_and_overwrites_nothing(tmp_path: Path) -> None:
    demo = Deployment(tmp_path / "var", RAMPART_TOOL_MODULES=TOOLS)
    for command in ("migrate", "sync_tools", "load_demo", "check"):
        done = demo.manage(command)
        assert (done.returncode, "approvals." in done.stderr) == (Exit.DONE, False), done.stderr
    forget = "from approvals.models import Policy; Policy.objects.all().delete()"
    assert demo.manage("shell", "-c", forget).returncode == Exit.DONE
    demo.manage("load_demo")
    assert "approvals.W001" in demo.manage("check").stderr
