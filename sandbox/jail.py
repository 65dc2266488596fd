"""Puts the layers of a profile around this process, one after the other.

A layer that cannot be put on stops the run before it has begun, unless an operator waived it by
name: a jail that is quietly thinner than it says is none.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sandbox import fileless, kernel, landlock, namespaces, resources, root, seccomp, users
from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.limits import STANDARD, Limits
from sandbox.profiles import NOTHING, PROFILES, STRICT, Grants, Profile


@dataclass(frozen=True, slots=True)
class Jail:
    """What goes around one process, as the server orders it and the child puts it on."""

    profile: Profile
    limits: Limits = STANDARD
    grants: Grants = NOTHING
    waived: frozenset[Layer] = frozenset()

    def as_json(self) -> dict[str, Any]:
        return {
            "profile": self.profile.name,
            "limits": self.limits.as_json(),
            "grants": asdict(self.grants),
            "waived": sorted(self.waived),
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Jail":
        grants = said["grants"]
        return cls(
            PROFILES[said["profile"]],
            Limits(**said["limits"]),
            Grants(grants["network"], tuple(grants["read"]), tuple(grants["write"])),
            frozenset(Layer(name) for name in said["waived"]),
        )

    def enter(self) -> None:
        """Put every layer on, or raise LayerMissing with the first that is not to be had."""
        for layer in self.profile.layers:
            try:
                _ENTER[layer](self)
            except OSError as error:
                if layer not in self.waived:
                    raise LayerMissing(layer, str(error)) from error


def prepare() -> None:
    """Find out and put together, once for all that are forked from here, what does not change.

    What is not to be had here is found out by whoever needs it: each layer says so itself.
    """
    root.look_around()
    with contextlib.suppress(OSError):
        seccomp.assemble()
        kernel.capabilities()
        landlock.version()


def _limit_resources(jail: Jail) -> None:
    resources.limit(jail.limits, is_reused=jail.profile.is_reused)


def _hide_memory(jail: Jail) -> None:
    kernel.be_not_dumpable()


def _take_own_user(_jail: Jail) -> None:
    users.become_own()


def _give_up_files_and_ports(jail: Jail) -> None:
    if jail.profile is STRICT:
        landlock.restrict()
    else:
        grants = jail.grants
        landlock.restrict(root.readable(grants), root.writable(grants), network=grants.network)


def _filter_system_calls(jail: Jail) -> None:
    if jail.profile is STRICT:
        fileless.look_for_no_files()
        kernel.filter_system_calls(seccomp.strict())
    else:
        kernel.filter_system_calls(seccomp.native(network=jail.grants.network))


def _enter_user_namespace(_jail: Jail) -> None:
    namespaces.enter_user()


def _enter_network_namespace(jail: Jail) -> None:
    if not jail.grants.network:
        namespaces.enter_network()


def _enter_ipc_namespace(_jail: Jail) -> None:
    namespaces.enter_ipc()


def _enter_uts_namespace(_jail: Jail) -> None:
    namespaces.enter_uts()


def _enter_pid_namespace(_jail: Jail) -> None:
    namespaces.enter_pid()


def _enter_private_root(jail: Jail) -> None:
    root.enter(jail.grants, jail.limits.scratch_bytes)


def _drop_capabilities(_jail: Jail) -> None:
    kernel.drop_capabilities()


_ENTER: dict[Layer, Callable[[Jail], None]] = {
    Layer.RESOURCE_LIMITS: _limit_resources,
    Layer.OWN_USER: _take_own_user,
    Layer.USER_NAMESPACE: _enter_user_namespace,
    Layer.NETWORK_NAMESPACE: _enter_network_namespace,
    Layer.IPC_NAMESPACE: _enter_ipc_namespace,
    Layer.UTS_NAMESPACE: _enter_uts_namespace,
    Layer.PID_NAMESPACE: _enter_pid_namespace,
    Layer.PRIVATE_ROOT: _enter_private_root,
    Layer.NO_CAPABILITIES: _drop_capabilities,
    Layer.NOT_DUMPABLE: _hide_memory,
    Layer.LANDLOCK: _give_up_files_and_ports,
    Layer.SYSTEM_CALLS: _filter_system_calls,
}
