"""The page of one call at a browser: on one screen, by keys, by thumb, without scripts."""

import itertools
import json
import textwrap
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route

from tests.browser.accessibility import assert_accessible, assert_targets_hit
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

amounts = itertools.count(3001)
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
HOSTILE = "to \u0440\u0430ypal \u202egnp.exe\u202c zero\u200bwidth"
Sit = Any


def hold(stack: Stack, key: str, **arguments: Any) -> dict[str, Any]:
    """A refund that waits for a person."""
    given = {"order_id": "A-1001", "amount": next(amounts), **arguments}
    answer = stack.invoke("refund_payment", key, prefer="respond-async", **given)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def held_under(stack: Stack, key: str, flag: str) -> dict[str, Any]:
    """A call held by a rule with this flag: the server feels a rule within half a second."""

    def held_by_it() -> dict[str, Any] | None:
        call = hold(stack, key)
        terms = stack.python(
            "from approvals.models import Approval\n"
            f"print(Approval.objects.get(pk='{call['approval_id']}').agreed.{flag})"
        )
        return call if "True" in terms else None

    found: dict[str, Any] = until(held_by_it)
    return found


@pytest.fixture(scope="module")
def shop_key(stack: Stack) -> str:
    """An agent of this file's own."""
    return stack.new_key("page-bot")


@pytest.fixture(scope="module", autouse=True)
def presets(stack: Stack) -> None:
    """Two ready-made reasons to reject."""
    stack.python(
        "from approvals.models import Preset\n"
        "Preset.objects.get_or_create(label='Invoice missing', text='Attach the invoice.')\n"
        "Preset.objects.get_or_create(label='Wrong currency', text='Use the right one.')"
    )


@pytest.fixture
def sit(people: dict[str, str], take_seat: TakeSeat) -> Sit:
    """A person signs in."""

    def sit_down(name: str = "rosa", **options: Any) -> Seat:
        seat: Seat = take_seat(**options)
        seat.arrive(name, people[name])
        return seat

    return sit_down


@pytest.mark.feature("E11", "E12", "E18", "E20")
def test_one_screen_holds_what_a_decision_needs_and_one_press_decides(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key, card_number="4111111111111111")
    rosa = sit(viewport=DESK)
    rosa.open_approval(call["approval_id"])
    for seen in (
        rosa.page.get_by_role("heading", name="page-bot wants to refund"),
        rosa.page.get_by_text("high risk"),
        rosa.page.get_by_text("money movement"),
        rosa.page.get_by_text("Held because: amount exceeds 500"),
        rosa.page.get_by_text("hidden by the tool's rules"),
        rosa.page.get_by_label("Note"),
        rosa.page.get_by_label("Reason, told to the agent"),
        rosa.page.get_by_text("Expires in 23 h"),
        rosa.button("Approve and run"),
        rosa.button("Reject"),
    ):
        box = seen.first.bounding_box()
        assert box is not None and box["y"] + box["height"] <= DESK["height"], seen
    for folded in (call["approval_id"], call["request_id"], '"order_id": "A-1001"'):
        assert not rosa.page.get_by_text(folded).first.is_visible()
    rosa.press(rosa.button("Approve and run"))
    assert rosa.page.get_by_text("Approved: page-bot wants to refund").is_visible()


@pytest.mark.feature("E17", "AP12")
def test_a_ready_made_reason_fills_the_text_and_the_agent_reads_what_was_previewed(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key)
    rosa = sit()
    rosa.open_approval(call["approval_id"])
    preview = rosa.page.locator("[data-preview]")
    assert not preview.is_visible()
    rosa.page.get_by_label("Ready-made reason to reject").select_option("Invoice missing")
    reason = rosa.page.get_by_label("Reason, told to the agent")
    assert reason.input_value() == "Attach the invoice."
    reason.fill("Attach the invoice of May.")
    shown = preview.locator("pre").inner_text()
    rosa.press(rosa.button("Reject"))
    told = stack.get(f"invocations/{call['invocation_id']}", shop_key).json()
    assert told["decision"]["reason_to_agent"] == shown == "Attach the invoice of May."


