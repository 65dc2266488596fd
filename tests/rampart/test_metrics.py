"""What Prometheus reads: counts that are true, that never go down, and that tell no secret."""

import os
import signal
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from approvals import deciding
from approvals.models import Approval
from rampart import counting
from tests import servers
from tests.conftest import Agent, effects, held, work
from tests.stack import Stack, running, until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every number of a page, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(page: Samples, name: str, **labels: str) -> float:
    """One number; 0 where nothing was counted yet."""
    return page.get((name, frozenset(labels.items())), 0)


@pytest.fixture
def page(client: Client) -> Callable[[], Samples]:
    """Reads `/metrics` as Prometheus on this machine would."""

    def read() -> Samples:
        answer = client.get("/metrics")
        assert answer.status_code == 200, answer.content
        return samples(answer.content.decode())

    return read


@pytest.mark.feature("O1", "T24")
@pytest.mark.django_db(transaction=True)
def test_calls_are_counted_by_tool_and_status(
    agent: Agent, page: Callable[[], Samples], trace: Path
) -> None:
    before = page()
    agent.invoke("echo", value=1)
    agent.invoke("echo", value=2)
    agent.invoke("echo", wrong=1)
    agent.invoke("leave_trace", path=str(trace))
    work()
    after = page()

    def more(name: str, **labels: str) -> float:
        return number(after, name, **labels) - number(before, name, **labels)

    assert more("rampart_calls_total", tool="echo", status="success") == 2
    assert more("rampart_calls_total", tool="echo", status="validation_error") == 1
    assert more("rampart_calls_total", tool="leave_trace", status="success") == 1
    assert more("rampart_call_run_seconds_count", tool="echo") == 2
    assert more("rampart_call_run_seconds_bucket", tool="echo", le="+Inf") == 2
    assert more("rampart_call_run_seconds_sum", tool="leave_trace") > 0
    assert effects(trace)


@pytest.mark.feature("O1")
@pytest.mark.django_db(transaction=True)
def test_what_waits_is_read_when_asked_for(
    agent: Agent, page: Callable[[], Samples], trace: Path, reviewer: User
) -> None:
    before = page()
    assert number(before, "rampart_approvals_pending") == 0
    assert number(before, "rampart_oldest_pending_seconds") == 0
    approval = held(agent, trace)
    agent.invoke("leave_trace", path=str(trace))
    waiting = page()
    assert number(waiting, "rampart_approvals_pending") == 1
    assert 0 < number(waiting, "rampart_oldest_pending_seconds") < 60
    assert number(waiting, "rampart_calls_queued") == 1
    deciding.reject(approval, reviewer)
    after = page()
    assert number(after, "rampart_approvals_pending") == 0

    def more(name: str, **labels: str) -> float:
        return number(after, name, **labels) - number(before, name, **labels)

    assert more("rampart_calls_held_total", tool="guarded_trace") == 1
    assert more("rampart_calls_total", tool="guarded_trace", status="rejected") == 1
    assert more("rampart_decision_seconds_count", decision="rejected") == 1
    assert Approval.objects.count() == 1


@pytest.mark.feature("O1")
@pytest.mark.django_db(transaction=True)
def test_no_label_is_of_the_callers_making(agent: Agent, page: Callable[[], Samples]) -> None:
    agent.invoke("no-such-tool-as-this", secret="hunter2")
    agent.client.generic("BREW", "/api/v1/tools/echo/invoke")
    agent.client.get("/api/v1/invented/by/the/caller")
    agent.client.get("/api/v1/tools/echo", headers={"X-Request-ID": "given-by-the-caller"})
    text = str(page())
    for word in (
        "no-such-tool-as-this",
        "hunter2",
        "BREW",
        "invented",
        "given-by",
        agent.row.prefix,
    ):
        assert word not in text


