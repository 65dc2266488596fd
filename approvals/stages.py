"""What it takes to approve a held call: stages in order, each with its number of distinct people.

Pure: people and groups are numbers here. Terms are frozen on the approval when the call is held.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Stage:
    """So many people of one group, or of all who may decide if no group is named."""

    needs: int = 1
    group_id: int | None = None
    group: str = ""

    def is_open_to(self, groups: Iterable[int]) -> bool:
        """Whether somebody in these groups belongs to it."""
        return self.group_id is None or self.group_id in groups

    @property
    def described(self) -> str:
        """`2 of ops`, `1 person`."""
        who = f"of {self.group}" if self.group_id else "person" if self.needs == 1 else "people"
        return f"{self.needs} {who}"


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything that the rules ask of a decision; without stages, one person who may decide."""

    stages: tuple[Stage, ...] = (Stage(),)
    reason_required: bool = False
    no_bulk: bool = False
    step_up: bool = False
    typed_confirmation: bool = False
    expires_after: timedelta | None = None
    """The time to decide; None: the setting's."""

    @classmethod
    def united(cls, several: Sequence["Terms"]) -> "Terms":
        """The strictest of each: stages one after the other, a group once, the shortest time.

        People of named groups count where anybody would do.
        """
        times = [terms.expires_after for terms in several if terms.expires_after is not None]
        return cls(
            stages=_united([terms.stages for terms in several]),
            reason_required=any(terms.reason_required for terms in several),
            no_bulk=any(terms.no_bulk for terms in several),
            step_up=any(terms.step_up for terms in several),
            typed_confirmation=any(terms.typed_confirmation for terms in several),
            expires_after=min(times, default=None),
        )

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Terms":
        """What `as_json` has made; nothing kept means the plain terms."""
        seconds = kept.get("expires_after")
        return cls(
            stages=tuple(Stage(**stage) for stage in kept.get("stages", [])) or (Stage(),),
            expires_after=None if seconds is None else timedelta(seconds=seconds),
            **{name: bool(kept.get(name)) for name in FLAGS},
        )

    def as_json(self) -> Any:
        """The terms as they are kept."""
        time = self.expires_after
        return {
            "stages": [
                {"needs": stage.needs, "group_id": stage.group_id, "group": stage.group}
                for stage in self.stages
            ],
            "expires_after": None if time is None else time.total_seconds(),
            **{name: getattr(self, name) for name in FLAGS},
        }


FLAGS = ("reason_required", "no_bulk", "step_up", "typed_confirmation")
PLAIN_TERMS = Terms()
"""One person who may decide."""


def _united(several: Sequence[tuple[Stage, ...]]) -> tuple[Stage, ...]:
    """Each group once, with the most that anybody asks of it; then, if somebody asks for more
    people than these, as many of any group as are missing.
    """
    found: dict[int, Stage] = {}
    for stage in (stage for stages in several for stage in stages):
        if stage.group_id is not None:
            known = found.get(stage.group_id, stage)
            found[stage.group_id] = stage if stage.needs > known.needs else known
    named = tuple(found.values())
    most = max((sum(stage.needs for stage in stages) for stages in several), default=1)
    missing = most - sum(stage.needs for stage in named)
    return (*named, Stage(missing)) if missing > 0 else named


@dataclass(frozen=True, slots=True)
class Ballot:
    """A yes, and the stage for which it was given."""

    reviewer_id: int
    stage: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How many have said yes at each stage."""

    stages: tuple[Stage, ...]
    votes: tuple[int, ...]

    @classmethod
    def of(cls, stages: tuple[Stage, ...], ballots: Iterable[Ballot]) -> "Standing":
        """Count, each person once."""
        cast = list({ballot.reviewer_id: ballot.stage for ballot in ballots}.values())
        return cls(stages, tuple(cast.count(number) for number in range(len(stages))))

    @property
    def open_stage(self) -> int | None:
        """The number of the first stage that lacks a vote; None once all is said."""
        numbered = enumerate(zip(self.stages, self.votes, strict=True))
        return next((number for number, (stage, cast) in numbered if cast < stage.needs), None)

    @property
    def is_complete(self) -> bool:
        """Whether every stage has its votes."""
        return self.open_stage is None

    @property
    def lacking(self) -> str:
        """What is still needed at the open stage and after it: `1 of ops, then 2 of finance`."""
        left = [
            replace(stage, needs=stage.needs - cast).described
            for stage, cast in zip(self.stages, self.votes, strict=True)
            if cast < stage.needs
        ]
        return ", then ".join(left)


def can_be_filled(stages: Sequence[Stage], people: Mapping[int, frozenset[int]]) -> bool:
    """Whether distinct people (by their groups) could fill every place of every stage.

    A bipartite matching by augmenting paths: each place takes a person, who may be moved to
    another place that they fit.
    """
    places = [stage for stage in stages for _ in range(stage.needs)]
    if len(places) > len(people):
        return False
    taken: dict[int, int] = {}

    def find(place: int, tried: set[int]) -> bool:
        for person, groups in people.items():
            if person in tried or not places[place].is_open_to(groups):
                continue
            tried.add(person)
            if person not in taken or find(taken[person], tried):
                taken[person] = place
                return True
        return False

    return all(find(place, set()) for place in range(len(places)))
