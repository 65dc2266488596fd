"""`call`: what an agent can do over REST, at a prompt, with exit codes for scripts."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals import deciding, pipeline
from approvals.models import Approval, Invocation
from approvals.results import HTTP_STATUS
from audit.models import Event
from rampart.management.base import Exit
from rampart.management.commands.call import EXIT_CODES
from rampart.parsers import DEEPEST, LARGEST_BODY
from tests.architecture.test_docs import CODE, _section, _text
from tests.conftest import Agent, MakeAgent, effects, held, work
from tests.processes import ROOT, Deployment
from tests.rampart.test_commands import data, run
from tests.stack import Stack, until
from tools.key_cabinet import revoke_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(agent: Agent, settings: Settings) -> Agent:
    """The agent, whose key stands in the environment."""
    settings.RAMPART_API_KEY = agent.key
    return agent


def type_in(monkeypatch: MonkeyPatch, text: bytes) -> None:
    """Put the text on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))


def call(tool: str, *options: str, **arguments: Any) -> tuple[str, str, int]:
    """Call a tool; returns stdout, stderr and the exit code."""
    return run("call", tool, "--args", json.dumps(arguments), *options)


# What it prints.


@pytest.mark.feature("K1", "E33")
def test_success_has_its_data_on_stdout_and_the_talk_on_stderr(caller: Agent) -> None:
    out, err, code = call("echo", value={"a": [1, "ü"]})
    assert (json.loads(out), code) == ({"a": [1, "ü"]}, 0)
    row = Invocation.objects.get()
    assert err == f"success; invocation {row.pk}; audit {row.audit_id}\n"


@pytest.mark.feature("K1", "E33")
def test_json_is_the_document_that_rest_answers(caller: Agent) -> None:
    document = data("call", "echo", "--args", '{"value": 7}')
    posted = caller.invoke("echo", value=7).json()
    own = {"audit_id", "invocation_id", "request_id", "links"}
    assert set(document) == set(posted) and document["links"].keys() == posted["links"].keys()
    assert {k: v for k, v in document.items() if k not in own} == {
        k: v for k, v in posted.items() if k not in own
    }


@pytest.mark.feature("E33")
def test_what_a_stranger_writes_cannot_move_the_terminals_cursor(caller: Agent) -> None:
    err = call("echo", **{"\x1b[2J\u202e": 1})[1]
    assert "[U+001B ESCAPE][2J[U+202E" in err
    assert not {"\x1b", "\u202e"} & set(err)


@pytest.mark.feature("T27", "K1", "E33")
@pytest.mark.parametrize(
    ("tool", "arguments", "options", "code", "says"),
    [
        ("fails", {"pin": "123456"}, [], Exit.COULD_NOT_RUN, "error; ValueError"),
        ("spend", {"money": 3}, [], Exit.USAGE, "money: "),
        ("once", {"path": "/dev/null"}, [], Exit.USAGE, "IdempotencyKeyRequired"),
        ("on_weekdays", {"day": "sunday"}, [], Exit.DENIED, "denied; PolicyDenied"),
        ("never_judged", {"day": "monday"}, [], Exit.DENIED, "denied; PolicyError"),
        ("leave_trace", {"path": "/dev/null"}, ["--wait", "0"], Exit.PENDING, "pending"),
        ("guarded_trace", {"path": "/dev/null"}, [], Exit.PENDING, "requires_approval"),
    ],
)
def test_each_way_to_end_has_its_exit_code(
    caller: Agent, tool: str, arguments: Any, options: list[str], code: Exit, says: str
) -> None:
    out, err, found = call(tool, *options, **arguments)
    assert (out, found) == ("", code)
    assert says in err
    document = data("call", tool, "--args", json.dumps(arguments), *options)
    assert document["status"] in err


@pytest.mark.feature("T27")
def test_a_key_without_the_scope_is_denied(make_agent: MakeAgent, settings: Settings) -> None:
    settings.RAMPART_API_KEY = make_agent("other", ("other",)).key
    _, err, code = call("echo", value=1)
    assert (code, "missing required scope: kit.read" in err) == (Exit.DENIED, True)


