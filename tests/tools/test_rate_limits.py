"""Limits are exact under load, and a limit that cannot be checked is reached."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings

from approvals.limit_fields import limit_fields
from tests import servers
from tests.conftest import Agent, MakeAgent, at_once
from tools.errors import LimiterUnavailable
from tools.limits import RateLimit
from tools.models import RateWindow
from tools.rate_limits import Bucket, Count, Standing, count

pytestmark = pytest.mark.django_db

LIMIT = RateLimit.parse("3/minute/actor")


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own: Redis is not emptied between tests."""
    return f"{request.node.nodeid}:{time.time_ns()}"


def take(limit: RateLimit, bucket: str) -> int | None:
    """Count one call; the seconds that it has to wait, if it may not pass."""
    exceeded = count([Bucket(limit, bucket)]).exceeded
    return exceeded.whole_seconds if exceeded else None


def refused(results: list[int | None]) -> list[int]:
    """The waits of those that may not pass."""
    return [result for result in results if result is not None]


@pytest.mark.feature("P4", "T9")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("may", [1, 7])
def test_of_forty_at_once_exactly_as_many_pass_as_may(store: str, bucket: str, may: int) -> None:
    limit = RateLimit.parse(f"{may}/hour/actor")
    late = refused(at_once(40, lambda number: take(limit, bucket)))
    assert len(late) == 40 - may
    assert all(0 < seconds <= 3600 for seconds in late)


@pytest.mark.feature("P4")
def test_buckets_are_counted_apart(store: str, bucket: str) -> None:
    assert refused([take(LIMIT, f"{bucket}:{number % 2}") for number in range(6)]) == []
    assert take(LIMIT, f"{bucket}:0") is not None


def test_a_bucket_may_have_a_long_name(store: str, bucket: str) -> None:
    limit = RateLimit.parse("1/minute/actor")
    names = [bucket + "x" * 400 + end for end in ("a", "b")]
    assert [take(limit, name) is None for name in names * 2] == [True, True, False, False]


@pytest.fixture
def at(settings: Settings, bucket: str, monkeypatch: MonkeyPatch) -> Callable[[float], Any]:
    """Takes from the row store at a second of its clock: nobody should wait a minute for a test."""
    settings.REDIS_URL, begin = "", time.time()

    def take_at(second: float) -> int | None:
        monkeypatch.setattr(time, "time", lambda: begin + second)
        return take(LIMIT, bucket)

    return take_at


@pytest.mark.feature("P4")
def test_when_the_window_has_passed_calls_pass_again(at: Callable[[float], Any]) -> None:
    assert [at(0) for _ in range(3)] == [None] * 3
    assert at(20) == 40
    assert at(59.5) == 1
    assert [at(60.5) for _ in range(3)] == [None] * 3
    assert at(60.5) == 60


@pytest.mark.feature("P4")
def test_the_window_slides_with_each_call(at: Callable[[float], Any]) -> None:
    seconds = (0, 30, 50, 59, 61, 62, 90.5)
    assert [at(second) is None for second in seconds] == [
        True, True, True, False, True, False, True,
    ]  # fmt: skip


def test_a_refused_call_is_not_counted(settings: Settings, bucket: str) -> None:
    settings.REDIS_URL = ""
    for _ in range(5):
        take(LIMIT, bucket)
    assert len(RateWindow.objects.get().hits) == LIMIT.count


@pytest.mark.feature("P4", "E30")
def test_where_a_bucket_stands_is_told(store: str, bucket: str) -> None:
    counts = [count([Bucket(LIMIT, bucket)]) for _ in range(4)]
    assert [one.standings[0].remaining for one in counts] == [2, 1, 0, 0]
    assert all(58 < one.standings[0].room_in <= 60 for one in counts)
    assert [one.exceeded for one in counts] == [None, None, None, counts[3].standings[0]]


@pytest.mark.feature("P4")
@pytest.mark.parametrize("full", [0, 1])
def test_a_call_under_two_limits_is_counted_under_both_or_none(
    store: str, bucket: str, full: int
) -> None:
    narrow, wide = RateLimit.parse("1/hour/tool"), RateLimit.parse("5/minute/actor")
    both = [Bucket(wide, f"{bucket}:wide"), Bucket(narrow, f"{bucket}:narrow")]
    both = both[::-1] if full == 0 else both
    first, second = count(both), count(both)
    assert first.exceeded is None
    assert second.exceeded is not None
    assert second.exceeded.limit == narrow
    assert count([Bucket(wide, f"{bucket}:wide")]).standings[0].used == 2


@pytest.mark.feature("P4")
def test_a_full_limit_refuses_also_beside_one_that_is_empty(store: str, bucket: str) -> None:
    narrow, empty = RateLimit.parse("1/hour/tool"), RateLimit.parse("5/minute/actor")
    full = Bucket(narrow, f"{bucket}:narrow")
    count([full])
    standings = count([full, Bucket(empty, f"{bucket}:empty")]).standings
    assert [standing.remaining for standing in standings] == [0, 5]
    assert standings[1].room_in == 0


