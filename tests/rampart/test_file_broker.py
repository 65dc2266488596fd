"""The embedded broker under several processes at once."""

import threading
from collections import Counter
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

import rampart.celery  # noqa: F401 - puts our transport in kombu's place
from rampart.file_broker import Channel

MESSAGES = 200
THREADS = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The broker's folders, as `initialise` makes them."""
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    return tmp_path


def channel(folder: Path) -> Channel:
    """A channel of its own connection."""
    options = {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
    }
    made: Any = Connection("filesystem://localhost//", transport_options=options).channel()
    assert isinstance(made, Channel)
    return made


@pytest.mark.feature("K5")
def test_no_message_is_lost_read_twice_or_seen_half_written(folder: Path) -> None:
    taken: list[Any] = []
    errors: list[BaseException] = []
    sent = threading.Event()

    def publish(number: int) -> None:
        mine = channel(folder)
        for index in range(MESSAGES):
            body = f"{number}-{index}"
            known = {"delivery_tag": body, "padding": "x" * 5000}
            mine._put("default", {"body": body, "properties": known})

    def consume() -> None:
        mine = channel(folder)
        while True:
            done = sent.is_set()
            try:
                taken.append(mine._get("default")["body"])
            except Empty:
                if done:
                    return
            except BaseException as error:
                errors.append(error)
                return

    consumers = [threading.Thread(target=consume) for _ in range(THREADS)]
    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(THREADS)]
    for thread in consumers + publishers:
        thread.start()
    for thread in publishers:
        thread.join()
    sent.set()
    for thread in consumers:
        thread.join()
    assert errors == []
    expected = {f"{number}-{index}" for number in range(THREADS) for index in range(MESSAGES)}
    assert Counter(taken) == Counter(expected)


def test_queues_bound_at_once_are_all_known(folder: Path) -> None:
    barrier = threading.Barrier(8)

    def bind(number: int) -> None:
        mine = channel(folder)
        barrier.wait()
        mine._queue_bind("events", f"key{number}", "", f"queue{number}")

    threads = [threading.Thread(target=bind, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queues = {row.queue for row in channel(folder).get_table("events")}
    assert queues == {f"queue{number}" for number in range(8)}
