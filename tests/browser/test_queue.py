"""The queue at a browser: fresh by itself, by keys, by thumb, and for everybody."""

import itertools
from typing import Any

import pytest
from playwright.sync_api import Locator, Request

from tests.browser.accessibility import assert_accessible, assert_targets_hit
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

texts = itertools.count(1)
PHONE = {"width": 360, "height": 740}
LIST = "/admin/approvals/approval/"
PULSE = f"{LIST}pulse/"


def hold(stack: Stack, key: str, text: str = "") -> dict[str, Any]:
    """A call of medium risk that waits for a person."""
    given = {"path": str(stack.folder / "trace"), "text": text or f"text-{next(texts)}"}
    answer = stack.invoke("guarded_trace", key, prefer="respond-async", **given)
    assert answer.status_code == 202, answer.text
    return {**answer.json(), "text": given["text"]}


@pytest.fixture
def bot_name() -> str:
    """The name of an agent whose calls no other test makes."""
    return f"bot-{next(texts):04}"


@pytest.fixture
def bot(stack: Stack, bot_name: str) -> str:
    """Its key."""
    return stack.new_key(bot_name)


@pytest.fixture
def rosa(people: dict[str, str], take_seat: TakeSeat) -> Seat:
    """A reviewer at a browser whose clock is wound by hand."""
    seat = take_seat()
    seat.page.clock.install()
    seat.arrive("rosa", people["rosa"])
    return seat


def row(seat: Seat, call: dict[str, Any]) -> Locator:
    """The line of a call."""
    return seat.page.locator(f"#row-{call['approval_id']}")


def focused(seat: Seat) -> str:
    """The id of what has the focus."""
    return str(seat.page.evaluate("document.activeElement.id"))


def wait_a_while(seat: Seat, seconds: str = "00:20") -> None:
    """Let time pass in the browser."""
    seat.page.clock.fast_forward(seconds)


def said(seat: Seat) -> str:
    """What is told to whoever can't see that the list has changed."""
    return seat.page.locator("#queue-news").inner_text()


# Fresh by itself.


@pytest.mark.feature("V1", "E44")
def test_what_comes_and_goes_is_seen_without_a_hand(
    stack: Stack, people: dict[str, str], bot: str, rosa: Seat, take_seat: TakeSeat
) -> None:
    first, kept, gone = (hold(stack, bot) for _ in range(3))
    rosa.open(LIST)
    before = int(rosa.page.title()[1:].split(")")[0])
    assert rosa.page.title() == f"({before}) Rampart · Approvals"
    for call in (first, kept, gone):
        row(rosa, call).get_by_role("checkbox").check()
    row(rosa, kept).get_by_role("checkbox").focus()
    icon = rosa.page.locator("link[rel=icon]").get_attribute("href")
    stack.python(
        "from approvals.models import Invocation\n"
        f"Invocation.objects.filter(pk={first['invocation_id']!r}).update(digest='0' * 64)"
    )
    ana = take_seat()
    ana.arrive("ana", people["ana"])
    ana.open_approval(gone["approval_id"])
    ana.page.get_by_label("Reason, told to the agent").fill("no")
    ana.press(ana.button("Reject").first)
    new = hold(stack, bot)
    wait_a_while(rosa)
    row(rosa, new).wait_for()
    assert row(rosa, gone).count() == 0
    assert row(rosa, kept).get_by_role("checkbox").is_checked()
    assert not row(rosa, first).get_by_role("checkbox").is_checked()
    assert focused(rosa) == f"tick-{kept['approval_id']}"
    assert said(rosa) == "The list has changed. 2 ticked calls are not what was shown any more."
    assert rosa.page.locator("#queue-news").get_attribute("aria-live") == "polite"
    assert rosa.button("Review what is ticked (1)").is_visible()
    assert rosa.page.title() == f"({before}) Rampart · Approvals"
    hold(stack, bot)
    wait_a_while(rosa)
    until(lambda: rosa.page.title() == f"({before + 1}) Rampart · Approvals")
    assert rosa.page.locator("#tab-yours").inner_text() == f"Yours to decide ({before + 1})"
    assert icon is not None and icon.startswith("data:image/png")
    assert rosa.page.locator("link[rel=icon]").get_attribute("href") != icon


