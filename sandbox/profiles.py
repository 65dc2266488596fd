"""Which layers go around a process: frozen, named profiles, each with its reason."""

from dataclasses import dataclass

from sandbox.layers import Layer


@dataclass(frozen=True, slots=True)
class Profile:
    """The layers of one kind of run, in the order in which they are put on."""

    name: str
    layers: tuple[Layer, ...]
    is_reused: bool = False
    """Whether a process serves one job after another."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What a jailed tool may reach; everything else is closed to it."""

    network: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


NOTHING = Grants()

WARM = Profile("warm", (Layer.RESOURCE_LIMITS, Layer.NOT_DUMPABLE), is_reused=True)
"""For tools that only read: their process waits for the next call, so a call costs no fork."""

FRESH = Profile("fresh", (Layer.RESOURCE_LIMITS, Layer.NOT_DUMPABLE))
"""For tools that write and declare no grants: killable and bounded, with the worker's files and
network, because they are the deployment's own code and need them."""

STRICT = Profile(
    "strict",
    (
        Layer.RESOURCE_LIMITS,
        Layer.OWN_USER,
        Layer.NOT_DUMPABLE,
        Layer.LANDLOCK,
        Layer.SYSTEM_CALLS,
    ),
)
"""For code that nobody has read: it computes, and can reach nothing at all."""

NATIVE = Profile(
    "native",
    (
        Layer.RESOURCE_LIMITS,
        Layer.USER_NAMESPACE,
        Layer.NETWORK_NAMESPACE,
        Layer.IPC_NAMESPACE,
        Layer.UTS_NAMESPACE,
        Layer.PID_NAMESPACE,
        Layer.PRIVATE_ROOT,
        Layer.NO_CAPABILITIES,
        Layer.NOT_DUMPABLE,
        Layer.LANDLOCK,
        Layer.SYSTEM_CALLS,
    ),
)
"""For tools that declare what they need: all of Python, and of the machine only what is granted."""

PROFILES = {profile.name: profile for profile in (WARM, FRESH, STRICT, NATIVE)}
