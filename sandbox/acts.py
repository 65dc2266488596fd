"""What a jail must stop, each as a thing to try: only what was tried is known to be stopped.

An act returns if it got through; it raises OSError or MemoryError where it was refused, or the
process does not live to tell.
"""

import mmap
import os
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox import kernel
from sandbox.profiles import FRESH, NATIVE, STRICT, WARM

_SECONDS = 1.0
_SEIZE = 0x4206
"""PTRACE_SEIZE, which unlike ATTACH stops nobody."""
_AT_ONCE = 2
"""MNT_DETACH"""


@dataclass(frozen=True, slots=True)
class Aims:
    """What the acts are tried at: all of it outside of the jail, and open to any process there."""

    folder: str
    """Anybody may write in it. It holds `file` and the socket `door`."""
    port: int
    """Of TCP on the loopback interface."""
    abstract: str
    """The name of a socket that has no file."""
    pid: int
    """Of a process of the server's user."""
    memory: int
    """More bytes than may be had."""


Attempt = Callable[[Aims], object]


def attempt(name: str, aims: Mapping[str, Any]) -> str | None:
    """Try an act in this process: why it was refused, or None if it got through."""
    try:
        ACTS[name].attempt(Aims(**aims))
    except (OSError, MemoryError) as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    return None


def _read_a_file(aims: Aims) -> None:
    with open(f"{aims.folder}/file") as file:
        file.read()


def _write_a_file(aims: Aims) -> None:
    with open(f"{aims.folder}/file", "a") as file:
        file.write("x")


def _make_a_file(aims: Aims) -> None:
    with open(f"{aims.folder}/made", "w"):
        pass
    os.unlink(f"{aims.folder}/made")


def _connect(family: int, address: Any) -> None:
    with socket.socket(family) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(address)


def _connect_by_tcp(aims: Aims) -> None:
    _connect(socket.AF_INET, ("127.0.0.1", aims.port))


def _connect_by_a_socket_file(aims: Aims) -> None:
    _connect(socket.AF_UNIX, f"{aims.folder}/door")


def _connect_by_an_abstract_socket(aims: Aims) -> None:
    _connect(socket.AF_UNIX, f"\0{aims.abstract}")


def _signal_a_process(aims: Aims) -> None:
    os.kill(aims.pid, 0)


def _read_an_environment(aims: Aims) -> None:
    with open(f"/proc/{aims.pid}/environ", "rb") as environment:
        environment.read()


def _trace_a_process(aims: Aims) -> None:
    kernel.call("ptrace", _SEIZE, aims.pid, 0, 0)
    os.kill(aims.pid, 0)


def _find_a_process(aims: Aims) -> None:
    if str(aims.pid) not in os.listdir("/proc"):
        raise ProcessLookupError("it is not in the list")


def _start_a_process(aims: Aims) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _run_a_program(aims: Aims) -> None:
    """A call that the kernel takes, and then finds to name no program."""
    try:
        kernel.call("execve", None, None, None)
    except OSError as error:
        if not isinstance(error, PermissionError):
            return
        raise


def _make_machine_code(aims: Aims) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _mount(aims: Aims) -> None:
    place = aims.folder.encode()
    kernel.call("mount", b"none", place, b"tmpfs", 0, None)
    kernel.call("umount2", place, _AT_ONCE)


def _take_more_memory(aims: Aims) -> None:
    bytearray(aims.memory)


def _raise_a_limit(aims: Aims) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
    except ValueError as error:  # as Python says that it is not permitted
        raise PermissionError(str(error)) from error


def _become_root(aims: Aims) -> None:
    os.setresuid(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to try, and the profiles that promise that it fails."""

    attempt: Attempt
    stopped_by: frozenset[str]


_EVERY = frozenset({WARM.name, FRESH.name, STRICT.name, NATIVE.name})
_JAILS = frozenset({STRICT.name, NATIVE.name})
_STRICT = frozenset({STRICT.name})

ACTS: Mapping[str, Act] = {
    "take_more_memory": Act(_take_more_memory, _EVERY),
    "read_a_file": Act(_read_a_file, _JAILS),
    "write_a_file": Act(_write_a_file, _JAILS),
    "make_a_file": Act(_make_a_file, _JAILS),
    "connect_by_tcp": Act(_connect_by_tcp, _JAILS),
    "connect_by_a_socket_file": Act(_connect_by_a_socket_file, _JAILS),
    "connect_by_an_abstract_socket": Act(_connect_by_an_abstract_socket, _JAILS),
    "signal_a_process": Act(_signal_a_process, _JAILS),
    "read_an_environment": Act(_read_an_environment, _JAILS),
    "trace_a_process": Act(_trace_a_process, _JAILS),
    "find_a_process": Act(_find_a_process, _JAILS),
    "mount": Act(_mount, _JAILS),
    "start_a_process": Act(_start_a_process, _STRICT),
    "run_a_program": Act(_run_a_program, _STRICT),
    "make_machine_code": Act(_make_machine_code, _STRICT),
    "raise_a_limit": Act(_raise_a_limit, _STRICT),
    "become_root": Act(_become_root, _STRICT),
}
