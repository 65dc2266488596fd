"""An operator at a browser: a key is rotated, shown once, called with, and revoked."""

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Dialog, Locator
from playwright.sync_api import Error as BrowserError

from tests.browser.accessibility import SCHEMES
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

LIST = "/admin/tools/apikey/"
PHONE = {"width": 360, "height": 740}
SECONDS_TO_TURN_GREEN = 5
Operator = Callable[..., Seat]


@pytest.fixture
def operator(stack: Stack, people: dict[str, str], take_seat: TakeSeat) -> Operator:
    """Opens browsers in which rosa has signed in; whatever breaks the page's policy is noted."""

    def sit_down(**options: Any) -> Seat:
        seat = take_seat(**options)
        seat.page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " event => console.error('policy: ' + event.blockedURI + event.violatedDirective))"
        )
        seat.arrive("rosa", people["rosa"])
        return seat

    return sit_down


def open_rotation(seat: Seat, key: str) -> None:
    """From the list to the form."""
    seat.open(f"{LIST}?q={key[:14]}")
    seat.press(seat.page.get_by_role("link", name=f"Rotate {key[:14]}"))


def rotate(seat: Seat, key: str) -> str:
    """Rotate with the usual overlap; the new key's text."""
    open_rotation(seat, key)
    seat.press(seat.button("Rotate"))
    return seat.page.locator("pre.secret").inner_text()


def page_of(seat: Seat, key: str) -> Locator:
    """The link to a key's own page in the trail."""
    return seat.page.locator(".breadcrumbs").get_by_role("link", name=key[:14])


