"""Signed notes: what other tools have signed is read, and what no key has signed is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import notes
from audit.checkpoints import Statement
from audit.notes import BadNote, Signer, Verifier

pytestmark = pytest.mark.feature("U2")

# From the specification of signed notes, and from Go's golang.org/x/mod/sumdb/note.

SPECIFIED = (
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "This is an example message.\n",
    "\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRK"
    "uwHjG1Yu72IneyaQM=\n",
)
GO = (
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n",
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZ"
    "b6KE6RyyBwJnAM=\n",
)
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]

ANN, BEN = Signer.from_seed("ann", bytes(32)), Signer.from_seed("ben", bytes([1]) * 32)
TEXT = "one\n\nthree\n"


@pytest.mark.parametrize(("key", "text", "signature"), [SPECIFIED, GO], ids=["C2SP", "Go"])
def test_what_others_have_signed_is_read(key: str, text: str, signature: str) -> None:
    verifier = Verifier.from_text(key)
    assert str(verifier) == key
    assert notes.read(text + signature, [verifier]).text == text
    with pytest.raises(BadNote, match="is wrong"):
        notes.read(text.replace("i", "j", 1) + signature, [verifier])


def test_with_gos_key_we_sign_as_go_does() -> None:
    key, text, signature = GO
    signer = Signer.from_seed("PeterNeumann", GO_SEED)
    assert str(signer.verifier) == key
    assert notes.sign(text, [signer]) == text + signature


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n")))
def test_a_text_comes_back_as_it_was_signed(text: str) -> None:
    note = notes.sign(f"{text}\n", [ANN, BEN])
    read = notes.read(note, [ANN.verifier, BEN.verifier])
    assert (read.text, read.signed_by) == (f"{text}\n", (ANN.verifier, BEN.verifier))
    assert notes.unverified_text(note) == f"{text}\n"


def test_a_signature_by_a_stranger_is_passed_over() -> None:
    note = notes.sign(TEXT, [BEN, ANN])
    assert notes.read(note, [ANN.verifier]).signed_by == (ANN.verifier,)
    assert [name.partition("+")[0] for name in notes.named(note)] == ["ben", "ann"]


def test_a_note_that_only_strangers_have_signed_is_refused_and_they_are_named() -> None:
    with pytest.raises(BadNote, match=r"no known key has signed it; it names ben\+"):
        notes.read(notes.sign(TEXT, [BEN]), [ANN.verifier])
    namesake = Signer.from_seed("ann", bytes([9]) * 32)
    with pytest.raises(BadNote, match="no known key"):
        notes.read(notes.sign(TEXT, [namesake]), [ANN.verifier])


def test_one_wrong_signature_by_a_known_key_spoils_the_whole_note() -> None:
    other = notes.sign("other\n", [ANN]).partition("\n\n")[2]
    with pytest.raises(BadNote, match="is wrong"):
        notes.read(notes.sign(TEXT, [BEN]) + other, [ANN.verifier, BEN.verifier])


def test_a_key_that_signs_twice_is_named_once() -> None:
    line = ANN.line(TEXT)
    assert notes.read(f"{TEXT}\n{line}{line}", [ANN.verifier]).signed_by == (ANN.verifier,)


GOOD = notes.sign(TEXT, [ANN])
LINE = ANN.line(TEXT)
LAST_DIGIT = LINE[-3]
MALFORMED = {
    "nothing": "",
    "no signature": TEXT,
    "an empty line and no signature": f"{TEXT}\n",
    "no empty line before the signature": f"{TEXT}{LINE}",
    "no newline at the end": GOOD[:-1],
    "something behind the signatures": f"{GOOD}more\n",
    "an empty line behind the signatures": f"{GOOD}\n",
    "a hyphen for the dash": GOOD.replace("— ", "- "),
    "no name": GOOD.replace("— ann ", "—  "),
    "a plus in the name": GOOD.replace("— ann ", "— a+n "),
    "a wide space in the name": GOOD.replace("— ann ", "— a\u3000n "),
    "no base64": GOOD.replace("— ann ", "— ann !"),
    "base64 in another alphabet": f"{TEXT}\n— ann {'-_' * 10}\n",
    "bits that base64 leaves unused": GOOD.replace(
        f"{LAST_DIGIT}=\n", f"{chr(ord(LAST_DIGIT) + 1)}=\n"
    ),
    "too short a signature": f"{TEXT}\n— ann AAAAAA==\n",
    "a tab": notes.sign("a\tb\n", [ANN]),
    "a carriage return": GOOD.replace("\n", "\r\n"),
    "a null": notes.sign("a\x00b\n", [ANN]),
    "half a surrogate pair": GOOD.replace("one", "\ud800"),
    "too many signatures": f"{TEXT}\n{LINE * 101}",
}


@pytest.mark.parametrize("note", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_signed_note_is_refused(note: str) -> None:
    assert note != GOOD
    with pytest.raises(BadNote):
        notes.read(note, [ANN.verifier])


def test_a_hundred_signatures_are_not_too_many() -> None:
    assert notes.read(f"{TEXT}\n{LINE * 100}", [ANN.verifier]).text == TEXT


KEY = str(ANN.verifier)
NO_KEYS = {
    "nothing": "",
    "a name alone": "ann",
    "another's key id": KEY.replace(KEY.split("+")[1], "00000000"),
    "the id in capitals": KEY.replace(KEY.split("+")[1], KEY.split("+")[1].upper()),
    "another algorithm": f"ann+00000000+{base64.b64encode(bytes([2]) + bytes(32)).decode()}",
    "too short": f"ann+00000000+{base64.b64encode(bytes([1]) + bytes(31)).decode()}",
    "a space in the name": KEY.replace("ann", "a n"),
    "no base64": f"{KEY}!",
}


@pytest.mark.parametrize("text", NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Verifier.from_text(text)


def test_a_key_may_stand_between_spaces() -> None:
    assert Verifier.from_text(f" {KEY}\n") == ANN.verifier


# Checkpoints: C2SP tlog-checkpoint.

ROOT = base64.b64encode(bytes(range(32))).decode()
STATED = f"example.com/log\n20852163\n{ROOT}\n"


def test_a_checkpoint_says_whose_how_large_and_what() -> None:
    statement = Statement.from_text(STATED)
    assert statement == Statement("example.com/log", 20852163, bytes(range(32)))
    assert str(statement) == STATED
    assert Statement.from_text(f"{STATED}an extension\n") == statement


NO_CHECKPOINTS = {
    "nothing": "",
    "two lines": "log\n1\n",
    "no origin": f"\n1\n{ROOT}\n",
    "a size with a zero before it": f"log\n01\n{ROOT}\n",
    "a negative size": f"log\n-1\n{ROOT}\n",
    "a size in other digits": f"log\n١\n{ROOT}\n",
    "a size with an underscore": f"log\n1_0\n{ROOT}\n",
    "a root that is too short": f"log\n1\n{ROOT[:40]}\n",
    "a root that is no base64": f"log\n1\n{ROOT[:-2]}!=\n",
}


@pytest.mark.parametrize("text", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Statement.from_text(text)