def test_no_limit_is_no_count(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert count([]) == Count()


@pytest.mark.feature("E30")
def test_an_answer_under_a_limit_says_where_it_stands(
    make_agent: MakeAgent, bucket: str, trace: Path
) -> None:
    agent = make_agent(bucket)
    answers = [agent.invoke("once_an_hour", path=str(trace)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    for answer in answers:
        assert answer["RateLimit-Policy"] == '"user";q=1;w=3600'
        name, remaining, seconds = answer["RateLimit"].split(";")
        assert (name, remaining) == ('"user"', "r=0")
        assert 3590 < int(seconds.removeprefix("t=")) <= 3600
        assert not [header for header in answer.headers if header.lower().startswith("x-rate")]
    assert answers[1]["Retry-After"] == answers[1]["RateLimit"].rpartition("=")[2]
    assert not agent.invoke("echo", value=1).has_header("RateLimit")


@pytest.mark.feature("E30")
def test_two_limits_of_a_scope_are_told_apart() -> None:
    standings = [
        Standing(RateLimit.parse("5/minute/key"), 2, 30.2),
        Standing(RateLimit.parse("60/hour/key"), 60, 0.1),
    ]
    assert limit_fields(standings) == {
        "RateLimit-Policy": '"key";q=5;w=60, "60/hour/key";q=60;w=3600',
        "RateLimit": '"key";r=3;t=31, "60/hour/key";r=0;t=1',
    }


@pytest.mark.feature("P4")
def test_a_redis_that_is_down_lets_nothing_pass(settings: Settings, bucket: str) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    with pytest.raises(LimiterUnavailable):
        take(LIMIT, bucket)


@pytest.mark.feature("P4")
@pytest.mark.postgres
def test_a_redis_that_dies_and_comes_back_is_used_again(settings: Settings, bucket: str) -> None:
    with servers.redis_server() as (server, url):
        settings.REDIS_URL = url
        assert take(LIMIT, bucket) is None
        server.stop()
        with pytest.raises(LimiterUnavailable):
            take(LIMIT, bucket)
        server.start()
        assert take(LIMIT, bucket) is None


@pytest.mark.feature("P4")
def test_a_database_that_fails_lets_nothing_pass(
    settings: Settings, bucket: str, monkeypatch: MonkeyPatch
) -> None:
    """The row's manager is made to fail: a database that dies here would take the test along."""
    settings.REDIS_URL = ""

    def fail(*args: Any, **options: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(RateWindow.objects, "bulk_create", fail)
    with pytest.raises(LimiterUnavailable):
        take(LIMIT, bucket)


@pytest.mark.feature("P4")
def test_a_limiter_that_is_down_is_503_and_nothing_runs(
    agent: Agent, settings: Settings, tmp_path: Any
) -> None:
    trace = tmp_path / "trace"
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    answer = agent.invoke("once_an_hour", path=str(trace))
    assert (answer.status_code, answer.json()["error_type"]) == (503, "LimiterUnavailable")
    assert not trace.exists()


@pytest.mark.feature("P4")
def test_one_too_many_is_429_with_retry_after(make_agent: MakeAgent, bucket: str) -> None:
    agent = make_agent(bucket)
    answers = [agent.invoke("ten_an_hour") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert 0 < int(answers[-1]["Retry-After"]) <= 3600
    assert answers[-1].json()["error"] == "rate limit exceeded: 10/hour/user"


@pytest.mark.feature("P4", "T10")
@pytest.mark.parametrize(
    ("scope", "same", "other"),
    [
        ("user", ("pay", "ann", "l2"), ("pay", "ben", "l1")),
        ("actor", ("pay", "ann", "l2"), ("read", "ann", "l1")),
        ("key", ("read", "ben", "l1"), ("pay", "ann", "l2")),
        ("tool", ("pay", "ben", "l2"), ("read", "ann", "l1")),
        ("global", ("read", "ben", "l2"), None),
    ],
)
def test_a_limits_scope_says_whose_calls_are_counted_together(
    scope: str, same: tuple[str, str, str], other: tuple[str, str, str] | None
) -> None:
    limit = RateLimit.parse(f"1/minute/{scope}")

    def of(tool: str, actor: str, lineage: str) -> str:
        return Bucket.of(limit, tool=tool, actor=actor, lineage=lineage).place

    mine = of("pay", "ann", "l1")
    assert of(*same) == mine
    assert other is None or of(*other) != mine


@pytest.mark.feature("P4")
@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("1/second/user", 1, 1),
        ("10/minute/actor", 10, 60),
        ("100/5 minutes/global", 100, 300),
        ("7/2 hours/tool", 7, 7200),
        ("5/day/key", 5, 86400),
        ("10 / Hour / User", 10, 3600),
    ],
)
def test_a_limit_reads_as_it_is_written(text: str, count: int, seconds: int) -> None:
    limit = RateLimit.parse(text)
    assert (limit.count, limit.seconds, limit.text) == (count, seconds, text)


@pytest.mark.feature("P4", "T10")
@pytest.mark.parametrize(
    "text",
    [
        "", "5", "5/minute", "5/-3 minutes/user", "5/0 minutes/user", "0/minute/user",
        "-1/minute/user", "5/minute/planet", "5/week/user", "٥/minute/user", "5/minute/\u0130user",
        "1.5/minute/user", "5/minute/user\n", "9/" + "9" * 5000 + " days/user",
    ],
)  # fmt: skip
def test_a_limit_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate limit|integer string"):
        RateLimit.parse(text)


@pytest.mark.feature("T30")
def test_redis_is_what_the_tests_say_it_is(settings: Settings) -> None:
    """Else the tests above would pass on rows alone."""
    if settings.REDIS_URL:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            assert client.ping()
