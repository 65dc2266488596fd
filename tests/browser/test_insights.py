"""Insights, wishes and the overview at a browser: for every eye, on a phone, in every zone."""

import re

import pytest

from tests.browser.accessibility import assert_accessible, assert_targets_hit
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}
INSIGHTS, WISHES = "/admin/insights/", "/admin/wishes/"


@pytest.fixture(scope="module")
def kai(stack: Stack) -> str:
    """A reviewer with a month of decisions behind the desk; returns the password."""
    password = stack.new_person("kai", "decide_approval", "view_approval", "view_preset")
    stack.new_key("past-agent")
    stack.python(
        "import random\n"
        "from audit.models import local_now\n"
        "from django.contrib.auth.models import User\n"
        "from tests.past import Habits, Past, weeks_of_work\n"
        "from tools.models import ApiKey, Tool\n"
        "version = Tool.objects.get(name='refund_payment').current\n"
        "past = Past(ApiKey.objects.get(actor='past-agent'), version)\n"
        "team = [Habits(User.objects.get(username='kai'), (1, 60), 0.2)]\n"
        "tools = ['refund_payment', 'a_tool_with_' + 'a_very_long_name_' * 9, '<b>\\u202e']\n"
        "weeks_of_work(past, local_now(), days=28, calls=120, tools=tools, team=team,"
        " dice=random.Random(5))\n"
        "past.write()"
    )
    return password


def at_the_desk(take_seat: TakeSeat, password: str, **options: object) -> Seat:
    seat = take_seat(**options)
    seat.arrive("kai", password)
    return seat


@pytest.mark.feature("E23", "O5")
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_for_everybody(size: dict[str, int], kai: str, take_seat: TakeSeat) -> None:
    seat = at_the_desk(take_seat, kai, viewport=size)
    for path in ("/admin/", INSIGHTS, f"{INSIGHTS}?days=90", WISHES, "/admin/approvals/preset/"):
        seat.open(path)
        for summary in seat.page.locator("main summary").all():
            summary.click()
        assert_accessible(seat)
        assert_targets_hit(
            seat, "main a.button-link, .ways-in a, .clock a, summary, form button, form input"
        )


@pytest.mark.feature("O5", "V5")
def test_the_charts_are_drawn_and_have_their_words(kai: str, take_seat: TakeSeat) -> None:
    seat = at_the_desk(take_seat, kai, java_script_enabled=False)
    seat.open("/admin/")
    seat.press(seat.page.locator(".ways-in").get_by_role("link", name="Insights"))
    chart = seat.page.get_by_role("img", name=re.compile("Calls held per day"))
    box = chart.bounding_box()
    assert box and box["width"] > 300 and box["height"] > 100
    look = "getComputedStyle(document.querySelector('.chart rect.yes')).fill"
    assert chart.locator("rect").count() > 20
    assert seat.page.locator("table.figures").get_by_text("refund_payment").is_visible()
    script = at_the_desk(take_seat, kai, color_scheme="dark")
    script.open(INSIGHTS)
    dark = script.page.evaluate(look)
    script.page.emulate_media(color_scheme="light")
    assert dark != script.page.evaluate(look)
    assert "rgb(0, 0, 0)" not in (dark, script.page.evaluate(look)), "a colour is found"


@pytest.mark.feature("E24")
def test_exact_times_are_in_the_zone_that_is_wished_for(
    stack: Stack, kai: str, take_seat: TakeSeat
) -> None:
    key = stack.new_key("timely-agent")
    held = stack.invoke(
        "refund_payment", key, prefer="respond-async", order_id="A-24", amount=777
    ).json()
    seat = at_the_desk(take_seat, kai, timezone_id="Asia/Kathmandu")

    def times() -> tuple[str, str]:
        seat.open_approval(held["approval_id"])
        exact = seat.page.locator("time.exact").first.inner_text()
        return exact, seat.page.locator(".clock").inner_text()

    in_utc, clock = times()
    assert in_utc.endswith(" UTC") and clock.startswith("Exact times are in UTC")
    seat.press(seat.page.get_by_role("link", name="Choose"))
    seat.page.get_by_label("Times in").select_option("my browser's")
    seat.press(seat.button("Keep"))
    assert seat.page.get_by_text("It is as you wish.").is_visible()
    here, clock = times()
    assert here.endswith(" +05:45") and "Asia/Katmandu" in clock.replace("Kathmandu", "Katmandu")
    moved = "new Date(document.querySelector('time.exact').dateTime).toISOString()"
    assert seat.page.evaluate(moved)[:19].replace("T", " ") == in_utc.removesuffix(" UTC")
    parsed = seat.page.evaluate(
        "(text) => new Date(text.replace(' ', 'T').replace(' ', '')).toISOString()", here
    )
    assert parsed == seat.page.evaluate(moved)
    titles = seat.page.evaluate("[...document.querySelectorAll('time[title]')].map((t) => t.title)")
    assert titles and all(
        re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\+05:45", one) for one in titles
    )
    seat.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend',"
        " '<p id=new><time class=exact datetime=2026-01-01T00:00:00Z>UTC</time></p>')"
    )
    seat.page.get_by_text("2026-01-01 05:45:00 +05:45").wait_for()


@pytest.mark.feature("E24")
def test_without_a_script_the_times_are_in_utc_and_say_so(
    stack: Stack, kai: str, take_seat: TakeSeat
) -> None:
    stack.python(
        "from approvals.models import Wishes\n"
        "from django.contrib.auth.models import User\n"
        "Wishes.objects.update_or_create(person=User.objects.get(username='kai'),"
        " defaults={'clock': 'local'})"
    )
    key = stack.new_key("plain-agent")
    held = stack.invoke(
        "refund_payment", key, prefer="respond-async", order_id="A-25", amount=778
    ).json()
    seat = at_the_desk(take_seat, kai, timezone_id="Asia/Kathmandu", java_script_enabled=False)
    seat.open_approval(held["approval_id"])
    assert seat.page.locator("time.exact").first.inner_text().endswith(" UTC")
    assert seat.page.locator(".clock").inner_text().startswith("Exact times are in UTC")
