"""`export_audit`: whole files or none, cut files gone on with, and a stream that ends cleanly."""

import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from audit import checkpoints, export, sealing
from audit.events import EventName
from audit.export import FORMATS, JSONL, Extent, Format, Selection
from audit.models import Event
from rampart.management.base import Exit
from tests.audit.conftest import run_sql, the_ledger_open
from tests.audit.ledgers import make_events
from tests.processes import ROOT, Deployment, heed_interrupts
from tests.rampart.test_commands import run
from tests.stack import Stack, until

db = pytest.mark.django_db
EVERYTHING = Selection()
NO_EXPORTS = ("Dear diary", "Dear diary,\n", "{}\n", '{"actor":"x","id":3}\n', "a,b\r\n")
FILL = (
    "from tests.audit.ledgers import make_events\n"
    "from audit.sealing import seal\n"
    "make_events({count}, lambda number: {{'result': 'x' * 4000}})\n"
    "seal()\n"
)


def export_to(file: Path, *options: str, form: str = "jsonl") -> tuple[str, str, int]:
    return run("export_audit", "--format", form, "--output", str(file), *options)


def as_if_never_interrupted(form: Format, selection: Selection = EVERYTHING) -> str:
    """The export up to the newest checkpoint, written in one go."""
    newest = checkpoints.latest()
    assert newest
    lines = export.lines(form, selection, Extent(newest.size, newest.note))
    return form.header + "".join(lines)


def content(file: Path) -> str:
    """What is in it, line ends as they are."""
    return file.read_bytes().decode()


# Printing.


@db
@pytest.mark.feature("U5")
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_everything_is_printed_and_the_line_about_it_too(form: Format) -> None:
    make_events(5)
    out, err, code = run("export_audit", "--format", form.name)
    assert (code, err) == (0, "") and out == as_if_never_interrupted(form)
    event = Event.objects.get(event=EventName.LEDGER_EXPORTED)
    assert event.actor.startswith("command:") and event.source == "command"
    assert str(event.pk) in out


@db
def test_without_a_key_standard_error_says_that_nothing_is_signed(settings: Settings) -> None:
    settings.RAMPART_CHECKPOINT_KEY = []
    out, err, code = run("export_audit", "--format", "jsonl")
    assert code == 0 and "RAMPART_CHECKPOINT_KEY is not set" in err
    assert "proof" not in json.loads(out)


@db
@pytest.mark.feature("U5")
@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--since", "2026-01-01T00:00:03Z", "--until", "2026-01-01T01:00:05+01:00"], [3, 4]),
        (["--since", "2026-01-01T00:00:07.000001Z", "--until", "2026-01-02"], [8, 9]),
        (["--until", "2026-01-01T00:00:01Z"], [0]),
        (["--after", "7", "--until", "2026-01-02"], [8, 9]),
    ],
)
def test_a_part_is_chosen_by_time_or_by_leaf(options: list[str], numbers: list[int]) -> None:
    make_events(10)
    out, _, code = run("export_audit", "--format", "jsonl", *options)
    lines = map(json.loads, out.splitlines())
    assert code == 0 and [line["metadata"]["number"] for line in lines] == numbers