@pytest.mark.feature("T27")
def test_a_call_over_the_limit_is_denied(caller: Agent, trace: Path) -> None:
    assert call("once_an_hour", "--wait", "0", path=str(trace))[2] == Exit.PENDING
    _, err, code = call("once_an_hour", "--wait", "0", path=str(trace))
    assert (code, "rate_limited; RateLimited" in err) == (Exit.DENIED, True)


@pytest.mark.feature("T27")
def test_an_unknown_tool_is_not_found_and_told_without_its_arguments(caller: Agent) -> None:
    _, err, code = call("no_such_tool", secret="hunter2")
    assert (code, "no tool is called 'no_such_tool'" in err) == (Exit.NOT_FOUND, True)
    event = Event.objects.get(event="invocation:refused")
    assert (event.reason, event.source, event.arguments) == ("unknown_tool", "command", None)
    assert (event.actor, event.key_prefix) == ("agent", caller.row.prefix)


@pytest.mark.parametrize(
    ("end", "code", "word"),
    [
        (lambda approval, reviewer: deciding.reject(approval, reviewer), 3, "rejected"),
        (lambda approval, reviewer: pipeline.cancel(approval.invocation, by="x"), 3, "cancelled"),
        (lambda approval, reviewer: run_out(approval), 3, "expired"),
        (lambda approval, reviewer: deciding.approve(approval, reviewer), 0, "success; replayed"),
    ],
)
def test_the_end_of_a_held_call_is_asked_for_by_its_approval(
    caller: Agent, trace: Path, reviewer: User, end: Callable[..., Any], code: int, word: str
) -> None:
    approval = held(caller, trace)
    end(approval, reviewer)
    work()
    _, err, found = call("guarded_trace", "--approval-id", str(approval.pk), path=str(trace))
    assert (found, err.startswith(word)) == (code, True), err


def run_out(approval: Approval) -> None:
    """Let the approval's time be over."""
    Approval.objects.filter(pk=approval.pk).update(expires_at=approval.requested_at)


@pytest.mark.feature("E33")
def test_every_status_has_its_exit_code_and_the_page_says_the_same() -> None:
    assert set(EXIT_CODES) == set(HTTP_STATUS)
    section = _section(_text("docs/reference/commands.md"), "call")
    rows = re.findall(r"^\| (\d) \| (.+) \|$", section, re.MULTILINE)
    documented = {word: int(code) for code, words in rows for word in CODE.findall(words)}
    assert documented == {word: int(code) for word, code in EXIT_CODES.items()}


# No way round.


@pytest.mark.feature("T6", "K1")
def test_a_held_call_runs_nothing_until_a_person_has_approved_it(
    caller: Agent, trace: Path, reviewer: User
) -> None:
    assert call("guarded_trace", path=str(trace))[2] == Exit.PENDING
    work()
    assert effects(trace) == []
    deciding.approve(Approval.objects.with_everything().get(), reviewer)
    work()
    assert effects(trace) == ["ran"]


@pytest.mark.feature("T6")
@pytest.mark.parametrize(
    "option", ["--approved", "--approved-by=boss", "--actor=boss", "--scope=*", "--source=rest"]
)
def test_no_option_says_who_calls_or_that_it_is_approved(migrated: Deployment, option: str) -> None:
    done = migrated.manage("call", "lookup_order", option)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments" in done.stderr


@pytest.mark.feature("T6")
def test_identity_among_the_arguments_is_only_an_argument(caller: Agent, trace: Path) -> None:
    _, err, code = call("guarded_trace", path=str(trace), approved=True, actor="boss")
    assert (code, "approved: " in err) == (Exit.USAGE, True)
    assert not Approval.objects.exists()


@pytest.mark.feature("U1", "K1")
def test_the_ledger_shows_the_key_and_who_ran_the_command(caller: Agent) -> None:
    call("echo", value=1)
    event = Event.objects.get(event="invocation:finished")
    assert (event.actor, event.source, event.key_prefix) == (
        "agent", "command", caller.row.prefix,
    )  # fmt: skip
    assert event.metadata["caller"]["operator"].startswith("command:")


# The key.


