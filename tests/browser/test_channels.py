"""An operator at a browser: a channel is made, tried, mended, and its log read."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.approvals.notices.receivers import HTTPReceiver, http_receiver
from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack, running, until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.feature("E32", "E53")]

PHONE = {"width": 360, "height": 740}
LIST = "/admin/approvals/channel/"
OPERATOR = (
    "view_channel", "add_channel", "change_channel", "delete_channel", "view_notice",
    "view_invocation", "view_apikey",
)  # fmt: skip


@pytest.fixture(scope="module")
def receiver() -> Iterator[HTTPReceiver]:
    with http_receiver() as started:
        yield started


@pytest.fixture(scope="module")
def stack(receiver: HTTPReceiver) -> Iterator[Stack]:
    """A deployment that may speak to this machine."""
    with running(RAMPART_INTERNAL_RECEIVERS="127.0.0.1") as started:
        yield started


@pytest.fixture(scope="module")
def password(stack: Stack) -> str:
    return stack.new_person("olga", *OPERATOR)


def make_channel(seat: Seat, name: str, url: str) -> str:
    """Fill in the form; the key that the answer shows."""
    seat.open(f"{LIST}add/")
    seat.page.get_by_label("Name:").fill(name)
    seat.page.get_by_label("Kind:").select_option("webhook")
    seat.page.get_by_label("URL:").fill(url)
    seat.press(seat.page.locator("[name=_save]"))
    return seat.page.locator("pre.secret").inner_text()


@pytest.mark.parametrize("screen", [{}, {"viewport": PHONE}])
def test_a_channel_is_made_tried_and_mended(
    take_seat: TakeSeat,
    stack: Stack,
    password: str,
    receiver: HTTPReceiver,
    screen: dict[str, Any],
) -> None:
    seat = take_seat(**screen)
    seat.arrive("olga", password)
    name = f"ops {len(screen)}"
    secret = make_channel(seat, name, receiver.url)
    assert_accessible(seat)
    seat.press(seat.page.get_by_role("link", name="Done"))
    assert secret not in seat.page.content() and "T0PSECRET" not in seat.page.content()
    assert_accessible(seat)

    receiver.answers(403, "invalid_token")
    seat.press(seat.button("Send test"))
    text = seat.page.locator("#content").inner_text()
    assert all(part in text for part in ("not taken", "127.0.0.1", "403", "invalid_token"))
    assert_accessible(seat)

    receiver.answers(200)
    seat.press(seat.button("Send another"))
    assert "not taken" not in seat.page.locator("#content").inner_text()
    seen = receiver.requests[-1]
    Webhook(secret).verify(seen["body"], seen["headers"])

    seat.open(LIST)
    assert_accessible(seat)
    seat.press(seat.page.get_by_role("link", name=name))
    seat.press(seat.page.get_by_role("link", name="What was sent"))
    assert_accessible(seat)
    seat.press(seat.page.locator("#result_list a").last)
    assert_accessible(seat)
    before = len(receiver.requests)
    seat.press(seat.button("Redeliver"))
    until(lambda: len(receiver.requests) > before)


def test_a_new_key_needs_one_press_and_is_shown_once(
    take_seat: TakeSeat, stack: Stack, password: str, receiver: HTTPReceiver
) -> None:
    seat = take_seat()
    seat.arrive("olga", password)
    old = make_channel(seat, "rotated", receiver.url)
    seat.press(seat.page.get_by_role("link", name="Done"))
    seat.press(seat.button("New signing key"))
    new = seat.page.locator("pre.secret").inner_text()
    assert re.match(r"whsec_", new) and new != old
    seat.press(seat.page.get_by_role("link", name="Done"))
    seat.press(seat.button("Send test"))
    seen = receiver.requests[-1]
    for secret in (old, new):
        Webhook(secret).verify(json.dumps(json.loads(seen["body"])), seen["headers"])