@pytest.mark.feature("E44")
def test_a_still_queue_is_asked_for_once_in_twenty_seconds_and_not_while_hidden(
    stack: Stack, bot: str, rosa: Seat
) -> None:
    hold(stack, bot)
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.startswith((f"{rosa.base_url}{PULSE}", f"{rosa.base_url}{LIST}?")):
            asked.append(request.url)

    rosa.open(f"{LIST}?q=bot")
    rosa.page.on("request", note)
    wait_a_while(rosa, "00:19")
    assert asked == []
    with rosa.page.expect_response(f"**{PULSE}") as answer:
        wait_a_while(rosa, "00:01")
    assert answer.value.status == 304
    rosa.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, writable: true})")
    wait_a_while(rosa, "05:00")
    assert len(asked) == 1
    rosa.page.evaluate("document.hidden = false")
    with rosa.page.expect_response(f"**{PULSE}"):
        rosa.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert len(asked) == 2


@pytest.mark.feature("V1")
def test_a_list_that_is_not_kept_up_to_date_says_so(stack: Stack, bot: str, rosa: Seat) -> None:
    hold(stack, bot)
    rosa.open(LIST)
    rosa.page.route(f"**{PULSE}", lambda route: route.abort())
    wait_a_while(rosa)
    rosa.page.get_by_text("The server does not answer").wait_for()
    rosa.page.unroute(f"**{PULSE}")
    rosa.page.context.clear_cookies()
    wait_a_while(rosa)
    rosa.page.get_by_text("sign in again").wait_for()
    rosa.complaints.clear()  # The abort is one.


@pytest.mark.feature("E46")
def test_a_call_whose_time_is_over_can_no_longer_be_ticked(
    stack: Stack, bot: str, rosa: Seat
) -> None:
    call = hold(stack, bot)
    rosa.open(LIST)
    line = row(rosa, call)
    assert "expires in 23 h" in line.inner_text()
    line.get_by_role("checkbox").check()
    rosa.page.route(f"**{PULSE}", lambda route: route.fulfill(status=304))
    wait_a_while(rosa, "25:00:00")
    line.get_by_text("its time is over").wait_for()
    assert line.get_by_role("checkbox").is_disabled()
    assert not line.get_by_role("checkbox").is_checked()


# By keys.


@pytest.mark.feature("E21", "V3")
def test_keys_walk_open_and_ask_and_none_of_them_decides(
    stack: Stack, bot: str, bot_name: str, rosa: Seat
) -> None:
    calls = [hold(stack, bot) for _ in range(3)]
    keys = rosa.page.keyboard
    rosa.open(f"{LIST}?q={bot_name}")
    for expected, key in ((0, "j"), (1, "j"), (2, "j"), (2, "j"), (1, "k")):
        keys.press(key)
        assert focused(rosa) == f"sentence-{calls[expected]['approval_id']}"
    with rosa.page.expect_navigation():
        keys.press("o")
    address = f"{rosa.base_url}{LIST}{{}}/change/"
    assert rosa.page.url == address.format(calls[1]["approval_id"])
    with rosa.page.expect_navigation():
        keys.press("j")
    assert rosa.page.url == address.format(calls[2]["approval_id"])
    keys.press("a")
    dialog = rosa.page.locator("dialog[data-confirms=a]")
    assert dialog.is_visible()
    keys.press("a")
    keys.press("Escape")
    keys.press("r")
    assert rosa.page.evaluate("document.activeElement.name") == "reason_to_agent"
    keys.type("jkoar/?")
    assert rosa.page.get_by_label("Reason, told to the agent").input_value() == "jkoar/?"
    assert rosa.page.url == address.format(calls[2]["approval_id"])
    for call in calls:
        found = stack.get(f"invocations/{call['invocation_id']}", bot).json()
        assert found["status"] == "requires_approval"


@pytest.mark.feature("E21", "V3")
def test_from_the_queue_a_leads_to_the_question_and_r_to_the_reason(
    stack: Stack, bot: str, rosa: Seat
) -> None:
    call = hold(stack, bot)
    keys = rosa.page.keyboard
    for key in "ar":
        rosa.open(f"{LIST}?q={call['approval_id']}")
        keys.press("j")
        with rosa.page.expect_navigation():
            keys.press(key)
        if key == "a":
            rosa.page.locator("dialog[data-confirms=a]").wait_for()
        else:
            until(lambda: rosa.page.evaluate("document.activeElement.name") == "reason_to_agent")
    found = stack.get(f"invocations/{call['invocation_id']}", bot).json()
    assert found["status"] == "requires_approval"


