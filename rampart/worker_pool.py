"""The worker's pool for brokers without an event loop, such as ours on files."""

import fcntl
import tempfile

from celery.concurrency import prefork


class LockOfTheLiving:
    """A lock between processes that the kernel frees when the one that holds it dies."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the pool

    def acquire(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Pool(prefork.BlockingPool):  # type: ignore[name-defined,misc]  # it has no types
    """A pool whose children share a pipe, and which a dying child can't stop.

    An idle child holds the pipe's lock while it listens. A semaphore that dies with its holder
    stays taken: the other children would wait for ever, and no call would be run any more.
    """

    def _setup_queues(self) -> None:
        super()._setup_queues()
        self._inqueue._rlock = LockOfTheLiving()
        self._outqueue._wlock = LockOfTheLiving()


def install() -> None:
    """Have Celery's prefork pool use ours where its broker has no event loop."""
    prefork.TaskPool.BlockingPool = Pool
