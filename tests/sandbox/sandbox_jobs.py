"""Tools for the workshop's tests, most of them ill-behaved. Loaded below a zygote only."""

import ctypes
import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from sandbox.child import report_progress

calls = 0

# What a module may do while it is imported, and no run may notice:
os.environ["SET_BY_A_MODULE"] = "yes"
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGUSR2, lambda *_: None)
os.dup2(os.open("/dev/zero", os.O_RDWR), 1)


def run(job):
    return globals()[job["do"]](**{name: value for name, value in job.items() if name != "do"})


def entry_that_is_no_function(job):
    raise AssertionError


def echo(value=None):
    return value


def count():
    global calls
    calls += 1
    return {"pid": os.getpid(), "calls": calls}


# Time


def hang():
    while True:
        time.sleep(60)


def hang_ignoring_sigterm(notes):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(notes)
    hang()


def hang_in_c(notes):
    """One call that never comes back to the interpreter and sees no handler run."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    note(notes)
    ctypes.PyDLL(None).sleep(600)  # holds the GIL, so no Python code can run beside it
    while True:
        ctypes.PyDLL(None).sleep(600)


def append_for_ever(path):
    with open(path, "a", buffering=1) as file:
        while True:
            file.write("x\n")
            time.sleep(0.001)


def leave_cleanly_on_sigterm(path):
    def leave(*_):
        with open(path, "w") as file:
            file.write("bye")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    report_progress("ready")
    hang()


# Forks


def note(path, pid=None):
    with open(path, "a") as file:
        file.write(f"{pid or os.getpid()}\n")


def fork_sleep(seconds, then, notes=None):
    process = subprocess.Popen(["sleep", seconds])
    if notes:
        note(notes, process.pid)
    return _then(then)


def fork_with_setsid(notes, then):
    note(notes)
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(notes)
        hang()
    _wait_for_lines(notes, 2)
    return _then(then)


def fork_daemon(notes, then):
    """Double fork, session of its own, descriptors closed: as daemons do."""
    note(notes)
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note(notes)
            hang()
        os._exit(0)
    os.waitpid(middle, 0)
    _wait_for_lines(notes, 2)
    return _then(then)


def hang_as_a_deep_tree(notes, depth):
    """Each process in a session of its own, with two more below it, and a line for each."""
    for _ in range(depth):
        for _ in range(2):
            if os.fork() == 0:
                os.setsid()
                break  # and go on as a parent of two
        else:
            break
    note(notes)
    hang()


def stop_the_keeper(notes):
    note(notes)
    if os.fork() == 0:
        os.setsid()
        note(notes)
        hang()
    _wait_for_lines(notes, 2)
    os.kill(os.getppid(), signal.SIGSTOP)
    hang()


def kill_the_keeper(notes):
    if os.fork() == 0:
        os.setsid()
        note(notes)
        hang()
    _wait_for_lines(notes, 1)
    os.kill(os.getppid(), signal.SIGKILL)
    hang()


def kill_all_above(notes):
    """First the keeper is stopped, so that it cannot act when it sees the zygote gone."""
    note(notes)
    keeper = os.getppid()
    with open(f"/proc/{keeper}/stat") as stat:
        zygote = int(stat.read().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGSTOP)
    os.kill(zygote, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    hang()


def note_and_hang(notes):
    note(notes)
    hang()


def _then(then):
    if then == "hang":
        hang()
    if then == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return then


def _wait_for_lines(path, count):
    while True:
        with open(path, "a+") as file:  # made here if the other is not that far yet
            file.seek(0)
            if len(file.read().split()) >= count:
                return
        time.sleep(0.002)


# Answers


def text_of_json_size(size):
    return "x" * (size - 2)  # the quotes count


def pairs_of(count):
    return {str(number): [number, None, True, "é"] for number in range(count)}


def object_without_json():
    return {1, 2, 3}


def not_a_number():
    return float("nan")


def half_a_surrogate_pair():
    return "\ud800"


def a_circle():
    circle = []
    circle.append(circle)
    return circle


class Explosive(Exception):
    def __str__(self):
        raise RuntimeError("no message for you")


class Enormous(Exception):
    def __str__(self):
        return "m" * 50_000_000


class SliceBomb(str):
    __slots__ = ()

    def __getitem__(self, key):
        raise RuntimeError

    def encode(self, *_):
        raise RuntimeError


class Sly(Exception):
    def __str__(self):
        return SliceBomb("sly")


def fail(kind, message="it went wrong"):
    raise {
        "ValueError": ValueError,
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "MemoryError": MemoryError,
        "Explosive": Explosive,
        "Enormous": Enormous,
        "Sly": Sly,
    }[kind](message)


def fail_with_half_a_pair():
    raise ValueError("half \ud800 a pair")


def recurse():
    return recurse()


def ask_for_too_much_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    return len(bytearray(1 << 31))


def exit_without_answer(code):
    os._exit(code)


def die_of(number):
    signal.signal(number, signal.SIG_DFL) if number not in (9, 19) else None
    os.kill(os.getpid(), number)
    hang()


# Lies on the result's socket


def result_descriptor():
    found = [fd for fd in descriptors() if fd > 2]
    assert len(found) == 1, found
    return found[0]


def write_raw(text, then="hang"):
    os.write(result_descriptor(), text.encode("latin-1"))
    return _then(then)


def write_frame(payload, then="hang"):
    data = payload.encode()
    os.write(result_descriptor(), struct.pack(">I", len(data)) + data)
    return _then(then)


def claim_four_gigabytes():
    os.write(result_descriptor(), b"\xff\xff\xff\xff")
    hang()


def close_the_socket(then):
    os.close(result_descriptor())
    return _then(then)


def hand_the_socket_on_and_die(notes):
    if os.fork() == 0:
        os.setsid()
        note(notes)
        hang()
    _wait_for_lines(notes, 1)
    os._exit(0)


def flood():
    frame = b'{"progress":1}'
    data = (struct.pack(">I", len(frame)) + frame) * 1000
    sock = socket.socket(fileno=result_descriptor())
    while True:
        sock.sendall(data)


# Surroundings


def descriptors():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the listing's own
        found.append(int(name))
    return sorted(found)


def where_descriptors_lead():
    return {str(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in descriptors()}


def surroundings():
    with open("/proc/self/environ", errors="replace") as file:
        initial = file.read()
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {
        "no_new_rights": status["NoNewPrivs"],
        "environ": dict(os.environ),
        "initial": initial,
        "modules": sorted(sys.modules),
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "group": os.getpgid(0),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "threads": threading.active_count(),
        "ignored": int(status["SigIgn"], 16),
        "caught": int(status["SigCgt"], 16),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    }


def change_environment():
    os.environ["LEFT_BEHIND"] = "yes"
    return dict(os.environ)


def random_number():
    return random.random()


def print_a_lot():
    print("x" * 200_000)
    sys.stderr.write("y" * 200_000)
    return sys.stdin.read()


def name_of_job_in_parent(secret):
    """Whether the job's text is anywhere in the memory of the keeper or the zygote."""
    found = []
    keeper = os.getppid()
    with open(f"/proc/{keeper}/stat") as stat:
        zygote = int(stat.read().rpartition(")")[2].split()[1])
    for pid in (keeper, zygote):
        found.append(_memory_holds(pid, secret.encode()))
    return found


def _memory_holds(pid, needle):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "w" not in rights:
                continue
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


# Warm processes


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()


def leave_a_process(notes):
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note(notes, process.pid)
    return os.getpid()


def leave_an_orphan(notes):
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            os.setsid()
            note(notes)
            hang()
        os._exit(0)
    os.waitpid(middle, 0)
    _wait_for_lines(notes, 1)
    return os.getpid()


def answer_twice(value):
    """The real answer comes after a forged one and must not reach the next caller."""
    _forge("forged")
    time.sleep(0.05)
    return value


def answer_and_work_on(seconds):
    _forge("early")
    time.sleep(seconds)


def _forge(data):
    frame = sys._getframe()
    while "request" not in frame.f_locals:
        frame = frame.f_back
    label = frame.f_locals["request"]["id"]
    payload = json.dumps({"id": label, "spent": False, "end": "success", "data": data})
    write_frame(payload, then=None)


# Progress


def progress(values, wait=0.0):
    for value in values:
        report_progress(value)
        time.sleep(wait)
    return "done"


def progress_from_a_fork():
    pid = os.fork()
    if pid == 0:
        report_progress("from the fork")
        os._exit(0)
    os.waitpid(pid, 0)
    report_progress("from the tool")
