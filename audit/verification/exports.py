"""Verification of an export: no database is asked, and only one line is in memory.

Each line is a leaf, and hashes stand for the leaves between; so the tree grows as the file goes by,
and at each size that a checkpoint covers its root must be the signed one.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import IO, NoReturn

from audit import notes, prunings
from audit.checkpoints import signers
from audit.events import EventName
from audit.merkle import Frontier, leaf_hash, subtrees
from audit.notes import Verifier
from audit.records import digest_of
from audit.verification import lines
from audit.verification.judging import CouldNotVerify, Fault, Finding, Progress, Report, span
from audit.verification.lines import Hidden, Line
from audit.verification.trust import Claim, Trust, WrongRoot, claimed, origin_of
from audit.verification.unseen import Unseen

TOLD_EACH = 1000
"""Lines after which progress is told."""


def verify_export(
    stream: IO[bytes],
    progress: Progress | None = None,
    checkpoints: Sequence[str] = (),
    keys: Sequence[Verifier] = (),
) -> Report:
    """Judge an export until its first fault; raises CouldNotVerify where that can't be done.

    Without `keys`, a key that the export itself announces is believed, and the report says so.
    How many lines there will be is not known: `progress` is told 0.
    """
    reading = _Reading(checkpoints, keys)
    finding: Finding | None = None
    try:
        for line in lines.read(stream):
            reading.line(line)
            if progress is not None and reading.events % TOLD_EACH == 0:
                progress(reading.events, 0)
        reading.end()
    except Fault as fault:
        finding = fault.finding
    return reading.report(finding)


class _Reading:
    """How far the tree has grown, and what of it was signed."""

    def __init__(self, checkpoints: Sequence[str], keys: Sequence[Verifier]) -> None:
        self.given = sorted(map(claimed, checkpoints), key=lambda claim: claim.size)
        self.trust = Trust(keys)
        self.ours: list[Verifier] = []
        self.origin = origin_of(self.given[0]) if self.given else ""
        self.frontier = Frontier()
        self.size = 0
        """The leaves that were judged: up to the last line, or up to the end that it names."""
        self.signed = 0
        """The largest size of which a signed root was found to be right."""
        self.agreed = 0
        """The leaves up to this one lead to a signed root, by themselves or with an end."""
        self.unproven: tuple[str, int] | None = None
        """The first line since then: its event and leaf."""
        self.events = 0
        self.unseen = Unseen()
        self.claim: Claim | None = None
        self.signed_by: tuple[Verifier, ...] = ()

    def report(self, finding: Finding | None) -> Report:
        trusted = self.trust.given.union(self.ours)
        is_own = self.claim is not None and self.claim.is_stored
        self.unseen.skip(self.frontier.size, self.size)
        return Report(
            self.events, self.size, 0, self.unseen.pruned(self.trust),
            self.claim.note if self.claim else None, finding, self.size - self.events,
            self.signed_by,
            is_own and trusted.isdisjoint(self.signed_by),
        )  # fmt: skip

    def line(self, line: Line) -> None:
        """Let the tree grow by a line, and by what is hidden before it."""
        if line.before is not None:
            self._gap(line.before)
        self._must_follow(line)
        event_id = str(line.event["id"])
        self.unproven = self.unproven or (event_id, line.leaf)
        self._note(line)
        self.frontier.append(leaf_hash(bytes.fromhex(digest_of(line.text))))
        self.events, self.size = self.events + 1, self.frontier.size
        self._compare(self.frontier)
        if line.rest is not None:
            self._rest(line.rest, line.checkpoint)

    def end(self) -> None:
        """Judge what can only be judged when no more lines come."""
        if not self.events:
            raise CouldNotVerify("the export has no lines")
        for claim in self.given:
            if claim.size > self.size:
                self.trust.judge_beyond(claim, self.origin, self.size)
        if self.agreed < self.frontier.size or self.signed < self.size:
            fault = "the export has no end: it is cut off, or was made where no key was set;"
            raise Fault(f"{fault} no checkpoint covers its last lines", leaf=self.size)
        if not self.trust.is_anchored:
            raise Fault("no checkpoint is signed by a key that is trusted")
        for claim in self.given:
            what = f"{claim.name} ends among leaves that the export does not show"
            raise CouldNotVerify(f"{what}: it cannot be compared")

    def _must_follow(self, line: Line) -> None:
        awaited, event_id = self.frontier.size, line.event["id"]
        if line.leaf > awaited:
            missing = span(awaited, line.leaf)
            fault = (
                f"{missing}: taken out of the export before this line, and nothing stands for it"
            )
            raise Fault(fault, event_id, awaited)
        if line.leaf < awaited:
            raise Fault("it stands twice in the export, or was moved", event_id, line.leaf)

    def _gap(self, hidden: Hidden) -> None:
        """Hashes stand for leaves; those of lines that were read already must be the same."""
        if hidden.first == self.frontier.size:
            self._grow(self.frontier, hidden)
            self.unseen.skip(hidden.first, hidden.end)
        elif hidden.first == 0 and hidden.end == self.frontier.size:
            if hidden.hashes != self.frontier.hashes:
                raise Fault("the hashes of what was exported earlier are others", leaf=0)
        elif hidden.first == 0 and hidden.end > self.frontier.size:
            raise CouldNotVerify("two exports are in one file: verify each by itself")
        else:
            raise Fault("a line's proof begins where no line has ended", leaf=hidden.first)

    def _grow(self, frontier: Frontier, hidden: Hidden) -> None:
        for (level, _), hashed in zip(
            subtrees(hidden.first, hidden.end), hidden.hashes, strict=True
        ):
            frontier.append_subtree(level, hashed)
            self._compare(frontier)

    def _rest(self, hidden: Hidden, note: str | None) -> None:
        """The end of a finished export; another may go on from the line, and not from here."""
        frontier = Frontier(self.frontier.size, self.frontier.hashes)
        self._grow(frontier, hidden)
        self.size = hidden.end
        if note is not None:
            name = f"the export's own checkpoint over {hidden.end} leaves"
            self._judge(Claim(hidden.end, note, name, True), frontier)

    def _compare(self, frontier: Frontier) -> None:
        """With the given checkpoints of this size."""
        for claim in [claim for claim in self.given if claim.size == frontier.size]:
            self.given.remove(claim)
            self._judge(claim, frontier)

    def _judge(self, claim: Claim, frontier: Frontier) -> None:
        self.origin = self.origin or origin_of(claim)
        self._know_ours(claim, frontier.size)
        try:
            signed_by = self.trust.judge(claim, self.origin, frontier.root())
        except WrongRoot as fault:
            self._differs(fault, frontier.size)
        self.agreed, self.unproven = self.frontier.size, None
        self.signed = max(self.signed, frontier.size)
        if self.claim is None or self.claim.size < claim.size or not claim.is_stored:
            self.claim, self.signed_by = claim, signed_by

    def _know_ours(self, claim: Claim, size: int) -> None:
        """Without given keys this deployment's own are good, and those that lines announce."""
        if self.trust.given:
            return
        self.ours = [signer.verifier for signer in signers(self.origin)]
        for verifier in self.ours:
            self.trust.announced.setdefault(verifier, -1)
        known = {f"{key.name}+{key.key_id.hex()}" for key in self.trust.candidates(claim.size)}
        if size > self.events and known.isdisjoint(claim.signers()):
            raise CouldNotVerify(
                f"{claim.name} is signed by {', '.join(claim.signers())}, and the export does not"
                " show the line that announces this key: give --key"
            )

    def _differs(self, fault: WrongRoot, size: int) -> NoReturn:
        """Which line it was can't be told from the root alone."""
        event_id, leaf = self.unproven or ("", self.agreed)
        place = f"{span(self.agreed, size)} were changed, moved, added or taken away"
        raise Fault(f"{place}: {fault}", event_id, leaf) from None

    def _note(self, line: Line) -> None:
        """What a line says about keys, and about events that are gone."""
        metadata = line.event["metadata"]
        if line.event["event"] == EventName.CHECKPOINT_KEY_ANNOUNCED:
            self.trust.announce(metadata, line.leaf)
        elif line.event["event"] == EventName.LEDGER_PRUNED:
            keys = self.trust.candidates()
            origin = self.origin or next((key.name for key in keys), "")
            with suppress(ValueError, TypeError, OverflowError):
                gone = prunings.pruned_leaves(origin, metadata, keys)
                self.unseen.tell(gone, notes.read(metadata["note"], keys).signed_by)
