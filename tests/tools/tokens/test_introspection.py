"""Opaque tokens: their provider is asked, seldom, and believed only where it is plain."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import Settings

from tests.conftest import at_once
from tests.stack import until
from tests.tools.tokens.conftest import Clock, code_of
from tests.tools.tokens.provider import AUDIENCE, ISSUER, Asked, Json, Provider, Reply, as_json
from tools.tokens import fetching, introspection
from tools.tokens.claims import Service
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.introspection import Introspection
from tools.tokens.issuers import Issuer

OPAQUE = "an-opaque-token"
A_DAY = 86_400
"""Some answers are made up when the tests are collected, long before they are given."""


def active(**changed: Any) -> Json:
    """What is said of a good token; a member set to None is left out."""
    usual = {
        "active": True, "iss": ISSUER, "aud": AUDIENCE, "sub": "billing-agent",
        "scope": "orders.read refunds.write", "exp": int(time.time()) + A_DAY,
        "token_type": "Bearer",
    }  # fmt: skip
    return {name: value for name, value in (usual | changed).items() if value is not None}


def endpoint(provider: Provider, **changed: Any) -> Introspection:
    """The provider as it is configured."""
    usual: dict[str, Any] = {
        "name": ISSUER, "audiences": frozenset({AUDIENCE}), "required": frozenset({"aud"}),
    }  # fmt: skip
    issuer = Issuer(**(usual | changed))
    return Introspection(provider.url, "my id:&", "hush+ hush", issuer)


@pytest.fixture
def asking(provider: Provider) -> Introspection:
    """An endpoint that finds every token good."""
    provider.says(**active())
    return endpoint(provider)


def is_unavailable(asking: Introspection, text: str = OPAQUE) -> bool:
    """Whether nothing can be told."""
    with pytest.raises(IssuerUnavailable):
        asking.service_of(text)
    return True


# Asked and answered.


@pytest.mark.feature("I6")
def test_an_active_token_stands_for_its_service(asking: Introspection) -> None:
    found = asking.service_of(OPAQUE)
    assert (found.issuer, found.subject) == (ISSUER, "billing-agent")
    assert found.scopes == ("orders.read", "refunds.write")
    assert found.good_until is not None
    assert A_DAY + 25 < found.good_until.timestamp() - time.time() <= A_DAY + 30


@pytest.mark.feature("I6")
def test_the_provider_is_asked_as_the_standards_say(
    provider: Provider, asking: Introspection
) -> None:
    """RFC 7662, 2.1; id and secret form-encoded before HTTP's encoding (RFC 6749, 2.3.1)."""
    asking.service_of("a+b/c==")
    (asked,) = provider.asked
    assert asked.method == "POST"
    assert asked.form == {"token": "a+b/c==", "token_type_hint": "access_token"}
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    # base64 of `my+id%3A%26:hush%2B+hush`
    assert asked.headers["Authorization"] == "Basic bXkraWQlM0ElMjY6aHVzaCUyQitodXNo"


@pytest.mark.feature("I6")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"active": False}, "token_inactive"),
        (active(active=False), "token_inactive"),
        (active(exp=1), "token_expired"),
        (active(exp=-1), "token_expired"),
        (active(exp="soon"), "token_incomplete"),
        (active(exp=True), "token_incomplete"),
        (active(exp=10**13), "token_incomplete"),
        (active(nbf=200_000_000_000), "token_not_yet_valid"),
        (active(aud=None), "token_incomplete"),
        (active(aud="other"), "wrong_audience"),
        (active(iss="https://other.example"), "wrong_issuer"),
        (active(iss=5), "token_incomplete"),
        (active(sub=None), "token_incomplete"),
        (active(sub=""), "token_incomplete"),
        (active(scope=5), "token_incomplete"),
        (active(cnf={"x5t#S256": "x"}), "token_incomplete"),
        (active(token_use="refresh_token"), "token_inactive"),
        (active(token_usage="refresh_token"), "token_inactive"),
        (active(typ="Refresh"), "token_inactive"),
        (active(typ="ID"), "token_inactive"),
        (active(token_type="DPoP"), "token_inactive"),
    ],
    ids=str,
)
def test_what_is_not_for_us_now_is_refused(provider: Provider, answer: Json, code: str) -> None:
    provider.says(**answer)
    assert code_of(endpoint(provider).service_of, OPAQUE) == code


