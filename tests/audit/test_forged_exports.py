"""Files that look like exports, and pass off as proven what nobody has signed."""

import io
import json
from collections.abc import Iterator

import pytest

from audit import sealing
from audit.models import Checkpoint
from audit.verification import CouldNotVerify, lines, verify_export
from tests.audit.tampering import SEED, note_over, pruned, signing_with, told_and_sealed, verifier
from tests.audit.test_offline_verification import as_csv, as_line, judged, newest, whole, written

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2", "K5")]


@pytest.fixture(autouse=True)
def _key() -> Iterator[None]:
    with signing_with(SEED):
        yield


@pytest.fixture
def ledger() -> None:
    """Nine leaves under checkpoints over 5 and 9; the fifth leaf announces the key."""
    told_and_sealed(4)
    told_and_sealed(4)


def test_lines_behind_the_end_of_a_part_are_not_proven_by_that_end(ledger: None) -> None:
    """The part's checkpoint covers more leaves than there are lines, those behind it too."""
    part = written(range(5), 9, newest())
    assert judged(part).finding is None
    forged = [as_line(json.loads(line) | {"actor": "mallory"}) for line in whole()[5:7]]
    finding = judged([*part, *forged]).finding
    assert finding is not None and "the export has no end" in finding.fault


def test_a_change_between_two_ends_is_said_to_be_there(ledger: None) -> None:
    part = written(range(5), 9, newest())
    forged = [as_line(json.loads(line) | {"actor": "mallory"}) for line in whole()[5:7]]
    finding = judged([*part, *forged], note_over(7, SEED)).finding
    assert finding is not None and finding.fault.startswith("leaves 5 to 6 were changed")


def test_an_end_that_nobody_has_signed_covers_nothing(ledger: None) -> None:
    """A kept checkpoint proves the lines; the size that the end claims is nobody's word."""
    cut = written(range(5), 9, newest())
    last = json.loads(cut[-1])
    del last["proof"]["checkpoint"]
    kept = Checkpoint.objects.get(size=5).note
    assert judged([*cut[:-1], as_line(last)], kept).finding is not None


def test_a_hidden_line_does_not_pass_as_pruned(ledger: None) -> None:
    """Lines that an earlier export still shows were pruned since; others are hidden in turn."""
    shown = written(range(6), 9, None)
    pruned(0, 1)
    sealing.seal()
    honest = judged([*shown, *written(range(6, 10), 10, newest(), begun=6)])
    assert (honest.finding, honest.hidden, honest.pruned) == (None, 0, 0)
    forged = judged([*shown, *written([8, 9], 10, newest(), begun=6)])
    assert (forged.finding, forged.hidden, forged.pruned) == (None, 2, 0)


def test_pruned_leaves_are_told_wherever_their_gap_lies(ledger: None) -> None:
    pruned(0, 1, 6)
    pruned(3)
    pruned(7)
    sealing.seal()
    report = judged(written([2, 4, 5, 9, 10, 11], 12, newest()))
    assert (report.finding, report.hidden, report.pruned) == (None, 6, 5), "leaf 8 is hidden"


def test_a_record_of_a_table_has_an_end(ledger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell with line breaks would let a record grow for as long as the file goes on."""
    raw = as_csv(whole())
    monkeypatch.setattr(lines, "LONGEST_LINE", 5000)
    assert verify_export(io.BytesIO(raw)).finding is None
    header = raw.split(b"\r\n")[0]
    endless = header + b"\r\n" + b'"\n",' * 2000
    with pytest.raises(CouldNotVerify, match="a record is longer"):
        verify_export(io.BytesIO(endless), keys=[verifier()])
