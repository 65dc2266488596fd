"""A reviewer at a browser, an agent at the API, and nothing in between that is not real."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.browser.conftest import TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

amounts = itertools.count(1001)
PHONE = {"width": 360, "height": 740}
LIST = "/admin/approvals/approval/"


def hold(stack: Stack, key: str, **arguments: Any) -> dict[str, Any]:
    """A refund that waits for a person."""
    given = {"order_id": "A-1001", "amount": next(amounts), **arguments}
    answer = stack.invoke("refund_payment", key, prefer="respond-async", **given)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.feature("V1", "V2", "E20")
def test_a_call_is_seen_opened_approved_and_run(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    rosa, amount = take_seat(), next(amounts)
    rosa.sign_in("rosa", people["rosa"])
    with ThreadPoolExecutor(1) as elsewhere:
        waiting = elsewhere.submit(
            stack.invoke, "refund_payment", agent_key, prefer="wait=40",
            order_id="A-7", amount=amount,
        )  # fmt: skip

        def listed() -> bool:
            rosa.open(LIST)
            return rosa.page.get_by_role("link", name=f"refund {amount} EUR").count() == 1

        until(listed)
        rosa.press(rosa.page.get_by_role("link", name=f"refund {amount} EUR"))
        assert rosa.page.get_by_text("A-7", exact=True).is_visible()
        assert rosa.page.get_by_text("money movement").is_visible()
        rosa.page.get_by_label("Note").fill("checked the order")
        rosa.press(rosa.button("Approve and run"))
        assert rosa.page.get_by_text("Approved: shop-agent wants to refund").is_visible()
        answer = waiting.result(60)
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    assert answer.json()["data"]["order_id"] == "A-7"
    assert answer.json()["decision"]["by"] == "rosa"
    rosa.open_approval(answer.json()["approval_id"])
    assert rosa.page.get_by_text("rosa approved this call at").is_visible()
    assert rosa.page.get_by_text("checked the order").is_visible()
    assert rosa.page.locator(".timeline").get_by_text("invocation finished").is_visible()


@pytest.mark.feature("AP12", "E17")
def test_a_rejection_reaches_the_agent_without_the_note(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, agent_key)
    rosa = take_seat()
    rosa.arrive("rosa", people["rosa"])
    rosa.open_approval(call["approval_id"])
    rosa.page.get_by_label("Note").fill("smells of fraud")
    rosa.press(rosa.button("Reject"))
    assert rosa.page.get_by_text("Say why: the agent is told.").is_visible()
    assert rosa.page.get_by_label("Note").input_value() == "smells of fraud"
    rosa.page.get_by_label("Reason, told to the agent").fill("attach the invoice")
    rosa.press(rosa.button("Reject"))
    assert rosa.page.get_by_text("Rejected: shop-agent wants to refund").is_visible()
    told = stack.get(f"invocations/{call['invocation_id']}", agent_key)
    assert told.json()["status"] == "rejected"
    assert told.json()["decision"]["reason_to_agent"] == "attach the invoice"
    assert "fraud" not in told.text


@pytest.mark.feature("AP7", "V2", "E16")
def test_the_second_browser_is_told_who_won(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, agent_key)
    rosa, ana = take_seat(), take_seat()
    for name, seat in (("rosa", rosa), ("ana", ana)):
        seat.arrive(name, people[name])
        seat.open_approval(call["approval_id"])
    ana.press(ana.button("Approve and run"))
    ana.page.get_by_text("Approved: shop-agent").wait_for()
    rosa.press(rosa.button("Approve and run"))
    rosa.page.get_by_text("ana approved this call at").first.wait_for()
    assert rosa.answers[f"{LIST}{call['approval_id']}/approve/"] == 409
    assert rosa.button("Approve and run").count() == 0


@pytest.mark.feature("V6", "E43")
def test_hostile_arguments_are_inert_and_seen(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(
        stack,
        agent_key,
        order_id="<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>",
        reason="to \u0440\u0430ypal \u202egnp.exe\u202c zero\u200bwidth {{ 7*7 }} '\"><b>",
    )
    rosa = take_seat()
    rosa.arrive("rosa", people["rosa"])
    rosa.open(LIST)
    rosa.open_approval(call["approval_id"])
    assert rosa.page.evaluate("window.ran") is None
    arguments = rosa.page.locator(".evidence").inner_text()
    for seen in (
        "<script>window.ran = 1</script>",
        "[U+202E RIGHT-TO-LEFT OVERRIDE]",
        "[U+200B ZERO WIDTH SPACE]",
        "[CYRILLIC + LATIN]",
        "{{ 7*7 }} '\"><b>",
    ):
        assert seen in arguments, seen
    assert rosa.page.locator("main img, main b, main script:not([src])").count() == 0


@pytest.mark.feature("V6", "E13")
def test_a_mebibyte_is_folded_and_the_page_stays_quick(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, agent_key, reason="y" * 1_000_000 + "\u202e")
    rosa = take_seat(viewport=PHONE)
    rosa.arrive("rosa", people["rosa"])
    began = time.monotonic()
    rosa.open_approval(call["approval_id"])
    assert rosa.button("Approve and run").is_visible()
    assert time.monotonic() - began < 5
    assert rosa.page.get_by_text("contains U+202E").is_visible()
    assert not rosa.scrolls_sideways()
    rosa.page.get_by_text("show all").click()
    whole = rosa.page.locator("details[open] pre.value")
    assert whole.inner_text().endswith("yyy[U+202E]")
    assert not rosa.scrolls_sideways()


@pytest.mark.feature("V7", "E22")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_thumb_on_a_phone_decides_in_three_taps(
    scheme: str, stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    amount = next(amounts)
    hold(stack, agent_key, amount=amount, reason="n" * 300)
    rosa = take_seat(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    rosa.sign_in("rosa", people["rosa"])
    assert not rosa.scrolls_sideways()
    rosa.press(rosa.page.locator(".model-approval th a"), by_thumb=True)
    assert not rosa.scrolls_sideways()
    rosa.press(rosa.page.get_by_role("link", name=f"refund {amount} EUR"), by_thumb=True)
    assert not rosa.scrolls_sideways()
    for button in rosa.page.locator("main button:visible, main summary:visible").all():
        box = button.bounding_box()
        assert box is not None and min(box["height"], box["width"]) >= 24
    rosa.press(rosa.button("Approve and run"), by_thumb=True)
    rosa.page.get_by_text("Approved: shop-agent").wait_for()


@pytest.mark.feature("V3", "E46")
def test_everything_works_without_scripts(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, agent_key)
    rosa = take_seat(java_script_enabled=False)
    rosa.arrive("rosa", people["rosa"])
    rosa.open_approval(call["approval_id"])
    assert rosa.page.locator(".countdown time").inner_text().startswith("in 23 h")
    rosa.press(rosa.button("Approve and run"))
    rosa.page.get_by_text("Approved: shop-agent").wait_for()


@pytest.mark.feature("E9")
def test_no_page_asks_for_anything_elsewhere_or_breaks_its_own_policy(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    hold(stack, agent_key)
    rosa = take_seat()
    rosa.page.add_init_script(
        "document.addEventListener('securitypolicyviolation',"
        " event => console.error('policy: ' + event.blockedURI + ' ' + event.violatedDirective))"
    )
    rosa.arrive("rosa", people["rosa"])
    lists = ("approvals/approval", "approvals/invocation", "audit/event", "tools/tool",
             "tools/apikey")  # fmt: skip
    for page in lists:
        rosa.open(f"/admin/{page}/")
        assert rosa.page.locator("#result_list").is_visible()
        rosa.press(rosa.page.locator("#result_list a").first)
    for page in ("/admin/tools/apikey/add/", "/admin/password_change/", "/problems/expired"):
        rosa.open(page)
    assert len(rosa.answers) > len(lists)


@pytest.mark.feature("V4")
def test_a_new_key_is_shown_once_and_works(
    stack: Stack, people: dict[str, str], take_seat: TakeSeat
) -> None:
    rosa = take_seat()
    rosa.arrive("rosa", people["rosa"])
    rosa.open("/admin/tools/apikey/add/")
    rosa.page.get_by_label("Actor").fill("night-bot")
    rosa.page.get_by_label("Scopes").fill("orders.read")
    rosa.press(rosa.button("Make the key"))
    key = rosa.page.locator("pre.secret").inner_text()
    assert stack.invoke("lookup_order", key, order_id="A-1").status_code == 200
    rosa.press(rosa.page.locator(".breadcrumbs").get_by_role("link", name=key[:14]))
    rosa.press(rosa.button("Revoke for ever"))
    rosa.page.get_by_text("1 revoked").wait_for()
    assert key not in rosa.page.content()
    until(lambda: stack.get("invocations", key).status_code == 401)


@pytest.mark.feature("E46")
def test_when_the_time_is_over_the_buttons_close_and_say_why(
    stack: Stack, people: dict[str, str], agent_key: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, agent_key)
    rosa = take_seat()
    rosa.page.clock.install()
    rosa.arrive("rosa", people["rosa"])
    rosa.open_approval(call["approval_id"])
    assert rosa.button("Approve and run").is_enabled()
    rosa.page.clock.fast_forward("25:00:00")
    rosa.page.get_by_text("the time to decide is over").wait_for()
    assert rosa.button("Approve and run").is_disabled()
    assert rosa.button("Reject").is_disabled()