def of_actor(stack: Stack, actor: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(stack.manage("list_keys", "--json"))
    return [row for row in rows if row["actor"] == actor]


def answer_dialogs(seat: Seat, act: str) -> list[str]:
    """Accept or dismiss each dialog; the kinds of those that have come."""
    kinds: list[str] = []

    def answer(dialog: Dialog) -> None:
        kinds.append(dialog.type)
        getattr(dialog, act)()

    seat.page.on("dialog", answer)
    return kinds


@pytest.mark.feature("I3", "V4", "E54")
def test_a_key_is_rotated_and_the_first_call_with_the_new_one_turns_a_line_green(
    stack: Stack, operator: Operator
) -> None:
    old, rosa = stack.new_key("rotating-bot", ("orders.read",)), operator()
    new = rotate(rosa, old)
    line = rosa.page.locator(".first-call")
    assert stack.invoke("lookup_order", old, order_id="A-1").status_code == 200
    assert line.inner_text() == "◷ Waiting for the first call…"
    assert stack.invoke("lookup_order", new, order_id="A-1").status_code == 200
    rosa.page.locator(".first-call.come").wait_for(timeout=SECONDS_TO_TURN_GREEN * 1000)
    assert line.inner_text() == "✓ The first call has come."
    paint = "one => getComputedStyle(one).backgroundColor"
    assert line.evaluate(paint) == rosa.page.locator(".badge.good").first.evaluate(paint)
    assert rosa.page.get_by_text("which works too until the overlap ends, in 23 h").is_visible()
    rosa.press(rosa.page.get_by_role("link", name=old[:14]))
    assert rosa.page.get_by_text("overlaps until").first.is_visible()
    assert rosa.page.locator(".lineage").get_by_role("link", name=new[:14]).is_visible()
    assert new not in rosa.page.content() and new not in stack.log("web")


@pytest.mark.feature("E54")
def test_the_command_on_the_page_is_the_first_call(stack: Stack, operator: Operator) -> None:
    old, rosa = stack.new_key("curl-bot"), operator()
    new = rotate(rosa, old)
    command = rosa.page.locator("pre.command").inner_text()
    assert new[15:] not in command
    done = subprocess.run(
        ["bash", "-c", command], env={"PATH": os.environ["PATH"], "RAMPART_KEY": new},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert json.loads(done.stdout)["prefix"] == new[:14], done.stderr
    rosa.page.locator(".first-call.come").wait_for(timeout=SECONDS_TO_TURN_GREEN * 1000)


def by_the_button(seat: Seat) -> None:
    seat.button("Copy").click()
    seat.button("Copied").wait_for()


def by_hand(seat: Seat) -> None:
    seat.page.locator("pre.secret").click()
    seat.page.keyboard.press("Control+c")
    seat.button("Copied").wait_for()


@pytest.mark.feature("E54", "V4")
@pytest.mark.parametrize("copy", [by_the_button, by_hand])
def test_who_leaves_without_the_key_is_warned_until_it_was_copied(
    copy: Callable[[Seat], None], stack: Stack, operator: Operator
) -> None:
    rosa = operator(permissions=["clipboard-read", "clipboard-write"])
    new = rotate(rosa, stack.new_key("copied-bot"))
    warnings = answer_dialogs(rosa, "dismiss")
    page_of(rosa, new).click()
    assert rosa.page.locator("pre.secret").inner_text() == new
    assert warnings == ["beforeunload"]
    copy(rosa)
    assert rosa.page.evaluate("navigator.clipboard.readText()") == new
    rosa.press(page_of(rosa, new))
    assert warnings == ["beforeunload"]


@pytest.mark.feature("E54")
def test_who_leaves_after_the_first_call_is_not_warned(stack: Stack, operator: Operator) -> None:
    rosa = operator()
    new = rotate(rosa, stack.new_key("called-bot"))
    warnings = answer_dialogs(rosa, "dismiss")
    stack.get("key", new)
    rosa.page.locator(".first-call.come").click()
    rosa.press(page_of(rosa, new))
    assert warnings == []


@pytest.mark.feature("I3", "V4")
def test_a_reload_neither_shows_the_key_again_nor_rotates_again(
    stack: Stack, operator: Operator
) -> None:
    rosa = operator()
    new = rotate(rosa, stack.new_key("reload-bot"))
    answer_dialogs(rosa, "accept")
    rosa.page.reload()
    assert rosa.page.get_by_text("It has been rotated since this page was opened.").is_visible()
    assert new not in rosa.page.content()
    assert not any(row["revoked_at"] for row in of_actor(stack, "reload-bot"))


@pytest.mark.feature("I3", "V4")
def test_back_and_forward_do_not_lead_to_the_key_again(stack: Stack, operator: Operator) -> None:
    rosa = operator()
    new = rotate(rosa, stack.new_key("history-bot"))
    answer_dialogs(rosa, "accept")
    rosa.page.go_back()
    assert rosa.page.get_by_text("and nobody has used it").is_visible()
    assert new not in rosa.page.content()
    try:
        rosa.page.go_forward()
    except BrowserError as no_copy_kept:
        assert "ERR_CACHE_MISS" in str(no_copy_kept)
    assert new not in rosa.page.locator("body").inner_text()
    assert len(of_actor(stack, "history-bot")) == 2


@pytest.mark.feature("V4")
def test_a_page_that_is_left_keeps_no_key(stack: Stack, operator: Operator) -> None:
    """A browser may keep the page as it was, to come back to: then it has nothing to show."""
    rosa = operator()
    new = rotate(rosa, stack.new_key("left-bot"))
    assert new in rosa.page.content()
    rosa.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
    assert new not in rosa.page.content()
    assert rosa.button("Copy").is_hidden()


@pytest.mark.feature("I3", "V4")
def test_a_button_that_was_pressed_is_closed_until_somebody_comes_back(
    stack: Stack, operator: Operator
) -> None:
    rosa = operator()
    open_rotation(rosa, stack.new_key("twice-bot"))
    never_answered = "form => form.addEventListener('submit', event => event.preventDefault())"
    rosa.page.locator("form[data-once]").evaluate(never_answered)
    rosa.button("Rotate").click()
    assert rosa.button("Rotate").is_disabled()
    rosa.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow'))")
    assert rosa.button("Rotate").is_enabled()


@pytest.mark.feature("E54")
def test_when_the_session_is_over_the_line_says_so(stack: Stack, operator: Operator) -> None:
    rosa = operator()
    rotate(rosa, stack.new_key("signed-out-bot"))
    rosa.page.context.clear_cookies()
    rosa.page.get_by_text("No longer waiting: sign in again.").wait_for()


@pytest.mark.feature("V4", "E54", "V3")
def test_everything_works_without_scripts(stack: Stack, operator: Operator) -> None:
    rosa = operator(java_script_enabled=False)
    new = rotate(rosa, stack.new_key("plain-bot"))
    assert rosa.button("Copy").is_hidden()
    key_page = rosa.page.get_by_role("link", name="The key's page")
    assert stack.get("key", new).status_code == 200
    rosa.press(key_page)
    assert rosa.page.locator(".field-used_exactly").inner_text().startswith("Last used:\njust now")


@pytest.mark.feature("I2")
def test_chosen_keys_are_listed_and_then_revoked(stack: Stack, operator: Operator) -> None:
    keys, rosa = [stack.new_key("bulk-bot") for _ in range(3)], operator()
    rosa.open(f"{LIST}?q=bulk-bot")
    for key in keys[:2]:
        row = rosa.page.locator("#result_list tbody tr").filter(has_text=key[:14])
        row.locator("input.action-select").check()
    rosa.page.locator("select[name=action]").select_option("revoke")
    rosa.press(rosa.button("Go"))
    listed = rosa.page.locator(".to-revoke").inner_text()
    assert [key[:14] in listed for key in keys] == [True, True, False]
    rosa.page.get_by_label("Reason").fill("the laptop was stolen")
    rosa.press(rosa.button("Revoke for ever"))
    rosa.page.get_by_text("2 revoked", exact=True).wait_for()
    until(lambda: [stack.get("key", key).status_code for key in keys] == [401, 401, 200])


@pytest.mark.feature("V7", "V4", "E9")
@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 900}], ids=["phone", "desk"])
def test_the_pages_fit_and_break_no_policy_of_their_own(
    size: dict[str, int], stack: Stack, operator: Operator
) -> None:
    long = [f"area-{number}.with-a-long-name.read" for number in range(9)]
    key = stack.new_key("an-actor-with-quite-a-long-name-" * 3, tuple(long))
    rosa = operator(viewport=size)

    def look() -> None:
        for scheme in SCHEMES:
            rosa.page.emulate_media(color_scheme=scheme)
            assert not rosa.scrolls_sideways(), rosa.page.url
        for target in rosa.page.locator("main button, main a.button-link").all():
            box = target.bounding_box()
            assert box is None or min(box["height"], box["width"]) >= 24

    rosa.open(f"{LIST}?q={key[:14]}")
    look()
    rosa.press(rosa.page.get_by_role("link", name=key[:14], exact=True))
    look()
    open_rotation(rosa, key)
    look()
    rosa.page.get_by_label("Overlap").fill("soon")
    rosa.press(rosa.button("Rotate"))
    look()
    rosa.page.get_by_label("Overlap").fill("1h")
    rosa.press(rosa.button("Rotate"))
    look()
    by_hand(rosa)
    look()
    rosa.open(f"{LIST}add/")
    look()
    rosa.open(f"{LIST}?q={key[:14]}")
    rosa.page.locator("input.action-select").first.check()
    rosa.page.locator("select[name=action]").select_option("revoke")
    rosa.press(rosa.button("Go"))
    look()
