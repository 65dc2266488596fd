"""An issuer's keys: had when needed, not oftener, and not for ever."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from tests.conftest import at_once
from tests.stack import until
from tests.tools.tokens.conftest import Clock, code_of
from tests.tools.tokens.provider import Asked, Provider, Reply, as_json, jwk_of
from tools.tokens import fetching
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.jwks import KeySource, at_address, in_file


def number_of(source: KeySource, kid: str | None = "k1") -> str | None:
    """The name of the key that is found."""
    return source.key_for("RS256", kid).kid


def is_unavailable(source: KeySource, kid: str = "k1") -> bool:
    """Whether nothing can be told."""
    with pytest.raises(IssuerUnavailable):
        source.key_for("RS256", kid)
    return True


@pytest.fixture
def source(provider: Provider) -> KeySource:
    """The keys of a provider that publishes one."""
    provider.publishes(jwk_of("RS256"))
    return at_address(provider.url)


@pytest.mark.feature("I6")
def test_keys_are_fetched_once_for_many_tokens(provider: Provider, source: KeySource) -> None:
    for _ in range(20):
        assert number_of(source) == "k1"
    assert len(provider.asked) == 1


def test_nothing_is_fetched_before_it_is_needed(provider: Provider, source: KeySource) -> None:
    assert provider.asked == [] and at_address(provider.url) is source


@pytest.mark.feature("I6")
def test_after_five_minutes_they_are_fetched_anew(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    clock.forward(299)
    number_of(source)
    assert len(provider.asked) == 1
    provider.publishes(jwk_of("RS256", "k2"))
    clock.forward(2)
    assert code_of(number_of, source, "k1") == "unknown_signing_key"
    assert len(provider.asked) == 2


# Rotation, and names that nobody has published.


@pytest.mark.feature("I6")
def test_a_new_key_is_found_when_a_token_names_it(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    provider.publishes(jwk_of("RS256", "k1"), jwk_of("RS256", "k2", name="next"))
    clock.forward(30)
    assert number_of(source, "k2") == "k2"
    assert number_of(source, "k1") == "k1"
    assert len(provider.asked) == 2


@pytest.mark.feature("I6")
def test_made_up_names_cost_two_fetches_a_minute(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    for number in range(600):
        assert code_of(number_of, source, f"made-up-{number}") == "unknown_signing_key"
        clock.forward(0.1)
    assert len(provider.asked) == 2


@pytest.mark.feature("I6")
def test_a_name_that_many_want_at_once_is_fetched_once(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    clock.forward(30)
    provider.publishes(jwk_of("RS256", "k2"))
    assert at_once(8, lambda number: number_of(source, "k2")) == ["k2"] * 8
    assert len(provider.asked) == 2


@pytest.mark.feature("I6")
def test_those_who_come_first_at_once_make_one_fetch(provider: Provider, source: KeySource) -> None:
    """The first answer is held back until a second fetch has come, or long after it would have."""
    second = threading.Event()

    def answer(asked: Asked) -> Reply:
        if len(provider.asked) > 1:
            second.set()
        second.wait(0.5)
        return as_json({"keys": [jwk_of("RS256")]})

    provider.answer = answer
    assert at_once(6, lambda number: number_of(source)) == ["k1"] * 6
    assert len(provider.asked) == 1


@pytest.mark.feature("I6")
def test_a_known_key_does_not_wait_for_a_fetch(
    provider: Provider, source: KeySource, clock: Clock, monkeypatch: MonkeyPatch
) -> None:
    """One asks for a name that is looked for; meanwhile known keys are used, fresh and stale."""
    monkeypatch.setattr(fetching, "SECONDS", 20)
    number_of(source)
    held = threading.Event()
    provider.answer = lambda asked: as_json({"keys": [jwk_of("RS256")]}, until=held)
    for seconds in (40, 310):  # First fresh, then stale.
        clock.forward(seconds)
        seeker = threading.Thread(target=lambda: code_of(number_of, source, "unknown"))
        before = len(provider.asked)
        seeker.start()
        until(lambda before=before: len(provider.asked) > before)
        assert number_of(source) == "k1"
        assert seeker.is_alive()
        held.set()
        seeker.join(20)
        held.clear()


@pytest.mark.feature("I6")
def test_an_issuer_that_hangs_holds_half_of_the_threads_at_most(
    provider: Provider,
    source: KeySource,
    clock: Clock,
    settings: Settings,
    monkeypatch: MonkeyPatch,
) -> None:
    """Two of four wait for an unknown key; the third is refused at once, known keys go on."""
    settings.RAMPART_WEB_THREADS = 4
    monkeypatch.setattr(fetching, "SECONDS", 20)
    monkeypatch.setattr(fetching, "SECONDS_FOR_A_PLACE", 0.01)
    number_of(source)
    clock.forward(40)
    held = threading.Event()
    provider.answer = lambda asked: as_json({"keys": [jwk_of("RS256", "k2")]}, until=held)
    found: list[str | None] = []
    waiting = [
        threading.Thread(target=lambda: found.append(number_of(source, "k2"))) for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    until(lambda: fetching._places(2)._value == 0)
    assert is_unavailable(source, "k2")
    assert number_of(source) == "k1"
    held.set()
    for thread in waiting:
        thread.join(20)
    assert found == ["k2", "k2"] and len(provider.asked) == 2


def test_who_need_not_wait_needs_no_place(
    source: KeySource, settings: Settings, clock: Clock
) -> None:
    """A name that was looked for just now, and a known key, fresh or stale."""
    settings.RAMPART_WEB_THREADS = 4
    number_of(source)
    with fetching.place(), fetching.place():
        assert code_of(number_of, source, "made-up") == "unknown_signing_key"
        assert number_of(source) == "k1"
        clock.forward(310)
        assert number_of(source) == "k1"


# An issuer that does not answer.

FAULTS: dict[str, Callable[[Provider], Any]] = {
    "fails": lambda provider: provider.fails(),
    "says something else": lambda provider: provider.says(error="down"),
    "says too much": lambda provider: setattr(
        provider, "answer", lambda asked: Reply(b" " * (fetching.LARGEST + 1))
    ),
    "sends us elsewhere": lambda provider: setattr(
        provider, "answer", lambda asked: Reply(b"", 302, {"Location": provider.url})
    ),
    "is gone": lambda provider: provider.server.server_close(),
}


@pytest.mark.feature("I6")
@pytest.mark.parametrize("fault", FAULTS)
def test_known_keys_hold_for_an_hour_without_an_answer(
    provider: Provider, source: KeySource, clock: Clock, fault: str
) -> None:
    number_of(source)
    FAULTS[fault](provider)
    clock.forward(3590)
    assert number_of(source) == "k1"
    clock.forward(20)
    assert is_unavailable(source)


@pytest.mark.feature("I6")
@pytest.mark.parametrize("fault", FAULTS)
def test_without_any_key_nothing_can_be_told(
    provider: Provider, source: KeySource, fault: str
) -> None:
    FAULTS[fault](provider)
    assert is_unavailable(source)


@pytest.mark.feature("I6")
def test_an_issuer_that_is_down_is_asked_every_few_seconds_only(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    provider.fails()
    for _ in range(100):
        assert is_unavailable(source)
        clock.forward(0.1)
    assert len(provider.asked) == 2
    provider.publishes(jwk_of("RS256"))
    clock.forward(5)
    assert number_of(source) == "k1"


def test_a_stale_issuer_that_is_down_is_asked_twice_a_minute_only(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    provider.fails()
    clock.forward(301)
    for _ in range(59):
        assert number_of(source) == "k1"
        clock.forward(1)
    assert len(provider.asked) == 3


def test_an_unknown_name_is_unknown_while_other_keys_are_held(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    provider.fails()
    clock.forward(60)
    assert code_of(number_of, source, "k2") == "unknown_signing_key"


def test_an_issuer_may_take_all_its_keys_back(
    provider: Provider, source: KeySource, clock: Clock
) -> None:
    number_of(source)
    provider.publishes()
    clock.forward(301)
    assert code_of(number_of, source, "k1") == "unknown_signing_key"


def test_a_failure_is_logged_without_what_was_answered(
    provider: Provider, source: KeySource, caplog: LogCaptureFixture
) -> None:
    provider.answer = lambda asked: Reply(b"hush")
    with caplog.at_level(logging.WARNING):
        assert is_unavailable(source)
    (line,) = caplog.messages
    assert provider.url in line and "hush" not in line


# From a file.


@pytest.mark.feature("I6")
def test_keys_may_stand_in_a_file_that_is_replaced(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "keys.json"
    write(file, "k1")
    source = in_file(str(file))
    assert number_of(source) == "k1"
    write(file, "k2")
    assert code_of(number_of, source, "k2") == "unknown_signing_key"
    clock.forward(30)
    assert number_of(source, "k2") == "k2"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"keys":1}'])
def test_a_file_that_breaks_meanwhile_is_an_issuer_that_is_down(
    tmp_path: Path, clock: Clock, content: bytes
) -> None:
    file = tmp_path / "keys.json"
    write(file, "k1")
    source = in_file(str(file))
    number_of(source)
    file.write_bytes(content)
    clock.forward(1000)
    assert number_of(source) == "k1"
    file.unlink()
    clock.forward(3000)
    assert is_unavailable(source)


def write(file: Path, kid: str) -> None:
    """Publish one key in the file."""
    file.write_bytes(as_json({"keys": [jwk_of("RS256", kid)]}).body)
