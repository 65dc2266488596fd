"""Hostile programs through the real API: none gets out, none hangs a worker, none hits another.

All of them are posted at once and run by the workers as they come; each test looks at one answer.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import psutil
import pytest

from tests import servers
from tests.sandbox.programs import BENIGN, ESCAPES
from tests.security.hostile_code import PAYLOADS, Hostile
from tests.stack import Stack, running, until

pytestmark = [pytest.mark.stack, pytest.mark.postgres]

HURRY, PATIENCE = 500, 5000
"""Milliseconds that a program may take: a hostile one, and one that is to come to its end."""
MEGABYTES = 48
MIB = 2**20
Answers = dict[str, dict[str, Any]]
"""Each program's result, as the API gives it."""
IN_A_SESSION = 90
CANARY = secrets.token_hex(12)
"""In a file, in the workers' environment and in their memory: no program may come by it."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, Redis and a worker, with something to steal."""
    loot = tmp_path_factory.mktemp("loot") / "secret.txt"
    loot.write_text(CANARY)
    with (
        servers.postgres() as (_, database),
        servers.redis_server() as (_, redis),
        running(DATABASE_URL=database, REDIS_URL=redis, EMAIL_HOST_PASSWORD=CANARY) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def key(deployment: Stack) -> str:
    return deployment.new_key(scopes=("rlm.exec",))


def session(deployment: Stack, key: str) -> str:
    """A session of its own, for as many runs as its budget has."""
    answer = deployment.post("sessions", {"config": {}}, key)
    return str(answer.json()["session_id"])


def post(deployment: Stack, key: str, session_id: str, code: str, milliseconds: int) -> str:
    """Post a program; the id of its invocation."""
    arguments = {
        "session_id": session_id, "code": code,
        "timeout_ms": milliseconds, "memory_limit_mb": MEGABYTES,
    }  # fmt: skip
    answer = deployment.invoke("rlm.exec.run", key, prefer="respond-async", **arguments)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["invocation_id"])


def ended(deployment: Stack, key: str, invocation_id: str) -> dict[str, Any]:
    """How a run ended, once it has."""

    def read() -> dict[str, Any] | None:
        answer: dict[str, Any] = deployment.get(f"invocations/{invocation_id}?wait=20", key).json()
        return None if answer["status"] == "pending" else answer

    return until(read, 120)  # type: ignore[no-any-return]


def run_all(deployment: Stack, key: str, codes: dict[str, str], milliseconds: int) -> Answers:
    """Post every program, several at a time, and wait for the end of each."""
    sessions = [session(deployment, key) for _ in range(len(codes) // IN_A_SESSION + 1)]

    def posted(at: int, code: str) -> str:
        return post(deployment, key, sessions[at // IN_A_SESSION], code, milliseconds)

    with ThreadPoolExecutor(4) as pool:
        invocations = list(pool.map(posted, range(len(codes)), codes.values()))
        found = pool.map(lambda invocation: ended(deployment, key, invocation), invocations)
        return dict(zip(codes, found, strict=True))


@pytest.fixture(scope="module")
def answers(deployment: Stack, key: str) -> Answers:
    """How every program ended: the hostile, the escaping and the honest in one crowd."""
    hostile = {payload.name: payload.code for payload in PAYLOADS}
    honest = {f"honest: {name}": code for name, (code, _) in BENIGN.items()}
    with ThreadPoolExecutor(2) as pool:
        crowd = pool.map(
            lambda codes, milliseconds: run_all(deployment, key, codes, milliseconds),
            (hostile | ESCAPES, honest), (HURRY, PATIENCE),
        )  # fmt: skip
        return {name: answer for part in crowd for name, answer in part.items()}


@pytest.mark.feature("S1", "S3", "R1", "R4", "X3")
@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.name)
def test_a_hostile_program_ends_as_it_may(answers: Answers, payload: Hostile) -> None:
    answer = answers[payload.name]
    assert answer["status"] in payload.may_end, answer
    if answer["status"] == "success":
        data = answer["data"]
        if payload.succeeds is not None:
            assert data["success"] is payload.succeeds, data
        assert data["provenance"]["code_sha256"] == sha256(payload.code.encode()).hexdigest()
        assert data["execution_time"] > 0
        assert len(data["stdout"]) <= 500_000


@pytest.mark.feature("S1", "R1", "R2")
@pytest.mark.parametrize("name", ESCAPES)
def test_a_program_that_wants_out_gets_nowhere(answers: Answers, name: str) -> None:
    answer = answers[name]
    assert answer["status"] in ("success", "killed", "timeout"), answer
    if answer["status"] == "success":
        assert "ESCAPED" not in answer["data"]["stdout"]
    assert CANARY not in str(answer)


@pytest.mark.feature("S5", "S6")
@pytest.mark.parametrize("name", BENIGN)
def test_an_honest_program_among_them_says_what_it_says_alone(answers: Answers, name: str) -> None:
    answer = answers[f"honest: {name}"]
    assert (answer["status"], answer["data"]["stdout"]) == ("success", BENIGN[name][1])


def test_there_are_so_many_as_it_is_said() -> None:
    assert len(PAYLOADS) + len(ESCAPES) >= 150
    assert len({payload.name for payload in PAYLOADS}) == len(PAYLOADS)


@pytest.mark.feature("S1", "X3", "T16")
def test_afterwards_the_worker_is_as_it_was(deployment: Stack, key: str, answers: Answers) -> None:
    assert len(answers) > 300
    worker = psutil.Process(deployment.processes["worker"].pid)

    def jailed() -> list[psutil.Process]:
        """What runs as one of the users that only a jail has."""
        return [p for p in worker.children(recursive=True) if p.uids().real >= 100_000]

    until(lambda: not jailed(), 20, lambda: str(jailed()))
    assert sum(p.memory_info().rss for p in worker.children()) < 600 * MIB
    again = run_all(deployment, key, {"again": "print(6 * 7)"}, PATIENCE)["again"]
    assert again["data"]["stdout"] == "42\n"
