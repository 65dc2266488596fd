"""Jobs that are given secrets. Loaded below a zygote only."""

import ctypes
import os
import time

_PR_GET_DUMPABLE = 3


def run(job):
    return globals()[job["do"]](**{name: value for name, value in job.items() if name != "do"})


def environment():
    return dict(os.environ)


def initial_environment():
    with open("/proc/self/environ") as file:
        return file.read()


def dumpable():
    return ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE)


def wait(notes, go):
    """Say who it is and who stands above it, and go on when a file appears."""
    with open(f"{notes}.part", "w") as file:
        file.write(f"{os.getpid()} {os.getppid()}")
    os.rename(f"{notes}.part", notes)
    while not os.path.exists(go):
        time.sleep(0.01)
    return len(os.environ["KEY"])
