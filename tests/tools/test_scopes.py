"""Scopes: exact, `*`, `prefix.*` and the prefix itself; and keys limited further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MakeAgent
from tools.scopes import allows

WORDS = st.lists(st.sampled_from(["a", "ab", "b", "*"]), min_size=1, max_size=3).map(".".join)


def model(held: str, needed: str) -> bool:
    """The rule in other words: part by part."""
    have, need = held.split("."), needed.split(".")
    if held == "*" or have == need:
        return True
    return len(have) > 1 and have[-1] == "*" and need[: len(have) - 1] == have[:-1]


@pytest.mark.feature("I7")
@given(held=st.lists(WORDS, max_size=4), needed=WORDS)
def test_scopes_match_as_the_rule_says(held: list[str], needed: str) -> None:
    assert allows(held, needed) is any(model(one, needed) for one in held)


@pytest.mark.feature("I7")
@pytest.mark.parametrize(
    ("held", "needed", "allowed"),
    [
        ("orders.read", "orders.read", True),
        ("orders.read", "orders.write", False),
        ("orders.*", "orders.read", True),
        ("orders.*", "orders.read.all", True),
        ("orders.*", "orders", True),
        ("orders.*", "ordersX.read", False),
        ("orders", "orders.read", False),
        ("orders.read", "Orders.read", False),
        ("*", "anything.at.all", True),
        (".*", "orders", False),
        ("o*", "orders", False),
    ],
)
def test_a_scope_covers_exactly_its_family(held: str, needed: str, allowed: bool) -> None:
    assert allows([held], needed) is allowed


def test_a_tool_without_a_scope_needs_none() -> None:
    assert allows([], None)


@pytest.mark.feature("I7")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scopes", "status"),
    [(("kit.read",), 200), (("kit.*",), 200), (("*",), 200), (("kit",), 403), (("kit.r*",), 403)],
)
def test_a_call_needs_a_scope_that_covers_the_tools(
    make_agent: MakeAgent, scopes: tuple[str, ...], status: int
) -> None:
    answer = make_agent(scopes=scopes).invoke("echo", value=1)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error_type"] == "ScopeDenied"
        assert answer.json()["error"] == "missing required scope: kit.read"


@pytest.mark.feature("I7")
@pytest.mark.django_db
def test_a_key_may_be_limited_to_named_tools(make_agent: MakeAgent) -> None:
    agent = make_agent(tools=("echo",))
    assert agent.invoke("echo", value=1).status_code == 200
    other = agent.invoke("where_am_i")
    assert (other.status_code, other.json()["error_type"]) == (403, "ScopeDenied")
    assert [tool["name"] for tool in agent.get("tools").json()["tools"]] == ["echo"]


@pytest.mark.feature("I7")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "status"),
    [("10.1.2.3", 200), ("10.2.0.1", 401), ("2001:db8::1", 200), ("2001:db9::1", 401), ("", 401)],
)
def test_a_key_may_be_limited_to_networks(make_agent: MakeAgent, address: str, status: int) -> None:
    agent = make_agent(cidrs=("10.1.0.0/16", "2001:db8::/32"))
    answer = agent.client.get("/api/v1/tools", REMOTE_ADDR=address)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["code"] == "key_not_allowed_here"


@pytest.mark.feature("I7")
@pytest.mark.django_db
def test_a_keys_rate_tier_counts_all_its_calls(make_agent: MakeAgent) -> None:
    agent = make_agent(rate_tier="2/hour")
    assert agent.invoke("echo", value=1).status_code == 200
    assert agent.invoke("where_am_i").status_code == 200
    third = agent.invoke("echo", value=3)
    assert third.status_code == 429
    assert third.json()["error"] == "rate limit exceeded: 2/hour/key"
    assert 0 < int(third["Retry-After"]) <= 3600
    assert make_agent("another", rate_tier="2/hour").invoke("echo", value=1).status_code == 200
