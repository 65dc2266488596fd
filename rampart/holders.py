"""Which processes hold the secrets of tools: workers, and no others.

What a process was started with can be read in /proc for as long as it lives, so a process that
has no use for them begins anew without them.
"""

import logging
import os
import sys
from typing import Any

from celery.signals import beat_init, celeryd_init
from django.conf import settings

from approvals.dispatch import queue_of
from sandbox import kernel
from tools import secrecy

log = logging.getLogger(__name__)


def hold_none() -> None:
    """Have no secret of a tool in the environment."""
    settings.RAMPART_ENVIRONMENT.forget(secrecy.variables())


def begin_with_none(program: str, *arguments: str) -> None:
    """Become this program, without the secrets of tools and what else `secrets.env` has added."""
    hold_none()
    os.execve(  # noqa: S606 - a fixed program of our own environment, no shell
        program, [program, *arguments], settings.RAMPART_ENVIRONMENT.inherited()
    )


@beat_init.connect
def beat_holds_none(**kwargs: object) -> None:
    """Beat runs no tool; where a worker embeds it, the worker does."""
    was_given_some = settings.RAMPART_ENVIRONMENT.inherited().keys() & secrecy.variables()
    if was_given_some and "beat" in sys.argv:
        begin_with_none(sys.executable, *sys.orig_argv[1:])


@celeryd_init.connect
def a_worker_keeps_them(options: dict[str, Any], **kwargs: object) -> None:
    """What a worker holds no tool can read; what it lacks is said now, not at the first call."""
    kernel.be_not_dumpable()
    queues = options.get("queues")
    for tool, reason in secrecy.lacking():
        if not queues or queue_of(tool.name) in queues:
            log.warning("%s can't be run here: %s", tool.name, reason)
