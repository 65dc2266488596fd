"""Who signs, and how one key is vouched for by the one before."""

import pytest
from pytest_django import Settings

from audit import checkpoints, ledger, notes
from audit.events import EventName
from audit.models import Checkpoint, Event, Leaf
from audit.notes import BadNote, Signer, Verifier
from audit.sealing import seal, the_tree
from rampart.checks import checkpoints_are_signed
from tests.audit.whole_tree import assert_all_is_sealed_once, tell

pytestmark = [pytest.mark.django_db, pytest.mark.feature("U2")]

OLD, NEW = bytes([1]) * 32, bytes([2]) * 32


def verifier(seed: bytes) -> Verifier:
    return Signer.from_seed(the_tree().origin, seed).verifier


def signed_with(settings: Settings, *seeds: bytes) -> Checkpoint:
    """The checkpoint that these keys sign over something new."""
    settings.RAMPART_CHECKPOINT_KEY = list(seeds)
    tell()
    made = seal().checkpoint
    assert made is not None
    return made


def who_signed(checkpoint: Checkpoint, *seeds: bytes) -> list[Verifier]:
    return list(notes.read(checkpoint.note, [verifier(seed) for seed in seeds]).signed_by)


def place_of_announcement(seed: bytes) -> int:
    lines = Event.objects.filter(event=EventName.CHECKPOINT_KEY_ANNOUNCED)
    line = next(one for one in lines.order_by("id") if one.metadata["key"] == str(verifier(seed)))
    return Leaf.objects.get(event_id=line.pk).index


def test_a_checkpoint_says_the_ledgers_name_its_size_and_its_root(settings: Settings) -> None:
    made = signed_with(settings, OLD)
    origin, size, root = notes.read(made.note, [verifier(OLD)]).text.splitlines()
    assert (origin, size) == (the_tree().origin, "2") == (made.note.split("\n")[0], str(made.size))
    assert len(root) == 44
    assert_all_is_sealed_once()


def test_a_key_is_announced_before_it_first_signs(settings: Settings) -> None:
    first = signed_with(settings, OLD)
    assert checkpoints.announced() == [verifier(OLD)]
    assert place_of_announcement(OLD) < first.size
    signed_with(settings, OLD)
    assert len(checkpoints.announced()) == 1, "once"


def test_while_two_keys_are_set_both_sign_and_the_older_one_vouches(settings: Settings) -> None:
    signed_with(settings, OLD)
    both = signed_with(settings, NEW, OLD)
    assert who_signed(both, OLD, NEW) == [verifier(NEW), verifier(OLD)]
    assert place_of_announcement(NEW) < both.size
    assert checkpoints.announced() == [verifier(OLD), verifier(NEW)]
    for line in Event.objects.filter(event=EventName.CHECKPOINT_KEY_ANNOUNCED).order_by("-id")[:2]:
        note = notes.read(line.metadata["note"], [verifier(OLD), verifier(NEW)])
        assert note.text == f"{the_tree().origin}/key\n{line.metadata['key']}\n"
        assert len(note.signed_by) == 2, "each vouches for the other"
    alone = signed_with(settings, NEW)
    assert who_signed(alone, OLD, NEW) == [verifier(NEW)]
    with pytest.raises(BadNote):
        who_signed(alone, OLD)


def test_two_new_keys_are_announced_the_newer_one_first(settings: Settings) -> None:
    signed_with(settings, NEW, OLD)
    assert checkpoints.announced() == [verifier(NEW), verifier(OLD)]


def test_a_key_that_is_named_twice_signs_once(settings: Settings) -> None:
    made = signed_with(settings, OLD, OLD)
    assert len(notes.named(made.note)) == 1
    assert len(checkpoints.announced()) == 1


@pytest.mark.parametrize("metadata", [{}, {"key": "nonsense"}, {"key": None}, {"key": ["x"]}])
def test_a_line_that_announces_nothing_stops_nobody(
    settings: Settings, metadata: dict[str, object]
) -> None:
    ledger.record(EventName.CHECKPOINT_KEY_ANNOUNCED, metadata=metadata)
    assert signed_with(settings, OLD)
    assert checkpoints.announced() == [verifier(OLD)]


def test_the_newest_checkpoint_is_the_largest(settings: Settings) -> None:
    assert checkpoints.latest() is None
    made = [signed_with(settings, OLD) for _ in range(3)]
    assert checkpoints.latest() == made[-1]
    assert checkpoints.stated(made[0]).size == made[0].size == 2


def test_a_deployment_without_a_key_is_warned_of(settings: Settings) -> None:
    assert checkpoints_are_signed() == []
    settings.RAMPART_CHECKPOINT_KEY = []
    (warning,) = checkpoints_are_signed()
    assert (warning.id, warning.is_serious()) == ("rampart.W005", False)
