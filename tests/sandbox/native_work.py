"""Ordinary work that a tool in the native jail must be able to do."""

import asyncio
import contextlib
import decimal
import hashlib
import io
import json
import logging
import math
import multiprocessing
import os
import pathlib
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
import zipfile
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sandbox.child import report_progress


def run(job):
    return WORK[job["do"]](job)


def temporary_files(job):
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"kept")
        file.flush()
        return pathlib.Path(file.name).read_text()


def database(job):
    with contextlib.closing(sqlite3.connect("/tmp/data.sqlite3")) as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
        connection.commit()
        return connection.execute("SELECT sum(n) FROM t").fetchone()[0]


def program(job):
    return subprocess.run(["/bin/true"], check=True).returncode


def another_python(job):
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    return json.loads(subprocess.check_output([sys.executable, "-c", code, "é"]))


def shell(job):
    pipe = "echo one two | tr ' ' '\\n' | wc -l; test -w /dev/null && echo > /dev/null"
    return int(subprocess.check_output(["/bin/sh", "-c", pipe]))


def threads(job):
    found = []
    started = [threading.Thread(target=found.append, args=(n,)) for n in range(20)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    return sum(found)


def many_processes(job):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def queue(job):
    context = multiprocessing.get_context("fork")
    way = context.Queue()
    other = context.Process(target=way.put, args=("said",))
    other.start()
    said = way.get(timeout=10)
    other.join()
    return said


def loop(job):
    async def main():
        await asyncio.sleep(0)
        done = await asyncio.create_subprocess_exec("/bin/echo", "x", stdout=subprocess.PIPE)
        return (await done.communicate())[0].decode()

    return asyncio.run(main())


def pool_of_threads(job):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(str.upper, "abc"))


def certificates(job):
    return ssl.create_default_context().check_hostname


def zones(job):
    there = zoneinfo.ZoneInfo("Europe/Vienna")
    return datetime(2026, 7, 1, tzinfo=UTC).astimezone(there).hour


def late_import(job):
    import sandbox_jobs

    return sandbox_jobs.echo("late")


def late_library(job):
    import xml.etree.ElementTree as tree

    return tree.fromstring("<a><b/></a>")[0].tag


def logs(job):
    stream = io.StringIO()
    logger = logging.getLogger("tool")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("%s", "said")
    return stream.getvalue()


def digests(job):
    return hashlib.file_digest(open(__file__, "rb"), "sha256").hexdigest() != ""


def numbers(job):
    return [
        str(decimal.Decimal("0.1") + decimal.Decimal("0.2")),
        math.isclose(math.pi, 22 / 7, rel_tol=0.001),
    ]


def archive(job):
    with zipfile.ZipFile("/tmp/a.zip", "w") as file:
        file.writestr("a.txt", "x" * 1000)
    return shutil.disk_usage("/tmp").total


def chance(job):
    return len({uuid.uuid4(), uuid.uuid1(), os.urandom(4)})


def clock(job):
    time.sleep(0.001)
    return abs(time.time() - job["now"]) < 60


def home(job):
    return [str(pathlib.Path.home()), os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~")]


def user(job):
    import getpass
    import pwd

    return [getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir]


def sockets_of_its_own(job):
    here, there = socket.socketpair()
    here.send(b"x")
    return there.recv(1).decode()


def read_granted(job):
    folder = pathlib.Path(job["read"])
    return sorted(path.name for path in folder.iterdir()), (folder / "file").read_text()


def write_granted(job):
    folder = pathlib.Path(job["write"])
    (folder / "below").mkdir(exist_ok=True)
    (folder / "draft").write_text("written")
    (folder / "draft").rename(folder / "below" / "made")
    with open(folder / "log", "a") as file:
        file.write("line\n")
    (folder / "old").unlink(missing_ok=True)
    return sorted(path.name for path in folder.iterdir())


def fetch(job):
    with urllib.request.urlopen(job["url"], timeout=10) as answer:
        return answer.read().decode()


def resolve(job):
    return socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0]


def progress(job):
    report_progress("from the tool")
    if (forked := os.fork()) == 0:
        report_progress("from what it forked")
        os._exit(0)
    os.waitpid(forked, 0)
    return "told"


WORK = {
    function.__name__: function
    for function in (
        temporary_files, database, program, another_python, shell, threads, many_processes, queue,
        loop, pool_of_threads, certificates, zones, late_import, late_library, logs, digests,
        numbers, archive, chance, clock, home, user, sockets_of_its_own, read_granted,
        write_granted, fetch, resolve, progress,
    )
}  # fmt: skip
