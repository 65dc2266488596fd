"""Guessing ends after twenty, for the guesser alone: a right key is let in, whoever guesses."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from audit.events import EventName
from audit.models import Event, local_now
from rampart.refusals import REFUSED
from tests.conftest import Agent, MakeAgent, at_once
from tools import guessing, identity, keys, rate_limits
from tools.errors import LimiterUnavailable
from tools.key_cabinet import revoke_key
from tools.models import RateWindow

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = "203.0.113.7", "203.0.113.8"
MOST = 20


def guess(address: str = HERE, text: str | None = None) -> Response:
    """One request with a key that is nobody's, or with this text."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text or keys.new_key().text}")
    answer: Response = client.get("/api/v1/tools", REMOTE_ADDR=address)
    return answer


def codes(*answers: Response) -> list[tuple[int, str]]:
    return [(answer.status_code, answer.json()["code"]) for answer in answers]


def wrong_secret_of(agent: Agent) -> str:
    return agent.key[:15] + keys.new_key().text[15:]


@pytest.mark.feature("I10")
def test_after_twenty_bad_keys_an_address_is_turned_away_and_told_for_how_long(store: str) -> None:
    assert {code for _, code in codes(*(guess() for _ in range(MOST)))} == {"invalid_credentials"}
    answer = guess()
    assert codes(answer) == [(429, "locked_out")]
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert codes(guess(ELSEWHERE)) == [(401, "invalid_credentials")]


@pytest.mark.feature("I10")
def test_a_right_key_is_let_in_from_where_others_have_guessed(agent: Agent, store: str) -> None:
    for _ in range(MOST + 1):
        guess("127.0.0.1")
    identity.forget_all()
    assert codes(guess("127.0.0.1")) == [(429, "locked_out")]
    assert agent.get("tools").status_code == 200


@pytest.mark.feature("I10")
def test_guesses_at_one_key_are_counted_wherever_they_come_from(agent: Agent, store: str) -> None:
    answers = [guess(f"198.51.100.{n}", wrong_secret_of(agent)) for n in range(MOST + 1)]
    assert codes(*answers)[-2:] == [(401, "invalid_credentials"), (429, "locked_out")]
    assert agent.get("tools").status_code == 200
    assert codes(guess("198.51.100.1")) == [(401, "invalid_credentials")]


@pytest.mark.feature("I10")
@pytest.mark.parametrize("known_prefix", [True, False])
def test_a_guesser_cannot_tell_a_wrong_secret_from_no_key(agent: Agent, known_prefix: bool) -> None:
    text = wrong_secret_of(agent) if known_prefix else keys.new_key().text
    answers = [guess(f"198.51.100.{n}", text) for n in range(MOST + 1)]
    bodies = [dict(answer.json(), request_id="") for answer in answers]
    assert codes(*answers) == [(401, "invalid_credentials")] * MOST + [(429, "locked_out")]
    assert bodies[0]["detail"] == "these credentials are not valid"
    assert not any(agent.row.prefix in str(body) for body in bodies)


@pytest.mark.feature("I10")
def test_neighbours_in_an_ipv6_network_are_one_guesser() -> None:
    for n in range(MOST):
        guess(f"2001:db8:1:1::{n:x}")
    assert codes(guess("2001:db8:1:1:ffff::1"), guess("2001:db8:1:2::1")) == [
        (429, "locked_out"),
        (401, "invalid_credentials"),
    ]


@pytest.mark.feature("I10")
def test_an_ipv4_address_is_one_guesser_however_it_is_written() -> None:
    for _ in range(MOST):
        guess(f"::ffff:{HERE}")
    assert codes(guess(HERE), guess(f"::ffff:{ELSEWHERE}")) == [
        (429, "locked_out"),
        (401, "invalid_credentials"),
    ]


@pytest.mark.feature("I10")
def test_a_forged_forwarded_address_does_not_help_a_guesser() -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {keys.new_key().text}")
    for n in range(MOST):
        client.get("/api/v1/tools", REMOTE_ADDR=HERE, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}")
    assert codes(guess()) == [(429, "locked_out")]


@pytest.mark.feature("I10")
def test_the_holder_of_a_right_but_ended_key_is_told_why_and_does_not_guess(agent: Agent) -> None:
    revoke_key(agent.row.prefix, by="test")
    identity.forget_all()
    answers = [agent.get("tools") for _ in range(MOST + 5)]
    assert set(codes(*answers)) == {(401, "key_revoked")}


@pytest.mark.feature("I10")
def test_who_comes_without_credentials_does_not_guess() -> None:
    answers = [APIClient().get("/api/v1/tools", REMOTE_ADDR=HERE) for _ in range(MOST + 2)]
    assert set(codes(*answers)) == {(401, "not_authenticated")}
    assert codes(guess()) == [(401, "invalid_credentials")]