@pytest.mark.feature("E17", "AP12")
def test_a_ready_made_reason_does_not_write_over_what_a_person_has_written(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key)
    rosa = sit()
    rosa.open_approval(call["approval_id"])
    ready_made = rosa.page.get_by_label("Ready-made reason to reject")
    reason = rosa.page.get_by_label("Reason, told to the agent")
    ready_made.select_option("Invoice missing")
    ready_made.select_option("Wrong currency")
    assert reason.input_value() == "Use the right one."
    reason.fill("Use francs.")
    ready_made.select_option("Invoice missing")
    assert reason.input_value() == "Use francs."


def middle_of(button: Locator) -> tuple[float, float]:
    """Where to press the mouse, whether the button can be pressed or not."""
    box = button.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.feature("E18", "E20")
def test_a_second_click_decides_no_call_that_nobody_has_read(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    first, second = (hold(stack, shop_key)["approval_id"] for _ in range(2))
    stack.python(
        textwrap.dedent(f"""
        from datetime import timedelta
        from approvals.models import Approval
        from audit.models import local_now
        for minutes, pk in enumerate(({first!r}, {second!r}), 2):
            soon = local_now() + timedelta(minutes=minutes)
            Approval.objects.filter(pk=pk).update(expires_at=soon)
        """)
    )
    rosa = sit(viewport=DESK)
    rosa.page.clock.install()
    rosa.open_approval(first)
    rosa.page.clock.pause_at(datetime.now() + timedelta(seconds=30))
    approve = rosa.button("Approve and run")
    posts: list[Route] = []
    rosa.page.route("**/approve/", lambda route: posts.append(route))
    place = middle_of(approve)
    with rosa.page.expect_request("**/approve/"):
        rosa.page.mouse.click(*place)
    rosa.page.mouse.click(*place)
    posts[0].continue_()
    rosa.page.get_by_text("This is the next one").wait_for()
    assert len(posts) == 1
    assert second in rosa.page.url
    rosa.page.wait_for_function("document.activeElement.localName === 'h1'")
    rosa.page.clock.run_for(400)
    rosa.page.mouse.click(*middle_of(approve))
    assert approve.is_disabled() and rosa.button("Reject").is_disabled()
    rosa.page.clock.run_for(600)
    assert approve.is_enabled() and rosa.button("Reject").is_enabled()
    counted = f"print(Approval.objects.get(pk={second!r}).votes.count())"
    assert stack.python(f"from approvals.models import Approval\n{counted}").strip() == "0"
    rosa.page.unroute("**/approve/")
    rosa.press(approve)
    assert rosa.page.get_by_text("Approved: page-bot wants to refund").is_visible()


@pytest.mark.feature("E19", "E20")
def test_the_key_asks_once_more_before_it_approves(stack: Stack, shop_key: str, sit: Sit) -> None:
    call = hold(stack, shop_key)
    rosa = sit()
    rosa.open_approval(call["approval_id"])
    rosa.page.keyboard.press("a")
    dialog = rosa.page.get_by_role("dialog")
    assert dialog.get_by_text("Approve and run? page-bot wants to refund").is_visible()
    dialog.get_by_role("button", name="Not yet").click()
    assert not dialog.is_visible()
    assert stack.get(f"invocations/{call['invocation_id']}", shop_key).json()["data"] is None
    rosa.page.get_by_role("heading", name="Decision", exact=True).click()
    rosa.page.keyboard.press("a")
    rosa.press(dialog.get_by_role("button", name="Approve and run"))
    assert rosa.page.get_by_text("Approved: page-bot wants to refund").is_visible()


@pytest.mark.feature("E43", "E13", "V6")
def test_what_is_copied_is_what_the_caller_sent(
    stack: Stack, shop_key: str, sit: Sit, tmp_path: Path
) -> None:
    call = hold(stack, shop_key, reason=HOSTILE)
    rosa = sit(permissions=["clipboard-read", "clipboard-write"])
    rosa.open_approval(call["approval_id"])
    clipboard = "navigator.clipboard.readText()"
    value = rosa.page.locator(".evidence pre.value", has_text="U+202E").first
    assert value.inner_text() != HOSTILE
    value.evaluate("one => getSelection().selectAllChildren(one)")
    rosa.page.keyboard.press("Control+c")
    assert rosa.page.evaluate(clipboard) == HOSTILE
    rosa.page.get_by_text("Raw JSON").click()
    rosa.button("Copy").click()
    rosa.button("Copied").wait_for()
    assert json.loads(rosa.page.evaluate(clipboard))["reason"] == HOSTILE
    with rosa.page.expect_download() as download:
        rosa.page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "raw.json")
    assert json.loads((tmp_path / "raw.json").read_text())["reason"] == HOSTILE