@pytest.mark.feature("K1", "T27")
def test_a_key_on_standard_input_beats_the_environments(
    caller: Agent, make_agent: MakeAgent, monkeypatch: MonkeyPatch
) -> None:
    type_in(monkeypatch, f"{make_agent('typed').key}\nmore\n".encode())
    assert call("echo", "--key", "-", value=1)[2] == 0
    assert Invocation.objects.get().actor == "typed"


@pytest.mark.feature("T27", "K1")
def test_a_key_on_the_command_line_is_refused_and_not_repeated(migrated: Deployment) -> None:
    done = migrated.manage("call", "lookup_order", "--key", "rmp_abcdefghij_hunter2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --key: takes only '-'" in done.stderr and "hunter2" not in done.stderr


@pytest.mark.feature("K1")
def test_without_a_key_nothing_is_called(db: None) -> None:
    _, err, code = call("echo", value=1)
    assert (code, "RAMPART_API_KEY" in err) == (Exit.USAGE, True)
    assert not Event.objects.exists()


@pytest.mark.feature("K1", "U1")
def test_a_bad_key_is_denied_and_a_line_in_the_ledger(
    caller: Agent, settings: Settings, monkeypatch: MonkeyPatch
) -> None:
    revoke_key(caller.row.prefix, by="test")
    assert call("echo", value=1)[1:] == ("this key has been revoked", Exit.DENIED)
    type_in(monkeypatch, b"rmp_nonsense\n")
    assert call("echo", "--key", "-", value=1)[2] == Exit.DENIED
    second, first = Event.objects.filter(event="credentials:refused")
    assert (first.reason, first.key_prefix) == ("key_revoked", caller.row.prefix)
    assert (second.reason, second.source) == ("invalid_credentials", "command")
    assert second.metadata["operator"].startswith("command:")
    assert not Invocation.objects.exists()


@pytest.mark.feature("I7")
@pytest.mark.parametrize(("cidr", "code"), [("127.0.0.0/8", 0), ("10.0.0.0/8", Exit.DENIED)])
def test_a_key_for_some_networks_works_if_this_machine_is_in_one(
    make_agent: MakeAgent, settings: Settings, cidr: str, code: int
) -> None:
    settings.RAMPART_API_KEY = make_agent("near", cidrs=[cidr]).key
    assert call("echo", value=1)[2] == code


@pytest.mark.feature("K1")
def test_the_environment_or_a_file_names_the_key(migrated: Deployment, tmp_path: Path) -> None:
    migrated.manage("sync_tools")
    made = migrated.manage("create_key", "--actor", "a", "--scope", "orders.*", "--json")
    key = json.loads(made.stdout)["key"]
    (tmp_path / "key").write_text(f"{key}\n")
    order = ("call", "lookup_order", "--args", '{"order_id": "A-1"}')
    for environment in ({"RAMPART_API_KEY": key}, {"RAMPART_API_KEY_FILE": str(tmp_path / "key")}):
        done = migrated.manage(*order, **environment)
        assert (done.returncode, json.loads(done.stdout)["order_id"]) == (0, "A-1"), done.stderr
        assert key not in done.stdout + done.stderr


# The arguments.


@pytest.mark.feature("K1")
def test_arguments_come_from_a_file_or_standard_input_too(
    caller: Agent, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    file = tmp_path / "args.json"
    file.write_bytes(b'\xef\xbb\xbf{"value": "from a file with a mark"}')
    assert "from a file" in run("call", "echo", "--args", f"@{file}")[0]
    type_in(monkeypatch, b'{"value": "typed"}')
    assert json.loads(run("call", "echo", "--args", "-")[0]) == "typed"
    assert json.loads(run("call", "echo", "--args", '\ufeff{"value": "marked"}')[0]) == "marked"
    assert json.loads(run("call", "echo")[0]) is None


@pytest.mark.feature("K1")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "not acceptable JSON"),
        ("{", "not acceptable JSON"),
        ("[1]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ('{"value": NaN}', "NaN is not JSON"),
        ('{"value": 1e999}', "too large"),
        ('{"value": 1, "value": 2}', "same key twice"),
        ('{"value": "\\ud800"}', "surrogate"),
        ('{"value": "\udcff"}', "not UTF-8"),
        ('{"value": ' + "[" * DEEPEST + "]" * DEEPEST + "}", "nested deeper"),
        ("@/no/such/file", "/no/such/file: No such file"),
        ("@/", "/: Is a directory"),
    ],
)
def test_arguments_are_read_as_strictly_as_a_body(caller: Agent, given: str, says: str) -> None:
    out, err, code = run("call", "echo", "--args", given)
    assert (out, code) == ("", Exit.USAGE)
    assert says in err
    assert not Invocation.objects.exists()


