"""An export and a checkpoint are enough: no database is asked."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import sealing
from audit.canonical import value_of
from audit.models import Checkpoint, Event, Leaf
from audit.notes import Verifier
from audit.proofs import covering_hashes, encoded
from audit.records import stored
from audit.verification import CouldNotVerify, Finding, Report, verify_export
from audit.verification.lines import OF_AN_EVENT, read
from tests.audit.tampering import (
    OTHER_SEED,
    SEED,
    note_over,
    pruned,
    signing_with,
    told,
    told_and_sealed,
    verifier,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _key() -> Iterator[None]:
    with signing_with(SEED):
        yield


@pytest.fixture
def ledger() -> None:
    """Nine leaves under checkpoints over 5 and 9; the fifth leaf announces the key."""
    told_and_sealed(4)
    told_and_sealed(4)


def members(leaf: int) -> dict[str, Any]:
    """A line without its proof."""
    (event,) = stored(Event.objects.filter(pk=Leaf.objects.get(index=leaf).event_id))
    return value_of(event.text()) | {"leaf_index": leaf}


def hashes(first: int, end: int) -> list[str]:
    return [encoded(one) for one in covering_hashes(first, end)]


def written(shown: Sequence[int], size: int, note: str | None, begun: int = 0) -> list[str]:
    """The lines of an export that shows these leaves of a tree of this size."""
    lines = []
    for number, leaf in enumerate(shown):
        line, proof = members(leaf), {}
        if begun < leaf:
            proof |= {"from": begun, "roots": hashes(begun, leaf)}
        if number == len(shown) - 1 and note is not None:
            proof |= {"size": size, "rest": hashes(leaf + 1, size), "checkpoint": note}
        begun = leaf + 1
        lines.append(as_line(line | ({"proof": proof} if proof else {})))
    return lines


def as_line(line: dict[str, Any]) -> str:
    """Not the very text that the ledger writes: only the values count."""
    return json.dumps(line, ensure_ascii=False)


def judged(lines: Sequence[str], *notes: str, keys: Sequence[Verifier] = ()) -> Report:
    text = "".join(f"{line}\n" for line in lines)
    return verify_export(io.BytesIO(text.encode()), checkpoints=notes, keys=keys)


def whole() -> list[str]:
    """Nine lines."""
    return written(range(9), 9, newest())


def newest() -> str:
    return Checkpoint.objects.order_by("size").last().note


# All is well.


@pytest.mark.feature("U2", "T30", "K5")
def test_a_whole_export_is_in_order(ledger: None) -> None:
    report = judged(whole())
    assert report.finding is None
    assert (report.events, report.size, report.hidden, report.pruned) == (9, 9, 0, 0)
    assert report.checkpoint == newest()
    assert report.signed_by == (verifier(),)


@pytest.mark.feature("U2", "K5")
def test_whether_the_key_is_the_exports_own_is_told(ledger: None) -> None:
    assert not judged(whole()).is_own, "this deployment has the key itself"
    with signing_with():
        assert judged(whole()).is_own
        assert not judged(whole(), keys=[verifier()]).is_own
        assert not judged(whole(), newest()).is_own


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize("shown", [[0], [8], [4, 5], [0, 3, 7], range(1, 9), range(8)], ids=str)
def test_part_of_the_ledger_can_be_proven(ledger: None, shown: Sequence[int]) -> None:
    report = judged(written(shown, 9, newest()), keys=[verifier()])
    assert (report.finding, report.events, report.hidden) == (None, len(shown), 9 - len(shown))


@pytest.mark.feature("U2", "U3", "K5")
def test_what_was_pruned_is_told_apart_from_what_is_hidden(ledger: None) -> None:
    pruned(0, 1, 6)
    sealing.seal()
    report = judged(written([4, 5, 7, 8, 9], 10, newest()))
    assert (report.finding, report.hidden, report.pruned) == (None, 5, 3)


def test_an_export_that_goes_on_with_an_earlier_one_is_one_export(ledger: None) -> None:
    earlier = written(range(5), 5, Checkpoint.objects.get(size=5).note)
    for begun in (0, 5):
        later = written(range(5, 9), 9, newest(), begun=begun)
        assert judged([*earlier, *later]).finding is None
    interrupted = earlier[:3]
    assert judged([*interrupted, *written(range(3, 9), 9, newest(), begun=3)]).finding is None


def test_an_export_that_goes_on_with_another_ledgers_is_a_finding(ledger: None) -> None:
    later = written(range(5, 9), 9, newest(), begun=0)
    line = json.loads(later[0])
    line["proof"]["roots"][0] = encoded(bytes(32))
    earlier = written(range(5), 5, Checkpoint.objects.get(size=5).note)
    assert judged([*earlier, as_line(line), *later[1:]]).finding is not None


def test_two_exports_that_do_not_touch_are_judged_one_by_one(ledger: None) -> None:
    with pytest.raises(CouldNotVerify, match="each by itself"):
        judged([*written([0], 5, Checkpoint.objects.get(size=5).note), *written([8], 9, newest())])


def test_another_tools_way_to_write_the_same_values_is_as_good(ledger: None) -> None:
    lines = [
        json.dumps(json.loads(line), indent=None, separators=(" , ", " : ")) for line in whole()
    ]
    assert judged(lines).finding is None
    shuffled = [json.dumps(dict(reversed(json.loads(line).items()))) for line in whole()]
    assert judged(["", *shuffled, ""][1:]).finding is None


# What is found.


def one_byte_changed(lines: list[str]) -> None:
    lines[2] = lines[2].replace('"ann"', '"anm"')


def a_line_taken_out(lines: list[str]) -> None:
    del lines[2]


def a_line_put_in(lines: list[str]) -> None:
    lines.insert(2, lines[2])


def two_lines_swapped(lines: list[str]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def a_number_given_to_another_line(lines: list[str]) -> None:
    two_lines_swapped(lines)
    for leaf in (2, 3):
        lines[leaf] = as_line(json.loads(lines[leaf]) | {"leaf_index": leaf})


def the_tail_cut_off(lines: list[str]) -> None:
    del lines[7:]


def a_line_cut_off(lines: list[str]) -> None:
    lines[8] = lines[8][:100]


def a_line_added_at_the_end(lines: list[str]) -> None:
    lines.append(as_line(json.loads(lines[0]) | {"leaf_index": 9}))


def a_member_twice(lines: list[str]) -> None:
    lines[2] = lines[2].replace("{", '{"actor": "mallory", ', 1)


def a_member_added(lines: list[str]) -> None:
    lines[2] = lines[2].replace("{", '{"note": "mallory", ', 1)


def a_member_taken_out(lines: list[str]) -> None:
    line = json.loads(lines[2])
    del line["error"]
    lines[2] = as_line(line)


def a_proof_of_nothing(lines: list[str]) -> None:
    lines[2] = as_line(json.loads(lines[2]) | {"proof": {"from": 0, "roots": []}})


def its_digest_beside_it(lines: list[str]) -> None:
    lines[2] = as_line(json.loads(lines[2]) | {"digest": "0" * 64})


WHERE: dict[Callable[[list[str]], None], int | None] = {
    one_byte_changed: 0, a_line_taken_out: 2, a_line_put_in: 2, two_lines_swapped: 2,
    a_number_given_to_another_line: 0, the_tail_cut_off: 7, a_line_cut_off: None,
    a_line_added_at_the_end: 10, a_member_twice: None, a_member_added: None,
    a_member_taken_out: None, a_proof_of_nothing: None, its_digest_beside_it: None,
}  # fmt: skip


@pytest.mark.feature("U2", "T30", "K5")
@pytest.mark.parametrize("happens", WHERE, ids=lambda fault: fault.__name__)
def test_whatever_is_done_to_an_export_is_found(
    ledger: None, happens: Callable[[list[str]], None]
) -> None:
    lines = whole()
    happens(lines)
    finding = judged(lines).finding
    assert finding is not None and finding.leaf == WHERE[happens]


@pytest.mark.feature("U2", "K5")
def test_a_line_that_has_its_digest_is_named_itself(ledger: None) -> None:
    line = json.loads(whole()[2]) | {"digest": Event.objects.get(pk=members(2)["id"]).digest}
    lines = whole()
    lines[2] = as_line(line)
    assert judged(lines).finding is None
    lines[2] = lines[2].replace('"ann"', '"anm"')
    finding = judged(lines).finding
    assert finding is not None and finding.event_id == line["id"]


@pytest.mark.feature("U2", "K5")
def test_a_checkpoint_between_narrows_down_where_it_was(ledger: None) -> None:
    lines = whole()
    lines[6] = lines[6].replace('"ann"', '"anm"')
    finding = judged(lines, Checkpoint.objects.get(size=5).note).finding
    assert finding == Finding(members(5)["id"], finding.fault if finding else "", 5)


# Checkpoints and keys.


@pytest.mark.feature("U2", "K5")
def test_a_kept_checkpoint_stands_for_an_end(ledger: None) -> None:
    lines = written(range(5), 5, None)
    assert judged(lines).finding is not None
    assert judged(lines, Checkpoint.objects.get(size=5).note).finding is None


@pytest.mark.feature("U2", "K5")
def test_a_kept_checkpoint_over_more_knows_that_the_tail_is_gone(ledger: None) -> None:
    lines = written(range(5), 5, Checkpoint.objects.get(size=5).note)
    assert judged(lines).finding is None
    finding = judged(lines, newest()).finding
    assert finding is not None and "cut off, or an older backup" in finding.fault


@pytest.mark.feature("U2", "K5")
@pytest.mark.parametrize(
    "forged",
    [lambda: note_over(9, OTHER_SEED), lambda: note_over(9, SEED, root=bytes(32)),
     lambda: note_over(8, SEED), lambda: note_over(9, SEED, origin="rampart/other"),
     lambda: "nonsense"],
    ids=["a stranger's", "another tree's", "another size's", "another ledger's", "none"],
)  # fmt: skip
def test_a_forged_checkpoint_is_found(ledger: None, forged: Callable[[], str]) -> None:
    assert judged(written(range(9), 9, forged()), keys=[verifier()]).finding is not None


@pytest.mark.feature("U2", "K5")
def test_an_export_under_another_key_than_the_given_is_found(ledger: None) -> None:
    finding = judged(whole(), keys=[verifier(OTHER_SEED)]).finding
    assert finding is not None and finding.fault == (
        "no checkpoint is signed by a key that is trusted"
    )


def test_a_key_that_the_export_does_not_show_has_to_be_given(ledger: None) -> None:
    lines = written([7, 8], 9, newest())
    with signing_with():
        with pytest.raises(CouldNotVerify, match="give --key"):
            judged(lines)
        assert judged(lines, keys=[verifier()]).finding is None
    assert judged(lines).finding is None, "it is this deployment's own"


def test_a_kept_checkpoint_among_hidden_leaves_cannot_be_compared(ledger: None) -> None:
    lines = written([0, 8], 9, newest())
    assert judged(lines, note_over(8, SEED)).finding is None, "hashes end there"
    with pytest.raises(CouldNotVerify, match="does not show"):
        judged(lines, note_over(7, SEED))


# Files that are no exports.


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe\x00\x01", b"id,actor\r\n", b"hello\n", b"\n", b"[]\n", b"\x00" * 100]
)
def test_a_file_that_is_no_export_cannot_be_judged(raw: bytes) -> None:
    with pytest.raises(CouldNotVerify):
        verify_export(io.BytesIO(raw))


@pytest.mark.parametrize(
    "line",
    ["{", "{}", '{"leaf_index": 0}', "[" * 100_000, '{"a": ' * 100_000, '{"leaf_index": NaN}',
     '{"a": 1e999}', f'{{"leaf_index": {"9" * 5000}}}', "\ud800", '{"id": ["x"]}'],
    ids=lambda line: line[:12],
)  # fmt: skip
def test_hostile_lines_are_findings(ledger: None, line: str) -> None:
    raw = "\n".join([whole()[0], line, ""]).encode("utf-8", "surrogatepass")
    assert verify_export(io.BytesIO(raw)).finding is not None


HOSTILE: list[dict[str, Any]] = [
    {"leaf_index": -1}, {"leaf_index": True}, {"leaf_index": 2**70}, {"leaf_index": 1.0},
    {"leaf_index": "1"}, {"leaf_index": None}, {"proof": None}, {"proof": []}, {"proof": "x"},
    {"proof": {"from": 2}}, {"proof": {"from": -1, "roots": []}},
    {"proof": {"from": 2, "roots": [5]}}, {"proof": {"from": 2, "roots": "AA=="}},
    {"proof": {"from": 2, "roots": ["AA=="]}}, {"proof": {"from": 0, "roots": ["A"]}},
    {"proof": {"size": 2**52, "rest": []}}, {"proof": {"size": 1, "rest": []}},
    {"proof": {"size": 2, "rest": [], "checkpoint": 7}},
    {"proof": {"size": 2, "rest": [], "checkpoint": "\x1b[2J\n\n"}}, {"digest": []},
]  # fmt: skip


@pytest.mark.parametrize("beside", HOSTILE, ids=str)
def test_hostile_proofs_are_findings(ledger: None, beside: dict[str, Any]) -> None:
    lines = whole()[:2]
    lines[1] = as_line(json.loads(lines[1]) | beside)
    assert judged(lines, note_over(2, SEED)).finding is not None


# CSV.


def as_csv(lines: Sequence[str]) -> bytes:
    """The same export as a table."""
    columns = [*sorted(OF_AN_EVENT), "leaf_index", "proof"]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for line in lines:
        row = json.loads(line)
        writer.writerow(_cell(name, row.get(name)) for name in columns)
    return out.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("arguments", "metadata", "result", "proof"):
        return json.dumps(value)
    text = str(value)
    return f"'{text}" if (text[:1] in tuple("=+-@'\t\r") and text) or value == "" else text


@pytest.mark.feature("U2", "K5")
def test_a_table_is_judged_like_lines() -> None:
    """Whatever a cell may begin with."""
    for text in ("=1+1", "'quoted", "", "-", 'a,b\r\n"c"', "ä\n"):
        told(error=text, actor=text, result=text, status=None)
    told(result=-1, error=None)
    told_and_sealed(1)
    raw = as_csv(written(range(9), 9, newest()))
    assert verify_export(io.BytesIO(raw)).finding is None
    assert verify_export(io.BytesIO(b"\xef\xbb\xbf" + raw + b"\r\n")).finding is None
    for old, new in ((b"=1+1", b"=1+2"), (b"pay", b"paz"), (b"rest", b"res'")):
        assert verify_export(io.BytesIO(raw.replace(old, new, 1))).finding is not None
    assert verify_export(io.BytesIO(raw[:-30])).finding is not None


# Any change at all.


@pytest.mark.feature("U2", "T30", "K5")
@pytest.mark.parametrize("as_table", [False, True], ids=["lines", "table"])
def test_any_change_of_any_byte_is_found_or_changes_nothing(ledger: None, as_table: bool) -> None:
    honest = as_csv(whole()) if as_table else "".join(f"{line}\n" for line in whole()).encode()
    assert _said(honest) is not None

    @settings(max_examples=300, deadline=None, database=None)
    @given(data=st.data())
    def no_change_goes_by(data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(honest) - 1))
        gone = data.draw(st.integers(0, 3))
        put_in = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b",", b"\n", b"0"]))
        changed = honest[:at] + put_in + honest[at + gone :]
        assert _said(changed) in (None, _said(honest))

    no_change_goes_by()


def _said(raw: bytes) -> list[str] | None:
    """The events' values, in their order; None where it is no honest export."""
    try:
        if verify_export(io.BytesIO(raw), keys=[verifier()]).finding is not None:
            return None
    except CouldNotVerify:
        return None
    return [line.text for line in read(io.BytesIO(raw))]