def test_the_issuer_need_not_be_named_again(provider: Provider) -> None:
    provider.says(**active(iss=None))
    assert endpoint(provider).service_of(OPAQUE).issuer == ISSUER
    unnamed = endpoint(provider, name="")
    assert unnamed.service_of(OPAQUE).issuer == "urn:rampart:unnamed-issuer"


def test_the_actor_may_be_the_client(provider: Provider) -> None:
    provider.says(**active(sub=None, client_id="robot"))
    assert endpoint(provider, actor_claim="client_id").service_of(OPAQUE).actor == "robot"


# No answer, or an odd one.

ODD: list[Reply] = [
    as_json({}),
    as_json({"active": "true"}),
    as_json({"active": "false"}),
    as_json({"active": 1}),
    as_json({"active": None}),
    as_json({"active": [True]}),
    as_json([{"active": True}]),
    as_json(True),
    Reply(b'{"active":true,"active":false}'),
    Reply(b'{"active":true'),
    Reply(b'{"active":true,"exp":1e999}'),
    Reply(b"active=true"),
    Reply(b'{"active":true}' + b" " * fetching.LARGEST),
    as_json(active(), status=201),
    as_json(active(), status=302, headers={"Location": "/"}),
    as_json(active(), status=401),
    as_json(active(), status=500),
]


@pytest.mark.feature("I6")
@pytest.mark.parametrize("reply", ODD, ids=lambda reply: f"{reply.status} {reply.body[:30]!r}")
def test_an_odd_answer_lets_nobody_in(provider: Provider, reply: Reply) -> None:
    provider.answer = lambda asked: reply
    assert is_unavailable(endpoint(provider))


@pytest.mark.feature("I6")
def test_a_provider_that_is_gone_lets_nobody_in_whom_it_has_not_let_in(
    provider: Provider, asking: Introspection
) -> None:
    asking.service_of(OPAQUE)
    provider.server.shutdown()
    provider.server.server_close()
    assert is_unavailable(asking, "another")
    assert asking.service_of(OPAQUE)


@pytest.mark.feature("I6")
def test_no_answer_is_not_remembered(provider: Provider) -> None:
    asking = endpoint(provider)
    provider.fails()
    assert is_unavailable(asking)
    provider.says(**active())
    assert asking.service_of(OPAQUE)


@pytest.mark.feature("I6")
@pytest.mark.parametrize("texts", ["abc", "aaa"])
def test_a_provider_that_hangs_holds_half_of_the_threads_at_most(
    provider: Provider, settings: Settings, monkeypatch: MonkeyPatch, texts: str
) -> None:
    """Two of four wait; the third is refused at once, before the first two have given up."""
    settings.RAMPART_WEB_THREADS = 4
    monkeypatch.setattr(fetching, "SECONDS", 20)
    monkeypatch.setattr(fetching, "SECONDS_FOR_A_PLACE", 0.01)
    held = threading.Event()
    provider.answer = lambda asked: as_json(active(), until=held)
    asking = endpoint(provider)
    found: list[Service] = []
    waiting = [
        threading.Thread(target=lambda text=text: found.append(asking.service_of(text)))
        for text in texts[:2]
    ]
    for thread in waiting:
        thread.start()
    until(lambda: fetching._places(2)._value == 0)
    assert is_unavailable(asking, texts[2])
    held.set()
    for thread in waiting:
        thread.join(20)
    assert len(found) == 2 and len(provider.asked) == len(set(texts[:2]))
    assert asking.service_of(texts[2])


# Remembered.


@pytest.mark.feature("I6", "R23")
def test_a_good_token_is_asked_about_once_a_minute(
    provider: Provider, asking: Introspection, clock: Clock
) -> None:
    for _ in range(59):
        asking.service_of(OPAQUE)
        clock.forward(1)
    assert len(provider.asked) == 1
    clock.forward(1.5)
    provider.says(active=False)
    assert code_of(asking.service_of, OPAQUE) == "token_inactive"


@pytest.mark.feature("R23")
def test_a_token_is_never_remembered_beyond_its_end(provider: Provider, clock: Clock) -> None:
    provider.says(**active(exp=int(time.time()) + 10))
    asking = endpoint(provider, leeway=0.0)
    asking.service_of(OPAQUE)
    clock.forward(11)
    assert code_of(asking.service_of, OPAQUE) == "token_expired"
    assert len(provider.asked) == 2


