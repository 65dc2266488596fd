"""The Celery application: `celery -A rampart worker` and `celery -A rampart beat`."""

import fcntl
import os
import tempfile

from celery import Celery
from celery.concurrency import prefork
from celery.signals import beat_init, celeryd_init
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel

from rampart.startup import exit_unless_sound

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

TRANSPORT_ALIASES["filesystem"] = "rampart.file_broker:Transport"

# What was taken and not begun need not go back: the queued row has it sent again. Putting it back
# while Redis is away ends the worker, and with it the calls that it runs (kombu 5.7).
Channel.do_restore = False


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
    """The pool of brokers without an event loop, such as ours on files: its children share a pipe.

    An idle child holds the pipe's lock while it listens. A semaphore that dies with its holder
    stays taken: the other children would wait for ever, and no call would be run any more.
    """

    def _setup_queues(self) -> None:
        super()._setup_queues()
        self._inqueue._rlock = LockOfTheLiving()
        self._outqueue._wlock = LockOfTheLiving()


prefork.TaskPool.BlockingPool = Pool

app = Celery("rampart")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def start_sound_or_not_at_all(**kwargs: object) -> None:
    """A worker with a wrong tool definition must not take work, nor beat settle what is lost."""
    exit_unless_sound()
