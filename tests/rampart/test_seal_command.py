"""`seal_audit` and `prove_audit`, as an operator runs them."""

import base64
import json

import pytest
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings

from audit import checkpoints, notes
from audit.checkpoints import Statement
from audit.merkle import check_consistency, check_inclusion
from audit.models import Leaf, new_id
from rampart.management.base import Exit
from rampart.management.commands import seal_audit
from tests.audit.whole_tree import assert_all_is_sealed_once, tell
from tests.rampart.test_commands import data, run

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2")]


def stated(note: str) -> Statement:
    return Statement.from_text(notes.read(note, checkpoints.announced()).text)


def test_seal_audit_prints_the_checkpoint_and_says_how_much_it_sealed() -> None:
    tell(4)
    out, err, code = run("seal_audit")
    assert (err, code) == ("5 events sealed, 5 in all\n", 0)
    assert stated(out).size == assert_all_is_sealed_once() == 5
    assert run("seal_audit") == (out, "0 events sealed, 5 in all\n", 0)


def test_seal_audit_prints_one_document() -> None:
    tell(4)
    document = data("seal_audit")
    assert (document["sealed"], document["size"]) == (5, 5)
    assert stated(document["checkpoint"]).size == 5


def test_seal_audit_without_a_key_says_that_nothing_is_signed(settings: Settings) -> None:
    tell()
    run("seal_audit")
    settings.RAMPART_CHECKPOINT_KEY = []
    tell()
    out, err, code = run("seal_audit")
    assert (out, code) == ("", 0)
    assert err.splitlines() == [
        "1 events sealed, 3 in all", "nothing is signed: RAMPART_CHECKPOINT_KEY is not set",
    ]  # fmt: skip
    assert data("seal_audit")["checkpoint"] is None


def test_seal_audit_without_a_database_could_not_run(monkeypatch: MonkeyPatch) -> None:
    def gone() -> None:
        raise OperationalError("could not connect")

    monkeypatch.setattr(seal_audit, "seal", gone)
    assert run("seal_audit") == ("", "the database: could not connect", Exit.COULD_NOT_RUN)


def test_prove_audit_prints_a_proof_as_other_tools_read_it() -> None:
    """C2SP tlog-proof: read here by the letter of its specification."""
    told = tell(6)
    run("seal_audit")
    out, _, code = run("prove_audit", "--event", str(told[3].pk))
    head, _, note = out.partition("\n\n")
    version, index, *path = head.split("\n")
    assert (version, index, code) == ("c2sp.org/tlog-proof@v1", "index 3", 0)
    signed = stated(note)
    leaf = bytes(Leaf.objects.get(index=3).hash)
    check_inclusion(leaf, 3, signed.size, [base64.b64decode(one) for one in path], signed.root)


def test_prove_audit_prints_the_same_as_the_api() -> None:
    (event,) = tell()
    run("seal_audit")
    document = data("prove_audit", "--event", str(event.pk))
    assert (document["event_id"], document["leaf_index"]) == (str(event.pk), 0)
    assert document["digest"] == event.digest


def test_prove_audit_proves_that_a_tree_was_only_added_to() -> None:
    tell(3)
    older = stated(run("seal_audit")[0])
    tell(5)
    newer = stated(run("seal_audit")[0])
    document = data("prove_audit", "--from", str(older.size))
    path = [base64.b64decode(one) for one in document["path"]]
    check_consistency(older.size, newer.size, older.root, newer.root, path)
    assert data("prove_audit", "--from", "2", "--to", "3")["to"] == 3
    out, _, _ = run("prove_audit", "--from", str(older.size))
    assert out == "\n".join([*document["path"], "", document["checkpoint"]])


def test_prove_audit_says_what_is_wrong() -> None:
    (event,) = tell()
    assert run("prove_audit", "--event", str(event.pk))[2] == Exit.COULD_NOT_RUN
    run("seal_audit")
    (later,) = tell()
    assert run("prove_audit", "--event", str(later.pk))[2] == Exit.PENDING
    assert run("prove_audit", "--event", str(new_id()))[2] == Exit.NOT_FOUND
    assert run("prove_audit", "--event", "nonsense")[2] == Exit.NOT_FOUND
    assert run("prove_audit", "--from", "99")[2] == Exit.USAGE
    assert run("prove_audit", "--from", "0")[2] == Exit.USAGE
    assert run("prove_audit", "--event", str(event.pk), "--to", "2")[2] == Exit.USAGE


def test_the_proof_of_an_event_is_json_that_reads_back() -> None:
    (event,) = tell()
    run("seal_audit")
    out, _, _ = run("prove_audit", "--event", str(event.pk), "--json")
    assert json.loads(out)["tree_size"] == 2
