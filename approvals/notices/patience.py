"""Waiting no longer than was said: for what has time-outs for each step, but none for the whole."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """What it returns, or a TimeoutError; what then still hangs ends by itself."""
    done: Future[T] = Future()
    threading.Thread(target=_settle, args=(done, act), name="patience", daemon=True).start()
    return done.result(seconds)


def _settle(done: "Future[T]", act: Callable[[], T]) -> None:
    try:
        done.set_result(act())
    except Exception as error:  # It is raised where it is waited for.
        done.set_exception(error)
