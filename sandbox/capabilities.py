"""What of each jail is to be had on this machine, found by trying it in real processes."""

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sandbox import landlock
from sandbox.acts import ACTS, Aims
from sandbox.errors import LayerMissing, SandboxUnavailable
from sandbox.jail import Jail
from sandbox.layers import Layer
from sandbox.limits import STANDARD
from sandbox.outcomes import Outcome, Status
from sandbox.profiles import Profile

Ask = Callable[[Jail, Mapping[str, Any]], Outcome]
"""Has a child try something in a jail. Raises LayerMissing."""

PREFIX = "rampart-aims-"
_OPEN = "/tmp"
"""Not the server's own folder for such files: that may be closed to other users, and its path too
long for a socket."""
_SERVERS_USER = "the server is not root, so the process stays its user"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a forbidden act."""

    held: bool
    how: str


@dataclass(frozen=True, slots=True)
class Report:
    """The jails as they are here. A layer is None if it works, else why it does not."""

    kernel: str
    landlock_version: int
    is_root: bool
    layers: Mapping[str, Mapping[Layer, str | None]]
    acts: Mapping[str, Mapping[str, Finding]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def got_through(self) -> list[tuple[str, str]]:
        """Each profile with an act that it should have stopped."""
        return [
            (profile, act)
            for profile, found in self.acts.items()
            for act, finding in found.items()
            if not finding.held
        ]


def examine(ask: Ask, profiles: Iterable[Profile]) -> Report:
    """Put each jail on, and try in it all that it must stop, each in a process of its own.

    Layers that are missing are told and done without, so that the acts say what holds all the same.
    """
    is_root = os.geteuid() == 0
    layers: dict[str, Mapping[Layer, str | None]] = {}
    acts: dict[str, Mapping[str, Finding]] = {}
    with contextlib.ExitStack() as stack:
        try:
            aims = stack.enter_context(_aims())
        except OSError as error:
            raise SandboxUnavailable(f"there is nothing to try the jails at: {error}") from error
        for profile in profiles:
            missing = _missing(ask, profile)
            jail = Jail(profile, waived=frozenset(missing))
            faults = missing if is_root else {Layer.OWN_USER: _SERVERS_USER, **missing}
            layers[profile.name] = {layer: faults.get(layer) for layer in profile.layers}
            acts[profile.name] = _try_all(ask, jail, asdict(aims))
    return Report(os.uname().release, _landlock_version(), is_root, layers, acts)


def _missing(ask: Ask, profile: Profile) -> dict[Layer, str]:
    """A jail names the first layer that it misses; without that, the next."""
    missing: dict[Layer, str] = {}
    for _each in profile.layers:
        try:
            ask(Jail(profile, waived=frozenset(missing)), {})
        except LayerMissing as refusal:
            missing[Layer(refusal.layer)] = refusal.why
        else:
            break
    return missing


def _try_all(ask: Ask, jail: Jail, aims: Mapping[str, Any]) -> dict[str, Finding]:
    return {
        name: _finding(ask(jail, {"try": {"name": name, "aims": aims}}))
        for name, act in ACTS.items()
        if jail.profile.name in act.stopped_by
    }


def _finding(outcome: Outcome) -> Finding:
    """A death that no layer has caused proves nothing."""
    if outcome.status is Status.SUCCESS:
        return Finding(outcome.data is not None, outcome.data or "got through")
    was_killed = outcome.status is Status.KILLED and outcome.error_type != "Crashed"
    return Finding(was_killed, outcome.error)


@contextlib.contextmanager
def _aims() -> Iterator[Aims]:
    """Things outside of every jail, open to each process of the machine."""
    name = f"rampart-{secrets.token_hex(8)}"
    with (
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=_OPEN) as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        _listener(f"{folder}/door"),
        _listener(f"\0{name}"),
    ):
        _make_open_to_all(folder)
        port = server.getsockname()[1]
        yield Aims(folder, port, name, os.getpid(), 2 * STANDARD.address_space_bytes)


def _make_open_to_all(folder: str) -> None:
    with open(f"{folder}/file", "w") as file:
        file.write("to be read by nobody in a jail")
    for path, mode in ((folder, 0o777), (f"{folder}/file", 0o666), (f"{folder}/door", 0o777)):
        os.chmod(path, mode)


def _listener(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    return listener


def _landlock_version() -> int:
    """0: this kernel has none."""
    try:
        return landlock.version()
    except OSError:
        return 0
