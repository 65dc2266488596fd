"""`verify_audit`: findings are no failure, and a file needs no database."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from pytest import MonkeyPatch

from audit.models import Event
from audit.verification import database
from rampart.management.base import Exit
from tests.audit.tampering import (
    OTHER_SEED,
    SEED,
    change,
    cut_off,
    event_at,
    note_over,
    signing_with,
    told,
    told_and_sealed,
    verifier,
)
from tests.audit.test_offline_verification import newest, whole
from tests.processes import Deployment
from tests.rampart.test_commands import data, run


@pytest.fixture
def ledger(db: None) -> Iterator[None]:
    """Nine leaves under checkpoints over 5 and 9."""
    with signing_with(SEED):
        told_and_sealed(4)
        told_and_sealed(4)
        yield


@pytest.fixture
def file(ledger: None, tmp_path: Path) -> Path:
    """A whole export."""
    return kept(tmp_path / "export.jsonl", *whole())


def kept(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def note_in(tmp_path: Path, note: str) -> str:
    path = tmp_path / "checkpoint"
    path.write_text(note)
    return str(path)


# The ledger.


@pytest.mark.feature("U2", "E33", "E34", "K5")
def test_what_is_in_order_is_said_first_and_by_what_it_was_proven(ledger: None) -> None:
    told()
    out, err, code = run("verify_audit")
    assert out.splitlines() == [
        "OK: 10 events",
        "9 leaves, 0 of them pruned; 1 event not sealed yet",
        "checkpoint over 9 leaves",
        f"signed by {verifier()}",
    ]
    assert (err, code) == ("", Exit.DONE)


@pytest.mark.feature("U2", "E33", "E34", "K5")
def test_the_document_has_what_was_seen_and_found(ledger: None) -> None:
    document = data("verify_audit")
    assert document == {
        "events": 9, "ok": True, "event_id": None, "fault": None, "leaf": None, "size": 9,
        "pruned": 0, "hidden": 0, "unsealed": 0, "checkpoint": newest(),
        "signed_by": [str(verifier())], "is_own": False,
    }  # fmt: skip
    change(Event, event_at(2), actor="ben")
    document = data("verify_audit")
    assert (document["ok"], document["event_id"], document["leaf"]) == (False, str(event_at(2)), 2)
    assert document["fault"] == "its columns do not match its digest"


@pytest.mark.feature("U2", "E33", "E34", "K5")
def test_with_a_finding_the_report_comes_first_and_the_exit_code_is_6(ledger: None) -> None:
    change(Event, event_at(2), actor="ben")
    out, _, code = run("verify_audit")
    first, *_, last = out.splitlines()
    assert (first, code) == ("3 events", Exit.FINDINGS)
    assert last == f"ALTERED: event {event_at(2)}: its columns do not match its digest"


@pytest.mark.feature("E33")
@pytest.mark.django_db
def test_a_ledger_without_checkpoints_is_said_to_be_unsigned() -> None:
    with signing_with():
        out, _, code = run("verify_audit")
    assert code == Exit.DONE and "unsigned" in out


@pytest.mark.feature("E33", "E34")
@pytest.mark.django_db
def test_a_database_that_goes_away_is_no_finding(monkeypatch: MonkeyPatch) -> None:
    """The read is made to fail: a database that dies here would take the test along."""

    def fail() -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(database, "_tree", fail)
    assert run("verify_audit")[1:] == ("could not read the ledger: gone", Exit.COULD_NOT_RUN)


@pytest.mark.feature("U2", "E33", "K5")
def test_a_kept_checkpoint_is_compared_with(ledger: None, tmp_path: Path) -> None:
    note = note_in(tmp_path, newest())
    assert run("verify_audit", "--checkpoint", note)[2] == Exit.DONE
    cut_off(3)
    out, _, code = run("verify_audit", "--checkpoint", note)
    assert code == Exit.FINDINGS and "cut off, or an older backup" in out


@pytest.mark.feature("E33")
def test_a_kept_checkpoint_may_come_by_standard_input(
    ledger: None, monkeypatch: MonkeyPatch
) -> None:
    for note, code in ((newest(), Exit.DONE), (note_over(9, OTHER_SEED), Exit.FINDINGS)):
        given = SimpleNamespace(buffer=io.BytesIO(note.encode()))
        monkeypatch.setattr(sys, "stdin", given)
        assert run("verify_audit", "--checkpoint", "-")[2] == code


@pytest.mark.feature("E33")
def test_a_given_key_is_trusted_in_place_of_the_deployments(ledger: None) -> None:
    assert run("verify_audit", "--key", str(verifier()))[2] == Exit.DONE
    out, _, code = run("verify_audit", "--key", str(verifier(OTHER_SEED)))
    assert code == Exit.FINDINGS and "signed by a key that is trusted" in out


@pytest.mark.feature("E33")
@pytest.mark.parametrize("option", ["--checkpoint", "--export"])
@pytest.mark.parametrize("raw", [None, b"", b"\xff\xfe", b"nonsense\n"])
@pytest.mark.django_db
def test_a_file_that_cannot_be_read_is_no_finding(
    tmp_path: Path, option: str, raw: bytes | None
) -> None:
    path = tmp_path / "file"
    if raw is not None:
        path.write_bytes(raw)
    out, err, code = run("verify_audit", option, str(path))
    assert (out, code) == ("", Exit.COULD_NOT_RUN) and err


@pytest.mark.feature("E33")
@pytest.mark.django_db
def test_a_key_that_is_none_and_standard_input_twice_are_misuse() -> None:
    assert run("verify_audit", "--checkpoint", "-", "--export", "-")[2] == Exit.USAGE
    assert "Ed25519" in run("verify_audit", "--key", "nonsense")[1]


# An export.


@pytest.mark.feature("U2", "T30", "E33", "E34", "K5")
def test_an_export_is_judged_and_its_key_shown_in_full(file: Path) -> None:
    out, _, code = run("verify_audit", "--export", str(file))
    assert out.splitlines() == [
        "OK: 9 events",
        "of 9 leaves; 0 are not shown, 0 of them pruned",
        "checkpoint over 9 leaves",
        f"signed by {verifier()}",
    ]
    with signing_with():
        assert "the export's own" in run("verify_audit", "--export", str(file))[0]
    file.write_text(file.read_text().replace('"ann"', '"anm"', 1))
    out, _, code = run("verify_audit", "--export", str(file), "--json")
    assert code == Exit.FINDINGS and json.loads(out)["leaf"] == 0


@pytest.mark.feature("U2", "E33", "K5")
def test_the_exporters_own_files_are_in_order(ledger: None, tmp_path: Path) -> None:
    told()
    for form in ("jsonl", "csv"):
        path = tmp_path / f"export.{form}"
        assert run("export_audit", "--format", form, "--output", str(path))[2] == Exit.DONE
        out, err, code = run("verify_audit", "--export", str(path))
        assert code == Exit.DONE, out + err
        change_one = path.read_bytes().replace(b"ann", b"anm", 1)
        path.write_bytes(change_one)
        assert run("verify_audit", "--export", str(path))[2] == Exit.FINDINGS


@pytest.mark.feature("U2", "T30", "E33")
@pytest.mark.parametrize("store", ["nowhere", "files"])
def test_an_export_is_judged_without_any_database(file: Path, tmp_path: Path, store: str) -> None:
    """On an auditor's machine, where there is none: no connection is opened, no file is made."""
    folder = tmp_path / "auditor"
    nowhere = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
    auditor = Deployment(folder, **(nowhere if store == "nowhere" else {}))
    key = str(verifier())
    done = auditor.manage("verify_audit", "--export", str(file), "--key", key)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("OK: 9 events\n") and f"signed by {key}" in done.stdout
    file.write_text(file.read_text().replace('"ann"', '"anm"', 1))
    done = auditor.manage("verify_audit", "--export", str(file), "--key", key)
    assert done.returncode == 6 and "ALTERED" in done.stdout
    assert not (folder / "rampart.sqlite3").exists()
