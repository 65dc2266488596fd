"""An author of policies at a browser: writes one, sees what it does, supposes a call."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.stack]

ADD = "/admin/approvals/policy/add/"
LIST = "/admin/approvals/policy/"
PHONE = {"width": 360, "height": 740}
MAKE_PEOPLE = """
from django.contrib.auth.models import Group, Permission, User
rights = Permission.objects.filter(codename__in=["decide_approval"])
for group, names in (("tills", ("opal", "oscar")), ("bursary", ("faye",))):
    made, _ = Group.objects.get_or_create(name=group)
    for name in names:
        user = User.objects.create_user(name)
        user.user_permissions.set(rights)
        user.groups.add(made)
"""
CLEAN_UP = "from approvals.models import Policy; Policy.objects.all().delete()"


@pytest.fixture(scope="module")
def author(stack: Stack) -> Iterator[str]:
    """A person who writes policies, with people to name in them; leaves no policy behind."""
    stack.python(MAKE_PEOPLE)
    verbs = ("view_policy", "add_policy", "change_policy", "delete_policy")
    yield stack.new_person("paula", *verbs)
    stack.python(CLEAN_UP)


def sit_down(take_seat: TakeSeat, author: str, **options: Any) -> Seat:
    seat = take_seat(**options)
    seat.arrive("paula", author)
    return seat


def fill_in(seat: Seat, name: str) -> None:
    """A policy that nobody else's calls meet."""
    page = seat.page
    page.locator("[name=name]").fill(name)
    page.locator("[name=tool]").fill("refund_*")
    page.locator("[name=actor]").fill("nobody-*")
    page.locator("[name=conditions]").fill("amount > 500\ncurrency in EUR, USD")
    page.locator("[name=expires_after]").fill("12h")
    for number, (needs, group) in enumerate((("2", "tills"), ("1", "bursary"))):
        page.locator(f"[name=stages-{number}-needs]").fill(needs)
        page.locator(f"[name=stages-{number}-group]").select_option(label=group)


@pytest.mark.feature("P1", "AP9", "P5")
@pytest.mark.parametrize("options", [{}, {"viewport": PHONE}, {"java_script_enabled": False}])
def test_a_policy_is_written_read_back_as_a_sentence_and_supposed(
    take_seat: TakeSeat, author: str, options: dict[str, Any]
) -> None:
    seat = sit_down(take_seat, author, **options)
    name = f"large refunds {len(options)} {[*options]}"
    seat.open(ADD)
    fill_in(seat, name)
    seat.press(seat.button("Save and continue editing"))
    sentence = seat.page.locator(".policy-sentence").inner_text()
    assert sentence == (
        "Holds refund_* by nobody-* when amount exceeds 500 and currency is one of 'EUR', 'USD',"
        " until 2 of tills and then 1 of bursary agree, within 12h."
    )
    facts = seat.page.locator(".policy-facts").inner_text()
    assert "opal, oscar" in facts and "faye" in facts and "refund_payment" in facts
    assert not seat.scrolls_sideways()
    seat.open(LIST)
    seat.press(seat.page.get_by_role("link", name="Suppose a call"))
    seat.page.get_by_label("Tool").select_option("refund_payment")
    seat.page.get_by_label("Actor").fill("nobody-1")
    seat.page.get_by_label("Scopes").fill("refunds.write")
    seat.page.get_by_label("Arguments").fill('{"order_id": "A", "amount": 900}')
    seat.press(seat.button("Suppose it"))
    found = seat.page.get_by_role("region", name="What would become of it").inner_text()
    assert f"rule {name}" in found and "2 of tills" in found and "opal, oscar" in found
    assert not seat.scrolls_sideways()


@pytest.mark.feature("P1", "AP9", "E22")
def test_on_a_phone_the_stages_are_read_whole_and_one_empty_row_follows_them(
    take_seat: TakeSeat, author: str
) -> None:
    seat = sit_down(take_seat, author, viewport=PHONE)
    seat.open(ADD)
    rows = seat.page.locator("#stages-group tr.form-row:not(.empty-form)")
    assert rows.count() == 2
    group = seat.page.locator("[name=stages-0-group]").bounding_box()
    assert group["width"] > 200 and group["x"] + group["width"] <= PHONE["width"]
    priority = seat.page.locator(".form-row.field-priority")
    before = priority.evaluate("one => getComputedStyle(one, '::before').content")
    assert "Priority" not in before
    fill_in(seat, "stages on a phone")
    seat.press(seat.button("Save and continue editing"))
    assert rows.count() == 3
    assert not seat.scrolls_sideways()


@pytest.mark.feature("P1", "P5")
def test_the_pages_of_policies_can_be_used_by_everybody(take_seat: TakeSeat, author: str) -> None:
    """The other test keeps the pages' own policy, past which axe has to go."""
    seat = sit_down(take_seat, author, bypass_csp=True)
    seat.open(ADD)
    fill_in(seat, "for axe")
    seat.page.locator("[name=stages-0-needs]").fill("9")
    seat.press(seat.button("Save and continue editing"))
    assert "Nobody can decide" in seat.page.locator(".policy-facts .warnings").inner_text()
    assert_accessible(seat)
    for address in (LIST, ADD, f"{LIST}simulate/"):
        seat.open(address)
        assert_accessible(seat)
    seat.page.get_by_label("Actor").fill("nobody-1")
    seat.page.get_by_label("Scopes").fill("*")
    seat.press(seat.button("Suppose it"))
    assert_accessible(seat)
