"""Several calls decided at once by somebody at a browser."""

import itertools
from typing import Any

import pytest

from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.feature("V3", "AP16", "E19")]

texts = itertools.count(1)
LIST = "/admin/approvals/approval/"


def hold(stack: Stack, key: str) -> dict[str, Any]:
    """A call of medium risk that waits for a person."""
    given = {"path": str(stack.folder / "bulk"), "text": f"bulk-{next(texts)}"}
    answer = stack.invoke("guarded_trace", key, prefer="respond-async", **given)
    assert answer.status_code == 202, answer.text
    return {**answer.json(), "text": given["text"]}


def tick(seat: Seat, *calls: dict[str, Any]) -> None:
    """Tick these, and ask for the page that asks."""
    seat.open(LIST)
    for call in calls:
        seat.page.locator(f"#tick-{call['approval_id']}").check()
    seat.press(seat.button("Review what is ticked"))


def status_of(stack: Stack, key: str, call: dict[str, Any]) -> str:
    """As the agent is told, once it has moved."""
    answer = stack.get(f"invocations/{call['invocation_id']}?wait=20", key)
    return str(answer.json()["status"])


@pytest.mark.parametrize("scripts", [True, False])
def test_ticked_calls_are_shown_again_approved_and_run(
    scripts: bool, stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    first, second, other = (hold(stack, agent_key) for _ in range(3))
    rosa = take_seat(java_script_enabled=scripts)
    rosa.arrive("rosa", people["rosa"])
    tick(rosa, first, second)
    for call in (first, second):
        assert rosa.page.get_by_text(call["text"]).first.is_visible()
    assert rosa.page.get_by_text(other["text"]).count() == 0
    rosa.page.get_by_label("Note").fill("both are fine")
    rosa.press(rosa.button("Approve and run 2"))
    assert rosa.page.get_by_role("heading", name="2 done").is_visible()
    assert [status_of(stack, agent_key, call) for call in (first, second)] == ["success"] * 2
    untouched = stack.get(f"invocations/{other['invocation_id']}", agent_key).json()
    assert untouched["status"] == "requires_approval"


def test_what_another_has_decided_meanwhile_is_skipped_and_told(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    first, second = hold(stack, agent_key), hold(stack, agent_key)
    rosa, ana = take_seat(), take_seat()
    rosa.arrive("rosa", people["rosa"])
    tick(rosa, first, second)
    ana.arrive("ana", people["ana"])
    ana.open_approval(first["approval_id"])
    ana.press(ana.button("Approve and run").first)
    rosa.press(rosa.button("Reject 2"))
    assert rosa.page.get_by_text("Say why: the agents are told.").is_visible()
    assert rosa.page.get_by_text("ana approved this call at").is_visible()
    rosa.page.get_by_label("Reason, told to the agent").fill("not today")
    rosa.press(rosa.button("Reject 1"))
    assert rosa.page.get_by_role("heading", name="1 done").is_visible()
    assert status_of(stack, agent_key, first) == "success"
    assert status_of(stack, agent_key, second) == "rejected"


def test_a_call_of_high_risk_has_no_tick_and_says_why(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    given = {"order_id": "A-77", "amount": 7700}
    answer = stack.invoke("refund_payment", agent_key, prefer="respond-async", **given)
    rosa = take_seat()
    rosa.arrive("rosa", people["rosa"])
    rosa.open(LIST)
    line = rosa.page.locator(f"#row-{answer.json()['approval_id']}")
    assert line.get_by_role("checkbox").count() == 0
    assert line.get_by_text("Decided on its own page: its risk is high.").is_visible()
