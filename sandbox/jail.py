"""Puts the layers of a profile around this process, one after the other.

A layer that cannot be put on stops the run before it has begun, unless an operator waived it by
name: a jail that is quietly thinner than it says is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sandbox import kernel, resources
from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.limits import STANDARD, Limits
from sandbox.profiles import NOTHING, PROFILES, Grants, Profile


@dataclass(frozen=True, slots=True)
class Jail:
    """What goes around one process, as the server orders it and the child puts it on."""

    profile: Profile
    limits: Limits = STANDARD
    grants: Grants = NOTHING
    waived: frozenset[Layer] = frozenset()
    slot: int = 0
    """Of the keeper: two processes at the same time are never in the same one."""

    def as_json(self) -> dict[str, Any]:
        return {
            "profile": self.profile.name,
            "limits": self.limits.as_json(),
            "grants": asdict(self.grants),
            "waived": sorted(self.waived),
            "slot": self.slot,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Jail":
        grants = said["grants"]
        return cls(
            PROFILES[said["profile"]],
            Limits(**said["limits"]),
            Grants(grants["network"], tuple(grants["read"]), tuple(grants["write"])),
            frozenset(Layer(name) for name in said["waived"]),
            said["slot"],
        )

    def enter(self) -> None:
        """Put every layer on, or raise LayerMissing with the first that is not to be had."""
        for layer in self.profile.layers:
            try:
                _ENTER[layer](self)
            except OSError as error:
                if layer not in self.waived:
                    raise LayerMissing(layer, str(error)) from error


def _limit_resources(jail: Jail) -> None:
    resources.limit(jail.limits)


def _hide_memory(jail: Jail) -> None:
    kernel.be_not_dumpable()


_ENTER: dict[Layer, Callable[[Jail], None]] = {
    Layer.RESOURCE_LIMITS: _limit_resources,
    Layer.NOT_DUMPABLE: _hide_memory,
}