@pytest.mark.feature("V6", "E13")
def test_several_folded_values_are_open_at_once(stack: Stack, shop_key: str, sit: Sit) -> None:
    call = hold(stack, shop_key, order_id="x" * 5000, reason="y" * 5000)
    rosa = sit()
    rosa.open_approval(call["approval_id"])
    folds = rosa.page.locator(".evidence table details")
    for number in range(2):
        assert folds.nth(number).inner_text().startswith("4.9")
        folds.nth(number).locator("summary").click()
    assert rosa.page.get_by_text("x" * 5000, exact=True).is_visible()
    assert rosa.page.get_by_text("y" * 5000, exact=True).is_visible()


@pytest.mark.feature("E22", "E23")
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_is_for_everybody(
    size: dict[str, int], stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key, reason=HOSTILE, card_number="4111111111111111")
    rosa = sit(viewport=size)
    for verb in ("change", "edit"):
        rosa.open(f"/admin/approvals/approval/{call['approval_id']}/{verb}/")
        for folded in rosa.page.locator("main details").all():
            folded.evaluate("one => { one.open = true }")
        assert_targets_hit(rosa, "main button, main summary, main .buttons a, main textarea")
        assert_accessible(rosa)
    rosa.page.get_by_label("amount").fill("600")
    rosa.press(rosa.button("Show the difference"))
    assert_accessible(rosa)
    rosa.press(rosa.button("Confirm the change"))
    assert_accessible(rosa)
    ana = sit("ana", viewport=size)
    ana.open_approval(call["approval_id"])
    ana.page.get_by_label("Reason, told to the agent").fill("not this one")
    ana.press(ana.button("Reject"))
    ana.open_approval(call["approval_id"])
    assert_accessible(ana)


@pytest.mark.feature("E22")
def test_on_a_phone_the_order_is_that_of_a_decision(stack: Stack, shop_key: str, sit: Sit) -> None:
    call = hold(stack, shop_key)
    rosa = sit(viewport=PHONE)
    rosa.open_approval(call["approval_id"])
    tops = [
        rosa.page.locator(part).first.bounding_box()["y"]
        for part in ("h1", ".badges", ".held", ".evidence", "[data-key=a]", ".before", ".history")
    ]
    assert tops == sorted(tops)


@pytest.mark.feature("E22", "E23", "V6")
def test_on_a_phone_a_long_value_scrolls_in_a_box_that_keys_reach(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key, reason="a long story " * 120)
    rosa = sit(viewport=PHONE)
    rosa.open_approval(call["approval_id"])
    story = rosa.page.locator(".evidence pre.value", has_text="a long story").first
    assert story.bounding_box()["height"] <= 14 * 16
    story.focus()
    assert story.evaluate("one => one === document.activeElement")
    assert_accessible(rosa)


@pytest.mark.feature("E17", "E46", "E48")
def test_without_scripts_a_ready_made_reason_is_chosen_and_counts(
    stack: Stack, shop_key: str, sit: Sit
) -> None:
    call = hold(stack, shop_key)
    rosa = sit(java_script_enabled=False)
    rosa.open_approval(call["approval_id"])
    assert rosa.page.locator("[data-copies]").is_hidden()
    rosa.page.get_by_label("Ready-made reason to reject").select_option("Wrong currency")
    rosa.press(rosa.button("Reject"))
    told = stack.get(f"invocations/{call['invocation_id']}", shop_key).json()
    assert told["decision"]["reason_to_agent"] == "Use the right one."


@pytest.mark.feature("E14", "E48", "T3")
def test_the_owner_reads_why_reminds_the_others_and_takes_the_call_back(
    stack: Stack, take_seat: TakeSeat
) -> None:
    password = stack.new_person("olga", "decide_approval", "view_approval", "view_invocation")
    call = hold(stack, stack.new_key("olgas-bot", owner="olga"))
    olga = take_seat(viewport=PHONE)
    olga.arrive("olga", password)
    olga.open_approval(call["approval_id"])
    assert olga.page.get_by_text("with a key of yours; somebody else decides it").is_visible()
    assert olga.button("Approve and run").count() == 0
    olga.press(olga.button("Remind someone who can"))
    assert olga.page.get_by_text("Nobody was reminded: no mail goes").is_visible()
    assert not olga.scrolls_sideways()
    olga.press(olga.button("Cancel this call"))
    assert olga.page.locator(".badges").get_by_text("cancelled").is_visible()