@pytest.mark.feature("R23")
def test_a_token_that_never_ends_is_asked_about_again_soon(
    provider: Provider, clock: Clock
) -> None:
    provider.says(**active(exp=None))
    asking = endpoint(provider)
    assert asking.service_of(OPAQUE).good_until is None
    clock.forward(29)
    asking.service_of(OPAQUE)
    assert len(provider.asked) == 1
    provider.says(active=False)
    clock.forward(2)
    assert code_of(asking.service_of, OPAQUE) == "token_inactive"


@pytest.mark.feature("I6")
def test_a_refusal_is_remembered_for_ten_seconds(provider: Provider, clock: Clock) -> None:
    provider.says(active=False)
    asking = endpoint(provider)
    for _ in range(9):
        assert code_of(asking.service_of, OPAQUE) == "token_inactive"
        clock.forward(1)
    assert len(provider.asked) == 1
    provider.says(**active())
    clock.forward(1.5)
    assert asking.service_of(OPAQUE)


@pytest.mark.feature("R23")
def test_memory_has_an_end_and_the_newest_stay(
    provider: Provider, asking: Introspection, monkeypatch: MonkeyPatch
) -> None:
    assert introspection.MOST_REMEMBERED == 10_000
    monkeypatch.setattr(introspection, "MOST_REMEMBERED", 10)
    for number in range(30):
        asking.service_of(f"token-{number}")
    assert len(asking._good.verdicts) == 10
    for number in range(20, 30):
        asking.service_of(f"token-{number}")
    assert len(provider.asked) == 30


@pytest.mark.feature("R23")
def test_strangers_do_not_push_good_tokens_out_of_memory(
    provider: Provider, asking: Introspection, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "MOST_REMEMBERED", 10)
    asking.service_of(OPAQUE)
    provider.says(active=False)
    for number in range(30):
        code_of(asking.service_of, f"made-up-{number}")
    assert len(asking._bad.verdicts) == 10
    assert asking.service_of(OPAQUE)
    assert len(provider.asked) == 31


@pytest.mark.feature("R23")
def test_of_a_token_only_its_digest_is_remembered(asking: Introspection) -> None:
    asking.service_of(OPAQUE)
    assert list(asking._good.verdicts) == [hashlib.sha256(OPAQUE.encode()).digest()]
    assert OPAQUE not in repr(vars(asking))


def test_a_failure_is_logged_without_token_and_secret(
    provider: Provider, caplog: LogCaptureFixture
) -> None:
    provider.answer = lambda asked: Reply(f"no {OPAQUE}".encode(), 400)
    with caplog.at_level(logging.DEBUG, logger="tools"):
        assert is_unavailable(endpoint(provider))
    assert provider.url in caplog.text
    assert OPAQUE not in caplog.text and "hush" not in caplog.text


def holding_back(provider: Provider, reply: Reply) -> Callable[[Asked], Reply]:
    """The reply, held back until a second question has come, or long after it would have."""
    second = threading.Event()

    def answer(asked: Asked) -> Reply:
        if len(provider.asked) > 1:
            second.set()
        second.wait(0.5)
        return reply

    return answer


@pytest.mark.feature("I6")
@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("threads", [64, 2])
def test_of_many_who_come_with_one_token_at_once_one_asks(
    provider: Provider, settings: Settings, monkeypatch: MonkeyPatch, threads: int, good: bool
) -> None:
    """Those who wait for its answer, and those who wait for a place to wait in."""
    settings.RAMPART_WEB_THREADS = threads
    monkeypatch.setattr(fetching, "SECONDS_FOR_A_PLACE", 20)
    provider.answer = holding_back(provider, as_json(active() if good else {"active": False}))
    asking = endpoint(provider)

    def ask(number: int) -> str:
        return asking.service_of(OPAQUE).subject if good else code_of(asking.service_of, OPAQUE)

    assert set(at_once(6, ask)) == {"billing-agent" if good else "token_inactive"}
    assert len(provider.asked) == 1


def test_of_many_who_come_at_once_none_is_let_in_without_an_answer(
    provider: Provider, monkeypatch: MonkeyPatch
) -> None:
    """They learn of the failure when it happens, not when their own time is over."""
    monkeypatch.setattr(fetching, "SECONDS", 30)
    provider.answer = holding_back(provider, Reply(status=500))
    asking = endpoint(provider)
    begun = time.monotonic()
    assert at_once(6, lambda number: is_unavailable(asking)) == [True] * 6
    assert time.monotonic() - begun < 15
    assert asking._asking == {}
    provider.says(**active())
    assert asking.service_of(OPAQUE)
