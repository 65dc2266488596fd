"""A root of its own: read-only, and of the machine only what a tool needs and what it is granted.

It is a small file system in memory, onto which copies of the machine's folders are mounted one by
one; what is not mounted is not there. What could be looked at with rights that the tool does not
have is no question of rights any more: there is no path to it.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

from sandbox import mounts
from sandbox.errors import LayerMissing
from sandbox.layers import Layer
from sandbox.mounts import NO_DEVICES, NO_PROGRAMS, NO_SETUID, READ_ONLY
from sandbox.namespaces import ID_INSIDE
from sandbox.profiles import Grants

SCRATCH = "/tmp"
"""Its own, in memory: where it may always write, is at home, and begins."""

NEVER_GRANTED = ("/proc", "/sys", "/dev")
"""Views of the machine and the ways to it, not files: nothing of them can be granted."""

_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_NETWORK = (
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
)
_IMPORTABLE = (".py", ".pyc", ".so")

_FILES = {
    "/etc/passwd": f"tool:x:{ID_INSIDE}:{ID_INSIDE}::{SCRATCH}:/bin/sh\n".encode(),
    "/etc/group": f"tool:x:{ID_INSIDE}:\n".encode(),
}
_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/shm": SCRATCH,  # where the C library keeps semaphores
}
_BASE = "/tmp"
"""Any folder at all: the new root is mounted over it until it is the root."""

_CLOSED = NO_SETUID | NO_DEVICES
_SHOWN = READ_ONLY | _CLOSED
_WRITABLE = _CLOSED | NO_PROGRAMS
_ROOT_SIZE = "size=1m,nr_inodes=4096,mode=755"
_SCRATCH_INODES = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Something of the machine that is shown at the same path inside."""

    path: str
    attributes: int = _SHOWN
    is_granted: bool = False


def fault_of_grant(path: str) -> str | None:
    """Why a path can never be granted; None if it can be."""
    is_absolute = path.startswith("/") and not path.startswith(
        "//"
    )  # two are another root to POSIX
    if not is_absolute or "\0" in path or os.path.normpath(path) != path:
        return "is not an absolute path in its shortest form"
    if path == "/" or is_below(path, NEVER_GRANTED):
        return "is the machine itself, not a folder of files"
    if path == SCRATCH:
        return "is where the jail's own scratch is"
    return None


def enter(grants: Grants, scratch_bytes: int) -> None:
    """Make such a root and go into it; a grant that cannot be given is LayerMissing."""
    mounts.have_own()
    copies = {place.path: _copy(place) for place in _places(grants)}
    mounts.make("tmpfs", _BASE, _CLOSED, _ROOT_SIZE)
    _furnish(scratch_bytes, _LINKS | _wanted(grants.network)[1])
    for path, tree in copies.items():
        if tree is not None:
            _stand_in(_BASE + path, tree)
            mounts.attach(tree, _BASE + path)
    _show_processes()
    mounts.restrict(_BASE, _SHOWN)
    mounts.make_root(_BASE)
    os.stat(os.__file__)  # a jail without its standard library is none that could run anything
    os.chdir(SCRATCH)
    os.environ.update(HOME=SCRATCH, TMPDIR=SCRATCH)


def readable(grants: Grants) -> list[str]:
    """Every path that a jailed tool may read, as far as it is there."""
    own = ["/proc", SCRATCH, *_FILES]
    return list(filter(os.path.exists, [*own, *(place.path for place in _places(grants))]))


def writable(grants: Grants) -> list[str]:
    """Every path that a jailed tool may write."""
    return [SCRATCH, *_DEVICES, *grants.write]


def look_around() -> None:
    """Find out what a root needs, once for all that are forked from here."""
    for network in (False, True):
        _needed(network)


def _places(grants: Grants) -> list[Place]:
    """What is shown, each folder before what lies in it, and a grant over what was there."""
    shown = {place.path: place for place in _needed(grants.network)}
    shown |= {path: Place(path, _SHOWN, True) for path in grants.read}
    shown |= {path: Place(path, _WRITABLE, True) for path in grants.write}
    return [shown[path] for path in sorted(shown)]


