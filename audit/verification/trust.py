"""Which keys are known, as checkpoints pass by in the order of their sizes.

A key that was given is known from the start. Without one, those that signed the first checkpoint
are believed. From then on each checkpoint needs the signature of a known key, and a key is known
too if a known one has signed its announcement in the tree below.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from audit import notes
from audit.canonical import JSON
from audit.checkpoints import Statement, vouched_by
from audit.notes import BadNote, Verifier
from audit.verification.judging import CouldNotVerify, Fault

MOST_ANNOUNCED = 1000
"""Keys that are taken down; nobody has so many, and an export may be a stranger's."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A checkpoint that is to be compared with the leaves, and how to call it."""

    size: int
    note: str
    name: str
    is_stored: bool = False
    """It is one of those that stand beside the leaves; not one that was kept elsewhere."""

    def signers(self) -> list[str]:
        """The keys that it names; none where it is no note."""
        try:
            return notes.named(self.note)
        except BadNote:
            return []


def claimed(note: str) -> Claim:
    """A checkpoint that was kept elsewhere; raises CouldNotVerify for what is none."""
    try:
        size = Statement.from_text(notes.unverified_text(note)).size
    except ValueError as error:
        raise CouldNotVerify(f"what was given as a checkpoint is none: {error}") from None
    if not size:
        raise CouldNotVerify("the given checkpoint covers nothing")
    return Claim(size, note, f"the given checkpoint over {size} leaves")


def origin_of(claim: Claim) -> str:
    """The ledger that it is about, whoever has signed it."""
    return claim.note.partition("\n")[0]


class Trust:
    """The known keys, and who has signed."""

    def __init__(self, given: Iterable[Verifier], *, all_announced: bool = False) -> None:
        self.given = frozenset(given)
        self.all_announced = all_announced
        """Every line is there, so a key that no line announces is no key, even if it is ours."""
        self.known: set[Verifier] = set()
        self.announced: dict[Verifier, int] = {}
        self.vouched: list[tuple[int, Verifier, set[Verifier]]] = []
        """Announcements: the leaf, the key, and who else has signed that it is one."""
        self.is_anchored = not self.given
        """A checkpoint with the signature of a given key has passed by."""

    def announce(self, metadata: JSON, leaf: int) -> None:
        """Take down the key that a line names; a line that names none announces nothing."""
        try:
            verifier = Verifier.from_text(metadata["key"])
        except (KeyError, TypeError, AttributeError, ValueError):
            return
        if len(self.announced) < MOST_ANNOUNCED:
            self.announced.setdefault(verifier, leaf)
        others = vouched_by(metadata, verifier, [*self.candidates(), *self.given]) - {verifier}
        if others and len(self.vouched) < MOST_ANNOUNCED:
            self.vouched.append((leaf, verifier, others))

    def judge(self, claim: Claim, origin: str, root: bytes) -> tuple[Verifier, ...]:
        """Who has signed this checkpoint over the tree that has this root; raises Fault."""
        stated = _stated(claim, origin)
        signed_by = self._signers(claim)
        if stated.root != root:
            raise WrongRoot(f"{claim.name} was signed over other leaves")
        return signed_by

    def judge_beyond(self, claim: Claim, origin: str, size: int) -> NoReturn:
        """A checkpoint covers more leaves than there are; raises Fault."""
        _stated(claim, origin)
        self._signers(claim)
        raise Fault(
            f"the end is cut off, or an older backup was restored: {claim.name} covers"
            f" {claim.size} leaves, and there are {size}",
            leaf=size,
        )

    def vouches_for(self, signers: Sequence[Verifier]) -> bool:
        """Whether one of these is known by now, or announced where no key is."""
        return not (self.given | self.known or self.announced.keys()).isdisjoint(signers)

    def candidates(self, size: int | None = None) -> list[Verifier]:
        """Every key whose signature can be looked at: given, or announced below this size."""
        announced = [key for key, leaf in self.announced.items() if size is None or leaf < size]
        return announced if self.all_announced else list({*announced, *self.given, *self.known})

    def _signers(self, claim: Claim) -> tuple[Verifier, ...]:
        try:
            signed_by = notes.read(claim.note, self.candidates(claim.size)).signed_by
        except BadNote as error:
            raise Fault(f"{claim.name} is forged, or its key was not announced: {error}") from None
        self._learn(claim.size)
        if not self.given.isdisjoint(signed_by):
            self._anchor(claim.size)
        elif not self.known:
            self.known.update(signed_by)
        elif self.known.isdisjoint(signed_by):
            names = ", ".join(map(str, signed_by))
            raise Fault(f"{claim.name}: the key changed, and no known key vouches for {names}")
        return signed_by

    def _anchor(self, size: int) -> None:
        """A given key has signed: what was believed until here was not given."""
        if not self.is_anchored:
            self.is_anchored, self.known = True, set(self.given)
            self._learn(size)

    def _learn(self, size: int) -> None:
        """Know the keys that a known one has vouched for below this size, and those by these."""
        while new := {key for leaf, key, by in self.vouched if leaf < size and self._knows(by)}:
            if new <= self.known:
                return
            self.known |= new

    def _knows(self, keys: set[Verifier]) -> bool:
        return not self.given.isdisjoint(keys) or not self.known.isdisjoint(keys)


class WrongRoot(Fault):
    """A checkpoint and the leaves below it do not fit."""


def _stated(claim: Claim, origin: str) -> Statement:
    try:
        statement = Statement.from_text(notes.unverified_text(claim.note))
    except ValueError as error:
        raise Fault(f"{claim.name} is no checkpoint any more: {error}") from None
    if statement.size != claim.size:
        raise Fault(f"{claim.name} says {statement.size} leaves in its signed text")
    if statement.origin != origin:
        raise Fault(f"{claim.name} is about another ledger, {statement.origin!r}")
    return statement
