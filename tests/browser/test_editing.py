"""Edit, then approve, by two people at two browsers, with and without scripts."""

import itertools
from typing import Any

import pytest

from tests.browser.conftest import TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

amounts = itertools.count(5001)


@pytest.mark.feature("AP13", "AP7")
@pytest.mark.parametrize("has_scripts", [True, False])
def test_one_edits_another_approves_and_the_agent_is_told_what_was_changed(
    has_scripts: bool,
    stack: Stack,
    people: dict[str, str],
    agent_key: str,
    take_seat: TakeSeat,
) -> None:
    asked = next(amounts)
    call = hold(stack, agent_key, asked)
    rosa, ana = take_seat(java_script_enabled=has_scripts), take_seat()
    for name, seat in (("rosa", rosa), ("ana", ana)):
        seat.arrive(name, people[name])
        seat.open_approval(call["approval_id"])
    rosa.press(rosa.page.get_by_role("link", name="Edit"))
    assert rosa.page.get_by_label("card_number").input_value() == "[REDACTED]"
    rosa.page.get_by_label("amount").fill("-1")
    rosa.page.get_by_label("Reason, told to the agent").fill("half of it will do")
    rosa.press(rosa.button("Show the difference"))
    assert rosa.page.get_by_text("Input should be greater than 0").is_visible()
    assert rosa.page.get_by_label("amount").input_value() == "-1"
    rosa.page.get_by_label("amount").fill("600.5")
    rosa.press(rosa.button("Show the difference"))
    difference = rosa.page.locator(".difference").inner_text()
    assert str(asked) in difference and "600.5" in difference
    rosa.press(rosa.button("Confirm the change"))
    assert rosa.page.get_by_text("Changed. It needs 1 person now").is_visible()
    assert rosa.button("Approve and run").count() == 0
    ana.press(ana.button("Approve and run"))
    assert ana.page.get_by_text("What you were shown is not what this").first.is_visible()
    assert ana.page.locator(".changes").first.get_by_text("600.5").is_visible()
    ana.press(ana.button("Approve and run"))
    ana.page.get_by_text("Approved: shop-agent wants to refund 600.5").wait_for()
    path = f"invocations/{call['invocation_id']}"
    until(lambda: stack.get(path, agent_key).json()["status"] == "success")
    told = stack.get(path, agent_key).json()
    assert told["data"]["amount"] == 600.5
    assert (told["arguments_modified"], told["modifications"]) == (
        True,
        [{"argument": "amount", "asked": asked, "approved": 600.5}],
    )


def hold(stack: Stack, key: str, amount: int) -> dict[str, Any]:
    """A refund with a card, which waits for a person."""
    answer = stack.invoke(
        "refund_payment", key, prefer="respond-async",
        order_id="A-1001", amount=amount, card_number="4111111111111111",
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found