@pytest.mark.feature("AP9", "AP17", "E15", "E18")
def test_two_people_of_two_groups_decide_one_after_the_other_with_all_that_is_asked_of_them(
    stack: Stack, take_seat: TakeSeat
) -> None:
    can = ("decide_approval", "view_approval", "view_invocation")
    passwords = {name: stack.new_person(name, *can) for name in ("otto", "fina")}
    stack.python(
        textwrap.dedent("""
        from django.contrib.auth.models import Group, User
        from approvals.models import Policy
        rule = Policy.objects.create(
            name="both", tool="refund_*", actor="staged-bot", step_up=True,
            typed_confirmation=True, reason_required=True,
        )
        for position, (group, name) in enumerate((("ops", "otto"), ("finance", "fina")), 1):
            found = Group.objects.get_or_create(name=group)[0]
            User.objects.get(username=name).groups.add(found)
            rule.stages.create(position=position, needs=1, group=found)
        """)
    )
    call = held_under(stack, stack.new_key("staged-bot"), "typed_confirmation")
    seats = {name: take_seat() for name in passwords}
    for name, seat in seats.items():
        seat.arrive(name, passwords[name])
        seat.open_approval(call["approval_id"])
    otto, fina = seats.values()
    assert fina.page.get_by_text("It needs somebody of ops now.").is_visible()
    otto.press(otto.button("Approve and run"))
    assert otto.page.get_by_text("Say why: this call is not decided").first.is_visible()
    otto.page.get_by_label("Note").fill("seen the order")
    otto.press(otto.button("Approve and run"))
    assert otto.page.get_by_text("Type refund_payment to confirm.").first.is_visible()
    assert otto.page.get_by_label("Note").input_value() == "seen the order"
    otto.page.get_by_label("Type refund_payment to approve").fill("refund_payment")
    otto.press(otto.button("Approve and run"))
    counts = "Your approval counts; it still needs 1 of finance"
    assert otto.page.get_by_text(counts).first.is_visible()
    fina.open_approval(call["approval_id"])
    assert fina.page.locator(".vote").get_by_text("otto").is_visible()
    assert fina.page.locator(".vote").get_by_text("seen the order").is_visible()
    fina.page.get_by_label("Note").fill("paid before")
    fina.page.get_by_label("Type refund_payment to approve").fill("refund_payment")
    fina.press(fina.button("Approve and run"))
    assert fina.page.get_by_text("Approved: staged-bot wants to refund").is_visible()


@pytest.mark.feature("AP17", "V2")
def test_where_a_fresh_proof_is_asked_for_the_page_leads_to_it_and_back(
    stack: Stack, take_seat: TakeSeat
) -> None:
    password = stack.new_person("tess", "decide_approval", "view_approval", "view_invocation")
    stack.python(
        "from approvals.models import Policy\n"
        "Policy.objects.create(name='prove', tool='refund_*', actor='proof-bot', step_up=True)"
    )
    call = held_under(stack, stack.new_key("proof-bot"), "step_up")
    tess = take_seat()
    tess.arrive("tess", password)
    stack.python(
        textwrap.dedent("""
        from django.contrib.sessions.backends.db import SessionStore
        from django.contrib.sessions.models import Session
        for row in Session.objects.all():
            session = SessionStore(row.session_key)
            if "proof" in session:
                session["proof"] = {**session["proof"], "at": session["proof"]["at"] - 360}
                session.save()
        """)
    )
    tess.open_approval(call["approval_id"])
    assert tess.page.get_by_text("you need a fresh proof that it is you").is_visible()
    assert tess.button("Approve and run").count() == 0
    tess.press(tess.page.get_by_role("link", name="Prove it, then come back"))
    tess.page.get_by_label("Password").fill(password)
    tess.press(tess.page.locator("main button[type=submit], #content button[type=submit]").first)
    assert call["approval_id"] in tess.page.url
    tess.press(tess.button("Approve and run"))
    assert tess.page.get_by_text("Approved: proof-bot wants to refund").is_visible()