@pytest.mark.feature("I10")
def test_other_refusals_have_an_end_too(settings: Settings) -> None:
    settings.RAMPART_REFUSALS_PER_MINUTE = 3
    answers = [APIClient().get("/api/v1/tools", REMOTE_ADDR=HERE) for _ in range(4)]
    assert codes(*answers)[2:] == [(401, "not_authenticated"), (429, "locked_out")]
    assert codes(APIClient().get("/api/v1/tools", REMOTE_ADDR=ELSEWHERE)) == [
        (401, "not_authenticated")
    ]


@pytest.mark.feature("I10", "U1")
def test_who_is_turned_away_has_one_line_and_not_one_for_each_attempt() -> None:
    for _ in range(MOST + 10):
        guess()
    assert Event.objects.filter(event=EventName.CREDENTIALS_REFUSED).count() == MOST
    line = Event.objects.get(event=EventName.CREDENTIALS_LOCKED_OUT)
    assert (line.reason, line.metadata["address"]) == ("invalid_credentials", HERE)


@pytest.mark.feature("I10")
@pytest.mark.django_db(transaction=True)
def test_guesses_at_the_same_instant_are_all_counted(store: str, settings: Settings) -> None:
    settings.RAMPART_GUESSES_PER_MINUTE = 5
    answers = at_once(8, lambda _: guess())
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 3


@pytest.mark.feature("I10")
def test_where_nothing_can_be_counted_a_bad_key_is_refused_all_the_same(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(_: Any) -> None:
        raise LimiterUnavailable

    monkeypatch.setattr(rate_limits, "count", count)
    assert codes(guess()) == [(401, "invalid_credentials")]
    assert agent.get("tools").status_code == 200
    assert not guessing.is_first_told(HERE)


@pytest.mark.feature("I10")
def test_a_limited_key_tried_from_elsewhere_is_told_so_and_not_locked(
    make_agent: MakeAgent,
) -> None:
    agent = make_agent(cidrs=("10.0.0.0/8",))
    answers = [guess(HERE, agent.key) for _ in range(MOST + 2)]
    assert set(codes(*answers)) == {(401, "key_not_allowed_here")}


@pytest.mark.feature("I10", "O1")
def test_refusals_are_counted_for_the_operator(settings: Settings) -> None:
    settings.RAMPART_GUESSES_PER_MINUTE = 1

    def counted(code: str) -> float:
        return REFUSED.labels(code)._value.get()

    before = counted("invalid_credentials"), counted("locked_out")
    guess(), guess(), guess()
    after = counted("invalid_credentials"), counted("locked_out")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 2)


@pytest.mark.feature("I10", "U1")
def test_refusals_of_a_right_key_are_told_however_many_others_there_were(
    agent: Agent, settings: Settings
) -> None:
    """Whoever has stolen a revoked key can't hide its use behind a noise of bad ones."""
    settings.RAMPART_REFUSALS_PER_MINUTE = 3
    revoke_key(agent.row.prefix, by="test")
    for _ in range(5):
        guess("127.0.0.1")
    identity.forget_all()
    assert codes(agent.get("tools")) == [(401, "key_revoked")]
    line = Event.objects.newest_first()[0]
    assert (line.event, line.reason) == (EventName.CREDENTIALS_REFUSED, "key_revoked")


@pytest.mark.feature("I10")
def test_whoever_is_turned_away_leaves_nothing_in_the_database(settings: Settings) -> None:
    settings.REDIS_URL = ""
    for _ in range(MOST):
        guess()
    guess()
    before = RateWindow.objects.count()
    for _ in range(5):
        guess()
    assert RateWindow.objects.count() == before


def test_windows_that_ended_a_day_ago_are_dropped(settings: Settings) -> None:
    settings.REDIS_URL = ""
    guess()
    kept = RateWindow.objects.count()
    rate_limits.forget_old(local_now())
    assert RateWindow.objects.count() == kept > 0
    rate_limits.forget_old(local_now() + timedelta(days=1, minutes=2))
    assert not RateWindow.objects.exists()


@pytest.mark.feature("U4")
def test_a_key_that_somebody_puts_into_an_address_is_not_recorded(agent: Agent) -> None:
    APIClient().get(f"/api/v1/invocations/{agent.key}")
    APIClient().get(f"/api/v1/tools/{agent.key}")
    assert Event.objects.newest_first()[0].reason == "not_authenticated"
    assert not any(agent.key[15:] in str(row) for row in Event.objects.values())