@pytest.mark.feature("K1")
def test_arguments_have_a_bodys_size_at_most(caller: Agent, tmp_path: Path) -> None:
    file = tmp_path / "args.json"
    file.write_text(json.dumps({"value": "x" * LARGEST_BODY}))
    _, err, code = run("call", "echo", "--args", f"@{file}")
    assert (code, str(LARGEST_BODY) in err) == (Exit.USAGE, True)


def test_key_and_arguments_cannot_both_be_typed(caller: Agent) -> None:
    _, err, code = run("call", "echo", "--args", "-", "--key", "-")
    assert (code, "standard input" in err) == (Exit.USAGE, True)


# Repeating and waiting.


@pytest.mark.feature("K1", "X6")
def test_the_same_call_under_an_idempotency_key_runs_once(caller: Agent, trace: Path) -> None:
    first = call("trace_read", "--idempotency-key", "k 1", path=str(trace))
    again = call("trace_read", "--idempotency-key", "k 1", path=str(trace))
    assert (first[0], again[0], effects(trace)) == ("1\n", "1\n", ["read"])
    assert "replayed" in again[1] and "replayed" not in first[1]
    other = call("trace_read", "--idempotency-key", "k 1", path="/dev/null")
    assert other[2] == Exit.DENIED and "IdempotencyConflict" in other[1]


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 256])
def test_an_idempotency_key_that_rest_would_refuse_is_wrong_usage(caller: Agent, key: str) -> None:
    assert call("echo", "--idempotency-key", key, value=1)[2] == Exit.USAGE


@pytest.mark.parametrize("wait", ["soon", "-1", "86401", "1.5"])
def test_seconds_to_wait_are_a_whole_number_up_to_a_day(migrated: Deployment, wait: str) -> None:
    done = migrated.manage("call", "lookup_order", f"--wait={wait}")
    assert (done.returncode, "argument --wait" in done.stderr) == (Exit.USAGE, True)


@pytest.mark.stack
@pytest.mark.feature("K1", "AP3")
def test_a_waiting_command_ends_with_the_result_once_a_person_has_approved(
    stack: Stack, tmp_path: Path
) -> None:
    stack.new_person("cli-waits", "decide_approval")
    trace = tmp_path / "trace"
    process = subprocess.Popen(
        [sys.executable, "manage.py", "call", "guarded_trace", "--args", "@/dev/stdin",
         "--wait", "60"],
        cwd=ROOT, env=stack.environment | {"RAMPART_API_KEY": stack.new_key("cli-waiter")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"path": str(trace)}))
    process.stdin.close()
    process.stdin = None
    (waiting,) = until(
        lambda: [
            row
            for row in json.loads(stack.manage("approvals", "list", "--json"))
            if row["actor"] == "cli-waiter"
        ]
    )
    assert not trace.exists()
    stack.manage("approvals", "approve", waiting["id"], "--user", "cli-waits")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "1\n"), err
    assert trace.read_text() == "ran\n"


# When something is down.


@pytest.mark.feature("K1", "E33", "E34")
@pytest.mark.parametrize(
    "command",
    [
        ("call", "lookup_order"),
        ("approvals", "list"),
        ("simulate", "lookup_order", "--actor", "a"),
        ("smoke",),
        ("list_keys",),
    ],
)
def test_a_database_that_does_not_answer_ends_a_command_in_one_line(
    migrated: Deployment, command: tuple[str, ...]
) -> None:
    key = "rmp_aaaaaaaaaa_" + "a" * 43
    done = migrated.manage(
        *command, DATABASE_URL="postgres://nobody@127.0.0.1:1/none", RAMPART_API_KEY=key
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "the database: " in done.stderr


@pytest.mark.feature("E33")
def test_a_database_without_tables_ends_a_command_in_one_line(bare: Deployment) -> None:
    done = bare.manage("approvals", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "no such table" in done.stderr
