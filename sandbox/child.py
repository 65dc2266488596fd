"""The child's half: call the entry with one job and put its answer into one frame.

This is the process in which tool code runs. Whatever the tool does here may cost this process,
and nothing above it.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from sandbox import acts, kernel, protocol, resources
from sandbox.errors import LayerMissing
from sandbox.jail import Jail

Entry = Callable[[Any], Any]

PROGRESS_BYTES = 4096
PROGRESS_PER_SECOND = 10
_NAME_CHARACTERS = 200


class Channel:
    """The way to the supervisor; one frame at a time, also from a tool's threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._next_progress = 0.0

    def receive(self) -> Any:
        return protocol.receive(self._sock)

    def send(self, payload: bytes) -> None:
        with self._lock:
            self._sock.sendall(protocol.frame(payload))

    def send_progress(self, value: Any) -> None:
        payload = protocol.encode({"progress": value})
        now = time.monotonic()
        is_wanted = now >= self._next_progress and len(payload) <= PROGRESS_BYTES
        if is_wanted and os.getpid() == self._owner:  # a process the tool forked has no voice
            self._next_progress = now + 1 / PROGRESS_PER_SECOND
            self.send(payload)


_channel: Channel | None = None


def report_progress(value: Any) -> None:
    """Tell the caller how far the tool is; does nothing outside a child.

    More than a few a second or more than 4 KiB is dropped: progress is a hint, not a result.
    """
    if _channel is not None:
        _channel.send_progress(value)


def serve(sock: socket.socket, entry: Entry, *, parent: int, jail: Jail) -> NoReturn:
    """Answer one job, or as a warm child job after job, and never return to the caller's code."""
    global _channel
    code = 1
    try:
        _leave_the_parent(sock.fileno(), parent)
        if jail.profile.is_reused:
            kernel.adopt_orphans()
        _enter(jail, sock)
        _channel = Channel(sock)
        _answer_jobs(_channel, entry, jail.profile.is_reused)
        code = 0
    except EOFError:
        code = 0  # the supervisor has no more jobs
    finally:
        os._exit(code)


def _enter(jail: Jail, sock: socket.socket) -> None:
    """Put the jail on and say so: only then is the job sent. Or say why not, and end."""
    channel = Channel(sock)
    try:
        jail.enter()
    except LayerMissing as missing:
        channel.send(protocol.encode({"missing": missing.layer, "why": missing.why}))
        raise EOFError from missing
    channel.send(protocol.encode({"entered": jail.profile.name}))


def _leave_the_parent(result: int, parent: int) -> None:
    os.setsid()
    kernel.die_with(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _close_all_but(result)
    # `random` seeds itself anew after a fork; nothing to do for it here.


def _close_all_but(result: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, result)
    os.closerange(result + 1, os.sysconf("SC_OPEN_MAX"))


def _answer_jobs(channel: Channel, entry: Entry, warm: bool) -> None:
    calls = 0
    spent = False
    loaded = resources.most_resident_bytes() if warm else 0
    while not spent:
        request = channel.receive()  # after the fork: no job is ever in the zygote's memory
        calls += 1
        answer = _answer(request, entry)
        limits = request["limits"]
        spent = (
            not warm
            or "try" in request
            or calls >= limits["warm_calls"]
            or resources.most_resident_bytes() > loaded + limits["warm_growth_bytes"]
            or _left_something()
        )
        channel.send(_with_label(answer, request["id"], spent))


def _left_something() -> bool:
    """Whether the tool left a process or thread behind that would go on during the next job."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return len(os.listdir("/proc/self/task")) > 1
    return True


def _answer(request: Any, entry: Entry) -> bytes:
    """The answer's JSON without its label; the result's own bytes are counted, not the frame's."""
    limits = request["limits"]
    if "try" in request:
        return b'"end":"success","data":' + protocol.encode(acts.attempt(**request["try"]))
    if "job" not in request:  # the supervisor only asks whether anyone is here
        return b'"end":"success","data":null'
    os.environ.update(request["secrets"])
    try:
        result = entry(request["job"])
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the tool's too
        return _error(_name_of(error), _text_of(error), limits["error_characters"])
    try:
        data = protocol.encode(result)
    except BaseException as error:  # a hostile dict subclass may raise anything
        message = f"the tool's result is not JSON: {_text_of(error)}"
        return _error("TypeError", message, limits["error_characters"])
    if len(data) > limits["result_bytes"]:
        return b'"end":"too large"'
    return b'"end":"success","data":' + data


def _with_label(answer: bytes, label: str, spent: bool) -> bytes:
    opening = protocol.encode({"id": label, "spent": spent})[:-1]
    return opening + b"," + answer + b"}"


def _error(kind: str, message: str, characters: int) -> bytes:
    return protocol.encode(
        {"end": "error", "type": kind[:_NAME_CHARACTERS], "error": message[:characters]}
    )[1:-1]


def _name_of(error: BaseException) -> str:
    try:
        return _printable(type(error).__name__)
    except BaseException:
        return "Exception"


def _text_of(error: BaseException) -> str:
    try:
        return _printable(str(error))
    except BaseException:
        return "(its message cannot be printed)"


def _printable(text: str) -> str:
    """A true str that UTF-8 can carry; a subclass could act up again when it is cut."""
    return str.__str__(text).encode("utf-8", "replace").decode()