@pytest.mark.feature("O1")
@pytest.mark.parametrize(
    ("peer", "forwarded", "allowed", "proxies", "status"),
    [
        ("127.0.0.1", None, ["127.0.0.0/8"], [], 200),
        ("::1", None, ["::1/128"], [], 200),
        ("10.0.0.9", None, ["127.0.0.0/8"], [], 403),
        ("10.0.0.9", None, ["10.0.0.0/24"], [], 200),
        ("127.0.0.1", None, [], [], 403),
        ("127.0.0.1", "127.0.0.1", ["127.0.0.0/8"], [], 403),
        ("127.0.0.1", "203.0.113.7", ["127.0.0.0/8"], ["127.0.0.0/8"], 403),
        ("127.0.0.1", "10.0.0.9", ["10.0.0.0/24"], ["127.0.0.0/8"], 200),
        ("unix", None, ["127.0.0.0/8"], [], 403),
    ],
)
@pytest.mark.django_db
def test_only_the_networks_named_may_read(
    client: Client, settings: Settings, peer: str, forwarded: str | None,
    allowed: list[str], proxies: list[str], status: int,
) -> None:  # fmt: skip
    settings.RAMPART_METRICS_ALLOW = [ip_network(text) for text in allowed]
    settings.RAMPART_TRUSTED_PROXIES = [ip_network(text) for text in proxies]
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    answer = client.get("/metrics", REMOTE_ADDR=peer, headers=headers)
    assert answer.status_code == status
    assert status == 200 or b"rampart_" not in answer.content


@pytest.mark.stack
@pytest.mark.feature("O1", "T24")
def test_the_counts_of_all_processes_are_added_up_and_never_go_down() -> None:
    """Two web processes and two workers count; each is killed, the next counts on from there."""
    with (
        servers.postgres() as (database, url),
        servers.redis_server() as (_, redis_url),
        running(DATABASE_URL=url, REDIS_URL=redis_url, RAMPART_WEB_WORKERS="2") as stack,
    ):
        key = stack.new_key()
        expected = 0
        for _ in range(3):
            for _ in range(CALLS):
                assert stack.invoke("echo", key, value=1).status_code == 200
                assert (
                    stack.invoke("leave_trace", key, path=str(stack.folder / "trace")).status_code
                    == 200
                )
            expected += CALLS
            assert counted(stack, "echo") == expected
            until(lambda wanted=expected: counted(stack, "leave_trace") == wanted)
            for name in ("web", "worker"):
                stack.kill(name)
            stack.start("web", "worker")
            assert counted(stack, "echo") == expected
        slots = list((stack.folder / "metrics").glob("slot-*"))
        assert 3 <= len(slots) <= 12  # Of nine generations of processes, commands included.

        database.stop(signal.SIGINT)
        without = read(stack)
        assert counted(stack, "echo") == expected
        assert ("rampart_approvals_pending", frozenset()) not in without
        database.start()
        until(lambda: ("rampart_approvals_pending", frozenset()) in read(stack))


CALLS = 8
"""So many that both web processes and both of a worker's children are met."""


def read(stack: Stack) -> Samples:
    """The stack's page."""
    answer = requests.get(f"{stack.base_url}/metrics", timeout=20)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def counted(stack: Stack, tool: str) -> float:
    """How many successful calls of a tool the page knows."""
    return number(read(stack), "rampart_calls_total", tool=tool, status="success")


@pytest.mark.feature("O1")
def test_a_slot_is_one_processs_alone_and_the_next_ones_after_it(tmp_path: Path) -> None:
    """Forked processes, as the workers' are: each has a slot of its own while it lives."""
    mine = counting.slot()
    assert counting.slot() == mine
    first, second = forked_slot(), forked_slot()
    assert first == second != mine


def forked_slot() -> int:
    """The slot that a forked process gets; it has ended when this returns."""
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        os.write(send, str(counting.slot()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(send)
    with os.fdopen(receive) as answer:
        return int(answer.read())