@cache
def _wanted(network: bool) -> tuple[list[str], dict[str, str]]:
    """What is there of it: paths to show, and links that lead to one of these."""
    wanted = [*_SYSTEM, *_CONFIGURATION, *(_NETWORK if network else ()), *_code()]
    there = [path for path in _outermost(wanted) if os.path.exists(path)]
    leading = {path: to for path in there if (to := os.path.realpath(path)) != path}
    shown = [path for path in there if path not in leading]
    links = {path: to for path, to in leading.items() if is_below(to, shown)}
    return [path for path in there if path not in links], links


@cache
def _needed(network: bool) -> tuple[Place, ...]:
    folders = [Place(path) for path in _wanted(network)[0]]
    devices = [Place(path, READ_ONLY | NO_SETUID | NO_PROGRAMS) for path in _DEVICES]
    return (*folders, *devices)


def _code() -> Iterator[str]:
    """The interpreter, its environment, and whatever can be imported."""
    homes = {sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix}
    yield from homes
    yield from map(os.path.realpath, homes)
    for folder in sys.path:
        if not is_below(folder, homes | set(_SYSTEM)):
            yield from _importable(folder)


def _importable(folder: str) -> Iterator[str]:
    """Not the whole folder: beside the code a project keeps its secrets and its data."""
    if os.path.isfile(folder):  # a zip file
        yield folder
    for entry in _entries(folder):
        is_package = os.path.exists(os.path.join(entry.path, "__init__.py"))
        if is_package or entry.name.endswith(_IMPORTABLE):
            yield entry.path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:  # named in the search path, and not there or not ours
        return []


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of the folders or lies in one; both without dots and links."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _outermost(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in sorted(set(paths)):
        if not is_below(path, found):
            found.append(path)
    return found


def _copy(place: Place) -> int | None:
    """None: it was removed since we looked around, as a deployment may do."""
    try:
        descriptor = os.open(place.path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if place.is_granted:
            why = f"granted path {place.path}: {error.strerror}"
            raise LayerMissing(Layer.PRIVATE_ROOT, why) from error
        if isinstance(error, FileNotFoundError):
            return None
        raise
    try:
        if place.is_granted:
            _refuse_link(place.path, descriptor)
        return mounts.copy(descriptor, place.attributes)
    finally:
        os.close(descriptor)


def _refuse_link(path: str, descriptor: int) -> None:
    """What was opened is asked where it is: the path itself may have changed meanwhile."""
    leads_to = os.readlink(f"/proc/self/fd/{descriptor}")
    if leads_to != path:
        why = f"granted path {path} leads to {leads_to}: grant that"
        raise LayerMissing(Layer.PRIVATE_ROOT, why)


def _furnish(scratch_bytes: int, links: Mapping[str, str]) -> None:
    for folder in ("/dev", "/etc", "/proc", SCRATCH):
        os.mkdir(_BASE + folder)
    options = f"size={scratch_bytes},nr_inodes={_SCRATCH_INODES},mode=700"
    mounts.make("tmpfs", _BASE + SCRATCH, _WRITABLE, options)
    for path, text in _FILES.items():
        file = os.open(_BASE + path, os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(file, text)
        os.close(file)
    for path, target in links.items():
        _in_its_folder(_BASE + path, partial(os.symlink, target))


def _stand_in(path: str, tree: int) -> None:
    """Something to mount over: an empty folder or file, unless there is one already."""
    with contextlib.suppress(FileExistsError):
        _in_its_folder(path, os.mkdir if stat.S_ISDIR(os.fstat(tree).st_mode) else os.mknod)


def _in_its_folder(path: str, make: Callable[[str], None]) -> None:
    """Make it, and the folder for it only if that turns out to be missing: most are there."""
    try:
        make(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
        make(path)


def _show_processes() -> None:
    """Its own processes but the first, and nothing else of /proc; no /proc where that can't be."""
    with contextlib.suppress(PermissionError):  # a container may hide parts of its own /proc
        mounts.make("proc", _BASE + "/proc", _SHOWN | NO_PROGRAMS, "subset=pid,hidepid=ptraceable")