@pytest.mark.feature("E21")
def test_the_question_mark_lists_the_keys_and_the_slash_searches(
    stack: Stack, bot: str, rosa: Seat
) -> None:
    call = hold(stack, bot)
    rosa.open(LIST)
    rosa.page.keyboard.press("?")
    help_of_keys = rosa.page.get_by_role("dialog", name="Keys")
    assert help_of_keys.is_visible()
    for key in "jkoar/?":
        assert help_of_keys.locator("kbd", has_text=key).count() == 1, key
    rosa.page.keyboard.press("Escape")
    rosa.page.keyboard.press("/")
    assert focused(rosa) == "filter_q"
    rosa.page.keyboard.type("?/j")
    assert rosa.page.get_by_label("Search").input_value() == "?/j"
    assert not help_of_keys.is_visible()
    rosa.open_approval(call["approval_id"])
    with rosa.page.expect_navigation():
        rosa.page.keyboard.press("/")
    until(lambda: focused(rosa) == "filter_q")


@pytest.mark.feature("E21")
def test_whoever_wants_no_keys_has_none(
    stack: Stack, people: dict[str, str], bot: str, take_seat: TakeSeat
) -> None:
    hold(stack, bot)
    password = stack.new_person("keyless", "decide_approval")
    stack.python(
        "from approvals.models import Wishes\nfrom django.contrib.auth.models import User\n"
        "Wishes.objects.create(person=User.objects.get(username='keyless'), has_keys=False)"
    )
    seat = take_seat()
    seat.arrive("keyless", password)
    seat.open(LIST)
    seat.page.keyboard.press("j")
    seat.page.keyboard.press("?")
    assert focused(seat) == ""
    assert not seat.page.locator("#keys").is_visible()


# By thumb, and for everybody.


@pytest.mark.feature("V7", "E22", "E23")
@pytest.mark.parametrize("width", [1280, 360])
def test_the_queue_is_for_everybody(
    width: int, stack: Stack, people: dict[str, str], bot: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, bot, "long " * 60)
    stack.invoke("refund_payment", bot, prefer="respond-async", order_id="A-1", amount=900)
    seat = take_seat(viewport={"width": width, "height": 740})
    seat.arrive("rosa", people["rosa"])
    for query in ("", "?status=all", "?q=nothing-is-called-so", "?risk=3&order=risk"):
        seat.open(LIST + query)
        assert_accessible(seat)
    seat.open(LIST)
    assert_targets_hit(seat, "main a, main button, main input:not([type=hidden]), main summary")
    seat.page.keyboard.press("?")
    assert_accessible(seat)
    seat.page.keyboard.press("Escape")
    row(seat, call).get_by_role("checkbox").check()
    seat.press(seat.button("Review what is ticked"))
    assert_accessible(seat)
    assert_targets_hit(seat, "main button, main input:not([type=hidden]), main summary")


@pytest.mark.feature("E22", "V7")
def test_on_a_phone_the_ways_to_the_calls_come_before_the_search(
    people: dict[str, str], take_seat: TakeSeat
) -> None:
    rosa = take_seat(viewport=PHONE)
    rosa.arrive("rosa", people["rosa"])
    rosa.open(LIST)
    tabs, search = (rosa.page.locator(part) for part in ("main .tabs", "main form.filters"))
    assert tabs.bounding_box()["y"] < search.bounding_box()["y"]
    rosa.page.locator("#tab-all").focus()
    rosa.page.keyboard.press("Tab")
    assert focused(rosa) == "filter_q"


@pytest.mark.feature("E22", "V7")
def test_a_thumb_decides_in_three_taps_after_signing_in(
    stack: Stack, people: dict[str, str], bot: str, take_seat: TakeSeat
) -> None:
    call = hold(stack, bot)
    rosa = take_seat(viewport=PHONE, has_touch=True, is_mobile=True)
    rosa.sign_in("rosa", people["rosa"])
    rosa.press(rosa.page.locator(f"a[href^='{LIST}']").first, by_thumb=True)
    rosa.press(row(rosa, call).get_by_role("link"), by_thumb=True)
    rosa.press(rosa.button("Approve and run").first, by_thumb=True)
    rosa.page.get_by_text("Approved: ").wait_for()
    found = stack.get(f"invocations/{call['invocation_id']}?wait=20", bot).json()
    assert found["status"] == "success"
