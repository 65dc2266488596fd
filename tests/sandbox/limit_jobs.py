"""Tools that use more than they may. Small sizes: they run on a machine that others use too."""

import os
import resource
import signal
import threading
import time

from sandbox_jobs import hang, note

MIB = 1024 * 1024
LOOKS_SECONDS = 0.3
"""In this time a keeper looks several times."""
leaked = []


def run(job):
    return globals()[job["do"]](**{name: value for name, value in job.items() if name != "do"})


def who():
    return os.getpid()


# Memory


def hold(megabytes, then="answer"):
    held = b"x" * (megabytes * MIB)
    time.sleep(LOOKS_SECONDS)
    if then == "hang":
        hang()
    return len(held)


def hold_in_forks(megabytes, count):
    for _ in range(count):
        if os.fork() == 0:
            hold(megabytes, then="hang")
    hang()


def hold_in_an_orphan(megabytes, notes):
    """Double fork, session of its own: nobody but the subreaper is its parent."""
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            note(notes)
            hold(megabytes, then="hang")
        os._exit(0)
    hang()


def hold_in_a_threads_child(megabytes, notes):
    def fork():
        if os.fork() == 0:
            note(notes)
            hold(megabytes, then="hang")
        hang()

    threading.Thread(target=fork, daemon=True).start()
    hang()


def hold_and_hop(megabytes):
    """On to a child of its own again and again, so that it is nowhere for long."""
    held = b"x" * (megabytes * MIB)
    if os.fork() == 0:
        while os.fork() == 0:
            pass
        os._exit(len(held) & 1)
    hang()


def hold_after_sigterm(megabytes):
    def stay(*_):
        hold(megabytes, then="hang")

    signal.signal(signal.SIGTERM, stay)
    hang()


def reserve(megabytes):
    """Address space that nothing is written to."""
    return len(bytearray(megabytes * MIB))


def leak(megabytes):
    leaked.append(b"x" * (megabytes * MIB))
    return os.getpid()


# Processor time


def burn(seconds, hears=True):
    if not hears:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while time.process_time() < seconds:
        pass
    return os.getpid()


def burn_once_more(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


def burn_in_forks(seconds, count, then="hang"):
    """Each of them alone stays below the limit."""
    pids = []
    for _ in range(count):
        pids.append(os.fork())
        if pids[-1] == 0:
            burn_once_more(seconds)
            os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)
    return hang() if then == "hang" else "done"


def burn_in_daemons(seconds, count):
    """One after the other, each an orphan that has ended before the next begins."""
    for _ in range(count):
        reader, writer = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                burn_once_more(seconds)
                os._exit(0)
            os._exit(0)
        os.close(writer)
        os.wait()
        os.read(reader, 1)  # the end of the pipe: the daemon has ended
        os.close(reader)
    return "done"


# Processes


def have_processes(count, then="answer"):
    for _ in range(count - 1):  # and itself
        if os.fork() == 0:
            hang()
    time.sleep(LOOKS_SECONDS)
    return hang() if then == "hang" else count


def have_had_daemons(count):
    for _ in range(count):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    time.sleep(LOOKS_SECONDS)
    return children_of_the_keeper()


def children_of_the_keeper():
    keeper = os.getppid()
    with open(f"/proc/{keeper}/task/{keeper}/children") as listing:
        return len(listing.read().split())


def have_had_children(count):
    """One after the other; it leaves them all unreaped."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    time.sleep(LOOKS_SECONDS)
    return children_of_the_keeper()


def fork_bomb(tokens, apart, notes):
    """Every process forks for as long as there are tokens, and then waits."""
    reader, writer = os.pipe()
    os.write(writer, b"." * tokens)
    os.set_blocking(reader, False)
    note(notes)
    while True:
        try:
            os.read(reader, 1)
        except BlockingIOError:
            hang()
        if os.fork() == 0:
            if apart:
                os.setsid()
            note(notes)


# What each process has


def open_files(count):
    return len([os.open(os.devnull, os.O_RDONLY) for _ in range(count)])


def descriptors_in_use():
    return len(os.listdir("/proc/self/fd")) - 1  # the listing's own


def write_file(path, size):
    with open(path, "wb") as file:
        file.write(b"x" * size)
    return os.stat(path).st_size


def limits_that_hold():
    names = ("AS", "CORE", "CPU", "FSIZE", "NOFILE")
    return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names}


def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)
    return "went on"


def sleep(seconds):
    time.sleep(seconds)
    return os.getppid()
