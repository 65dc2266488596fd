"""What every answer carries."""

import re

import pytest
from django.test import Client

from tests.conftest import Agent

pytestmark = pytest.mark.django_db

PATHS = ["/api/v1/health", "/api/v1/tools", "/api/v1/nothing", "/admin/login/", "/nothing"]


@pytest.mark.feature("E27")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", ["a", "A-b.c_9", "x" * 128])
def test_a_well_formed_request_id_is_kept(path: str, given: str) -> None:
    assert Client().get(path, headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.feature("E27")
@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "ä", "a\nb", "a/b", "<script>", "a\n"])
def test_any_other_is_replaced_by_a_new_one(given: str) -> None:
    answers = [
        Client().get("/api/v1/health", headers={"X-Request-ID": given})["X-Request-ID"]
        for _ in range(2)
    ]
    assert answers[0] != answers[1] and given not in answers
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in answers)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_says_what_the_browser_may_do(path: str) -> None:
    answer = Client().get(path)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "object-src 'none'" in policy and "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]


def test_the_apis_answers_are_kept_by_nobody(agent: Agent) -> None:
    assert agent.get("tools")["Cache-Control"] == "no-store"


def test_health_is_open_and_asks_nobody(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        answer = Client().get("/api/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