@db
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--since", "yesterday"], "--since takes"),
        (["--since", "2026-01-01T00:00:00"], "--since takes"),
        (["--until", "2026-13-01"], "--until takes"),
        (["--until", "0001-01-01T00:00:00+23:00"], "--until takes"),
        (["--after", "-1"], "--after takes"),
        (["--after", "٣"], "--after takes"),
        (["--after", "9" * 40], "no ledger has"),
        (["--resume"], "give --output"),
        (["--resume", "--output", "f", "--after", "3"], "leave --after out"),
        (["--follow", "--until", "2026-01-01"], "no --until"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_and_is_not_recorded(
    options: list[str], says: str
) -> None:
    out, err, code = run("export_audit", "--format", "jsonl", *options)
    assert (out, code) == ("", Exit.USAGE) and says in err
    assert not Event.objects.exists()


@db
def test_a_table_cannot_be_followed() -> None:
    assert run("export_audit", "--format", "csv", "--follow")[2] == Exit.USAGE


# Whole files.


@db
@pytest.mark.feature("U5")
def test_a_file_is_for_its_owner_alone_and_replaces_the_one_before(tmp_path: Path) -> None:
    make_events(3)
    file = tmp_path / "ledger.jsonl"
    file.write_text("of yesterday")
    file.chmod(0o644)
    assert export_to(file) == ("", "", 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert content(file) == as_if_never_interrupted(JSONL)
    assert os.listdir(tmp_path) == ["ledger.jsonl"]


@db
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert export_to(tmp_path / "link")[2] == 0
    assert (tmp_path / "link").is_symlink() and "ledger:exported" in content(tmp_path / "real")


@db
@pytest.mark.feature("U5")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    make_events(50)
    file = tmp_path / "ledger.jsonl"
    file.write_text("of yesterday")
    with at_most_bytes(8192):
        out, err, code = export_to(file)
    assert (out, code) == ("", Exit.COULD_NOT_RUN) and "File too large" in err
    assert content(file) == "of yesterday" and os.listdir(tmp_path) == ["ledger.jsonl"]


@db
def test_a_device_is_written_to_and_not_replaced() -> None:
    make_events(3)
    out, err, code = export_to(Path("/dev/full"))
    assert (out, code) == ("", Exit.COULD_NOT_RUN) and "/dev/full: No space left" in err
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@db
@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_what_cannot_be_opened_is_an_error_and_is_not_recorded(
    tmp_path: Path, options: list[str]
) -> None:
    out, err, code = export_to(tmp_path / "nowhere" / "file", *options)
    assert (out, code) == ("", Exit.COULD_NOT_RUN) and "No such file or directory" in err
    assert not Event.objects.exists()


@db
def test_a_damaged_tree_is_told_and_no_file_is_made(tmp_path: Path) -> None:
    make_events(300)
    sealing.seal()
    with the_ledger_open():
        run_sql('DELETE FROM audit_leaf WHERE "index" = 5')
    _, err, code = export_to(tmp_path / "ledger")
    assert code == Exit.COULD_NOT_RUN and "the ledger's tree is damaged" in err
    assert os.listdir(tmp_path) == []


@contextmanager
def at_most_bytes(count: int) -> Iterator[None]:
    """No file of this process may grow beyond, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """One with events enough that an export of them takes a moment."""
    made = Deployment(tmp_path_factory.mktemp("deployment"))
    for arguments in (["migrate", "-v0"], ["shell", "-v0", "-c", FILL.format(count=3000)]):
        done = made.manage(*arguments)
        assert done.returncode == 0, done.stderr
    return made


def started(where: Deployment | Stack, *options: str, **streams: Any) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    command = [sys.executable, "manage.py", "export_audit", "--format", "jsonl", *options]
    return subprocess.Popen(
        command, cwd=ROOT, env=where.environment, preexec_fn=heed_interrupts, **streams
    )


@pytest.mark.feature("U5", "Q8")
def test_sigkill_in_the_middle_leaves_no_half_file(deployment: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text("of yesterday")
    process = started(deployment, "--output", str(file))
    until(lambda: any(part.stat().st_size for part in tmp_path.glob(".ledger.jsonl.*.part")))
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    assert content(file) == "of yesterday"


@pytest.mark.feature("U5", "Q8")
def test_an_export_that_was_killed_is_gone_on_with(deployment: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    process = started(deployment, "--output", str(file), "--resume")
    until(lambda: file.exists() and file.stat().st_size > 100_000)
    process.kill()
    process.wait(20)
    cut = file.read_bytes()
    assert started(deployment, "--output", str(file), "--resume").wait(60) == 0
    whole = file.read_bytes()
    whole_lines = cut[: cut.rindex(b"\n") + 1]
    assert b"checkpoint" not in cut and whole.startswith(whole_lines)
    indexes = [json.loads(line)["leaf_index"] for line in whole.splitlines()]
    assert indexes == list(range(len(indexes))) and len(indexes) > 3000
    assert json.loads(whole.splitlines()[-1])["proof"]["size"] == len(indexes)


def test_a_full_standard_output_is_one_line_and_exit_1(deployment: Deployment) -> None:
    with open("/dev/full", "wb") as full:
        process = started(deployment, stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.COULD_NOT_RUN
    assert err.decode().splitlines()[-1] == "CommandError: standard output: No space left on device"
    assert b"Traceback" not in err and b"Exception ignored" not in err


def test_lines_are_utf_8_whatever_the_locale_says(deployment: Deployment) -> None:
    code = "from audit import ledger; ledger.record('admin:edited', actor='Zoë ☃')"
    assert deployment.manage("shell", "-v0", "-c", code).returncode == 0
    since = ("--since", "2026-11-01")
    process = started(
        Deployment(deployment.folder, PYTHONIOENCODING="latin-1"), *since, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Zoë ☃".encode() in out


# Going on.


@db
@pytest.mark.feature("U5")
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("kept", [0, 1, 7, 0.1, 0.5, 0.9, -1, -2, None])
def test_a_file_that_was_cut_anywhere_becomes_what_it_would_have_been(
    tmp_path: Path, form: Format, kept: float | None
) -> None:
    make_events(40, lambda number: {"error": 'one\r\n"two", three\n'})
    file = tmp_path / "ledger"
    export_to(file, form=form.name)
    whole = file.read_bytes()
    end = int(kept * len(whole)) if isinstance(kept, float) else kept
    file.write_bytes(whole[:end])
    make_events(3)
    assert export_to(file, "--resume", form=form.name) == ("", "", 0)
    assert content(file) == as_if_never_interrupted(form)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@db
@pytest.mark.feature("U5")
def test_a_part_that_was_cut_is_gone_on_with_as_that_part(tmp_path: Path) -> None:
    make_events(40)
    file, part = tmp_path / "ledger", ("--since", "2026-01-01T00:00:05Z")
    export_to(file, *part)
    file.write_bytes(file.read_bytes()[:3000])
    export_to(file, "--resume", *part)
    selection = Selection(since=Event.objects.order_by("ended_at")[5].ended_at)
    assert content(file) == as_if_never_interrupted(JSONL, selection)


@db
def test_a_torn_line_is_cut_off_though_nothing_comes_in_its_place(tmp_path: Path) -> None:
    make_events(10)
    file, part = tmp_path / "ledger", ("--until", "2026-01-01T00:00:05Z")
    export_to(file, *part)
    with file.open("a") as torn:
        torn.write('{"actor":"' + "x" * 5000)
    export_to(file, "--resume", *part)
    selection = Selection(until=Event.objects.order_by("ended_at")[5].ended_at)
    assert content(file) == as_if_never_interrupted(JSONL, selection)


@db
@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("held", NO_EXPORTS)
def test_a_file_that_is_no_export_is_left_alone(tmp_path: Path, form: Format, held: str) -> None:
    file = tmp_path / "diary"
    file.write_text(held, newline="")
    _, err, code = export_to(file, "--resume", form=form.name)
    assert code == Exit.COULD_NOT_RUN and "is no export" in err
    assert content(file) == held and not Event.objects.exists()


@db
@pytest.mark.parametrize("member", ["id", "leaf_index"])
def test_another_ledgers_file_is_left_alone_torn_as_it_is(tmp_path: Path, member: str) -> None:
    make_events(3)
    file = tmp_path / "ledger"
    export_to(file)
    wrong: dict[str, Any] = {"id": str(Event.objects.newest_first()[0].pk), "leaf_index": 10**6}
    line = json.loads(content(file).splitlines()[1]) | {member: wrong[member]}
    held = json.dumps(line, separators=(",", ":")) + '\n{"actor":"to'
    file.write_text(held)
    _, err, code = export_to(file, "--resume")
    assert code == Exit.COULD_NOT_RUN and "is no export of this ledger" in err
    assert content(file) == held


@db
def test_two_cannot_write_to_one_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    with file.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        _, err, code = export_to(file, "--resume")
    assert code == Exit.COULD_NOT_RUN and "Another process" in err
    assert content(file) == "" and not Event.objects.exists()


# Following.


class Reader:
    """A stream, and what has come of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.got = process, b""
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)

    def has(self, *texts: str) -> bool:
        assert self.process.stdout
        self.got += self.process.stdout.read() or b""
        return all(text.encode() in self.got for text in texts)

    def complaints(self) -> str:
        """What it says beyond what the system's checks have to say."""
        assert self.process.stderr
        return self.process.stderr.read().decode().partition("Traceback")[1]

    def lines(self) -> list[dict[str, Any]]:
        assert self.got.endswith(b"\n")
        return [json.loads(line) for line in self.got.splitlines()]


@pytest.fixture
def following(stack: Stack) -> Iterator[Reader]:
    """The ledger of a running deployment, followed."""
    process = started(stack, "--follow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    yield Reader(process)
    process.kill()
    process.communicate()


def happens(stack: Stack, actor: str) -> None:
    """Something is told and sealed."""
    stack.new_key(actor)
    stack.python("from audit.sealing import seal; seal()")


@pytest.mark.stack
@pytest.mark.feature("U5")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_tells_what_happens_until_a_signal_ends_it(
    stack: Stack, following: Reader, how: signal.Signals
) -> None:
    for actor in ("first-to-come", "second-to-come"):
        happens(stack, f"{actor}-{how}")
        until(lambda actor=actor: following.has(f"{actor}-{how}"), 30)
    following.process.send_signal(how)
    until(lambda: following.process.poll() is not None)
    following.has("")
    assert following.process.returncode == 0
    indexes = [line["leaf_index"] for line in following.lines()]
    assert indexes == list(range(len(indexes)))
    assert following.complaints() == ""


@pytest.mark.stack
@pytest.mark.feature("U5")
def test_a_stream_ends_when_its_reader_goes_though_nothing_happens(following: Reader) -> None:
    until(lambda: following.has("ledger:key-announced"), 30)
    following.process.stdout.close()  # type: ignore[union-attr]
    until(lambda: following.process.poll() is not None, 20)
    assert following.process.returncode == Exit.COULD_NOT_RUN
    assert following.complaints() == ""


@pytest.mark.stack
@pytest.mark.feature("U5")
def test_a_followed_file_is_its_own_cursor(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "stream.jsonl"
    for number, torn in enumerate(["", '{"actor":"to']):
        with file.open("a") as left:
            left.write(torn)
        process = started(stack, "--follow", "--resume", "--output", str(file))
        happens(stack, f"turn-{number}")
        until(lambda number=number: f"turn-{number}" in content(file), 30)
        process.terminate()
        assert process.wait(20) == 0
    indexes = [json.loads(line)["leaf_index"] for line in content(file).splitlines()]
    assert indexes == list(range(len(indexes)))


@db
def test_a_file_that_is_there_is_only_followed_on_if_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("dear")
    _, err, code = export_to(tmp_path / "ledger", "--follow")
    assert code == Exit.USAGE and "--resume" in err and content(tmp_path / "ledger") == "dear"
