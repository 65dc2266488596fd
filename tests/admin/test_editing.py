"""Editing what would run, from its page: the form, the difference, the change."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from approvals.models import Approval, Edit, Invocation
from audit.models import Event
from tests.admin.conftest import browser
from tests.conftest import REVIEWER_PERMISSIONS, Agent, MakeAgent, person, work
from tests.desk_cast import Rule
from tools import catalogue
from tools.models import Tool

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP13")]

CARD = "4111222233334444"


def address(approval: Approval, verb: str = "edit") -> str:
    return reverse(f"admin:approvals_approval_{verb}", args=[approval.pk])


def fields(html: str) -> dict[str, str]:
    """What the form holds, as a browser would send it: line ends and all."""
    inputs = re.findall(r'<input type="hidden" name="(.*?)"(?: value="(.*?)")?', html)
    areas = re.findall(r'<textarea name="(.*?)"[^>]*>\n?(.*?)</textarea>', html, re.S)
    chosen = re.findall(r'<select name="(.*?)".*?<option value="([^"]*)" selected', html, re.S)
    found = {name: unescape(text) for name, text in [*inputs, *areas, *chosen]}
    return {name: re.sub("\r\n|\r|\n", "\r\n", text) for name, text in found.items()}


def form(client: Client, approval: Approval) -> dict[str, str]:
    """The form as it is opened."""
    answer = client.get(address(approval))
    assert answer.status_code == 200, answer.content
    return fields(answer.content.decode())


def post(client: Client, approval: Approval, form: dict[str, str], **changes: str) -> Any:
    """The form sent, with other arguments."""
    changed = {f"argument-{name}": text for name, text in changes.items()}
    return client.post(address(approval), {**form, **changed})


def changed(client: Client, approval: Approval, reason: str = "", **changes: str) -> Any:
    """The form sent, and its difference confirmed."""
    opened = {**form(client, approval), "reason_to_agent": reason}
    difference = post(client, approval, opened, **changes)
    assert difference.status_code == 200, difference.content
    return post(client, approval, fields(difference.content.decode()))


def problems(html: str) -> dict[str, str]:
    """What is said to be wrong, by field."""
    errors = r'<ul class="errorlist[^"]*"(?: id="id_(.*?)_error")?[^>]*><li>(.*?)</li>'
    return {where.removeprefix("argument-"): what for where, what in re.findall(errors, html)}


@pytest.fixture
def shop(make_agent: MakeAgent) -> Agent:
    """An agent that refunds."""
    return make_agent("shop", ("*",))


@pytest.fixture
def ana(db: None) -> User:
    """A second reviewer."""
    return person("ana", *REVIEWER_PERMISSIONS)


@pytest.fixture
def refund(shop: Agent) -> Approval:
    """A refund that waits for a person."""
    return refund_of(shop)


def refund_of(shop: Agent, **arguments: Any) -> Approval:
    given = {"order_id": "A-1", "amount": 900, "card_number": CARD, **arguments}
    answer = shop.invoke("refund_payment", **given)
    assert answer.status_code == 202, answer.content
    return Approval.objects.with_everything().get(pk=answer.json()["approval_id"])


def test_what_is_confirmed_runs_once_somebody_else_has_approved_it(
    shop: Agent, refund: Approval, reviewer: User, ana: User
) -> None:
    asked = refund.invocation.digest
    answer = changed(browser(reviewer), refund, "less will do", amount="700")
    assert (answer.status_code, answer["Location"]) == (302, address(refund, "change"))
    row = Invocation.objects.get()
    assert row.digest != asked == row.asked_digest
    mine = browser(reviewer).get(address(refund, "change")).content.decode()
    assert "You edited what would run; somebody else decides it." in mine
    assert "Approve and run" not in mine
    for told in ("Changed by reviewers", "approval edited", "To the agent: less will do", asked):
        assert told in mine, told
    theirs = {"expected_digest": row.digest}
    assert browser(ana).post(address(refund, "approve"), theirs).status_code == 302
    work()
    told = shop.get(f"invocations/{row.pk}").json()
    assert (told["status"], told["data"]["amount"]) == ("success", 700)
    assert told["arguments_modified"] is True
    assert told["modifications"] == [{"argument": "amount", "asked": 900, "approved": 700}]


def test_the_difference_is_shown_before_anything_is_changed(
    refund: Approval, reviewer: User
) -> None:
    client = browser(reviewer)
    answer = post(client, refund, form(client, refund), amount="700", currency='"USD"')
    shown = answer.content.decode()
    assert answer.status_code == 200
    row = r'<th scope="row">(\w+)</th>.*?<pre[^>]*>(.*?)</pre>.*?<pre[^>]*>(.*?)</pre>'
    assert re.findall(row, shown.split("</thead>")[1], re.S) == [
        ("amount", "900", "700"),
        ("currency", "EUR", "USD"),
    ]
    assert "It would need 1 person, and you could not decide it." in shown
    assert Invocation.objects.get().digest == refund.invocation.digest
    assert not Edit.objects.exists()


def test_what_was_confirmed_is_what_changes_and_nothing_else(
    refund: Approval, reviewer: User
) -> None:
    """Who writes something else beside the difference is shown the new difference first."""
    client = browser(reviewer)
    difference = post(client, refund, form(client, refund), amount="700")
    answer = post(client, refund, fields(difference.content.decode()), amount="701")
    assert answer.status_code == 200
    assert not Edit.objects.exists()
    assert post(client, refund, fields(answer.content.decode())).status_code == 302
    assert Edit.objects.get().after["amount"] == 701


@pytest.mark.feature("AP7")
def test_a_form_that_somebody_else_was_faster_than_is_shown_again_as_it_was_filled_in(
    refund: Approval, reviewer: User, ana: User
) -> None:
    client = browser(reviewer)
    opened = form(client, refund)
    changed(browser(ana), refund, amount="650")
    answer = post(client, refund, {**opened, "note": "my note"}, amount="700")
    again = fields(answer.content.decode())
    assert answer.status_code == 409
    assert "look again" in answer.content.decode()
    assert (again["argument-amount"], again["note"]) == ("700", "my note")
    assert again["expected_digest"] == Invocation.objects.get().digest
    difference = post(client, refund, again)
    assert post(client, refund, fields(difference.content.decode())).status_code == 302
    assert [edit.after["amount"] for edit in Edit.objects.order_by("at")] == [650, 700]


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"amount": "plenty"}, "amount", "This is not a number that can be taken."),
        ({"amount": "true"}, "amount", "This is not a number that can be taken."),
        ({"amount": "9007199254740993"}, "amount", "This is not a number that can be taken."),
        ({"amount": "-5"}, "amount", "Input should be greater than 0"),
        ({"currency": '"GBP"'}, "currency", "Select a valid choice."),
        ({"order_id": "mind [REDACTED]"}, "", "[REDACTED] stands for what is hidden"),
        ({"amount": "20000"}, "", "The rules deny it: refunds above 10000"),
        ({}, "", "Nothing is changed."),
    ],
)
def test_what_cant_be_taken_is_said_at_its_field_and_nothing_typed_is_lost(
    changes: dict[str, str], where: str, what: str, refund: Approval, reviewer: User
) -> None:
    client = browser(reviewer)
    answer = post(client, refund, {**form(client, refund), "note": "kept"}, **changes)
    shown = answer.content.decode()
    assert answer.status_code == 422
    assert problems(unescape(shown))[where].startswith(what)
    again = fields(shown)
    assert again["note"] == "kept"
    for name, text in changes.items():
        if name != "currency":
            assert again[f"argument-{name}"] == text
    assert not Edit.objects.exists()


@pytest.mark.feature("AP13")
def test_what_is_hidden_stays_what_it_was_unless_it_is_written_anew(
    shop: Agent, refund: Approval, reviewer: User, ana: User
) -> None:
    client = browser(reviewer)
    assert form(client, refund)["argument-card_number"] == "[REDACTED]"
    assert CARD not in client.get(address(refund)).content.decode()
    changed(client, refund, amount="700")
    assert Invocation.objects.get().modifications == [
        {"argument": "amount", "asked": 900, "approved": 700}
    ]
    changed(browser(ana), refund, card_number="4999")
    shown = client.get(address(refund, "change")).content.decode()
    assert "4999" not in shown and CARD not in shown
    assert "card_number" in str(Event.objects.filter(event="approval:edited").last().metadata)


@pytest.mark.parametrize(
    "text", ["two\nlines", "crlf\r\nkept", "\nleading", "old mac\r", " spaces ", "\u202ebidi", ""]
)
def test_a_browsers_own_line_ends_and_blanks_are_no_change(
    text: str, shop: Agent, reviewer: User
) -> None:
    approval, client = refund_of(shop, reason=text), browser(reviewer)
    difference = post(client, approval, form(client, approval), amount="700")
    assert post(client, approval, fields(difference.content.decode())).status_code == 302
    row = Invocation.objects.get()
    assert row.arguments["reason"] == text
    assert [change["argument"] for change in row.modifications or []] == ["amount"]


@pytest.mark.feature("E13", "V6")
def test_nested_values_are_edited_as_json_and_long_ones_not_at_all(
    agent: Agent, reviewer: User, write_rule: Rule
) -> None:
    write_rule("spend", tool="spend")
    write_rule("echo", tool="echo")
    answer = agent.invoke("spend", money={"amount": 5, "currency": "EUR"})
    approval = Approval.objects.get(pk=answer.json()["approval_id"])
    client = browser(reviewer)
    opened = form(client, approval)
    assert '"currency": "EUR"' in opened["argument-money"]
    answer = post(client, approval, opened, money='{"amount": 5, "amount": 6}')
    assert problems(answer.content.decode())["money"] == "This is not JSON that can be taken."
    answer = post(client, approval, opened, money='{"amount": "much", "currency": "EUR"}')
    assert problems(answer.content.decode())["money"].startswith("Input should be a valid number")
    changed(client, approval, money='{"amount": 6, "currency": "EUR"}')
    assert Edit.objects.get().after == {"money": {"amount": 6, "currency": "EUR"}}
    answer = agent.invoke("echo", value="y" * 5000)
    long = Approval.objects.get(pk=answer.json()["approval_id"])
    assert "argument-value" not in form(client, long)
    assert "too long to be edited here" in client.get(address(long)).content.decode()


@pytest.mark.feature("E43")
def test_what_cant_be_seen_in_a_field_is_told_under_it(shop: Agent, reviewer: User) -> None:
    approval = refund_of(shop, reason="to \u0440\u0430ypal \u202e<b>")
    shown = browser(reviewer).get(address(approval)).content.decode()
    under = shown.split('id="id_argument-reason"')[1].split('<div class="field">')[0]
    assert "[U+202E RIGHT-TO-LEFT OVERRIDE]" in under and "[CYRILLIC + LATIN]" in under
    assert "<b>" not in shown


@pytest.mark.feature("AP12")
def test_where_a_word_is_asked_for_nothing_is_changed_without_one(
    shop: Agent, reviewer: User, write_rule: Rule
) -> None:
    write_rule("why", tool="refund_*", reason_required=True)
    approval, client = refund_of(shop), browser(reviewer)
    answer = post(client, approval, form(client, approval), amount="700")
    assert answer.status_code == 422
    assert "Say why" in problems(answer.content.decode())["reason_to_agent"]
    assert changed(client, approval, "less will do", amount="700").status_code == 302


@pytest.mark.feature("AP6", "T3", "V2")
def test_who_may_not_decide_may_not_edit_either_and_is_told_why(
    refund: Approval, owner: User, stranger: User, reviewer: User
) -> None:
    answer = browser(owner).get(address(refund))
    assert (answer.status_code, answer["Location"]) == (302, address(refund, "change"))
    opened = form(browser(reviewer), refund)
    answer = post(browser(owner), refund, {**opened, "note": "mine"}, amount="700")
    assert answer.status_code == 403
    assert "permission to decide" in answer.content.decode()
    assert browser(stranger).get(address(refund)).status_code == 403
    assert post(browser(stranger), refund, opened, amount="700").status_code == 403
    assert browser(reviewer).put(address(refund)).status_code == 405
    assert not Edit.objects.exists()
    refused = Event.objects.get(event="approval:refused")
    assert (refused.actor, refused.reason) == ("owner", "permission_denied")


@pytest.mark.feature("AP7")
def test_what_is_decided_is_not_edited_any_more_and_the_note_is_not_lost(
    refund: Approval, reviewer: User, ana: User
) -> None:
    client = browser(reviewer)
    opened = form(client, refund)
    seen = {"expected_digest": refund.invocation.digest}
    browser(ana).post(address(refund, "approve"), seen)
    answer = post(client, refund, {**opened, "note": "my note"}, amount="700")
    assert answer.status_code == 409
    assert "ana approved this call at" in answer.content.decode()
    assert "my note" in answer.content.decode()
    assert Invocation.objects.get().digest == seen["expected_digest"]


@pytest.mark.feature("AP13", "AP7")
def test_what_could_not_run_any_more_is_not_edited_either(refund: Approval, reviewer: User) -> None:
    client = browser(reviewer)
    opened = form(client, refund)
    Tool.objects.filter(name="refund_payment").update(enabled=False)
    catalogue.forget()
    assert client.get(address(refund)).status_code == 302
    assert Approval.objects.get().is_pending
    answer = post(client, refund, {**opened, "note": "my note"}, amount="700")
    assert answer.status_code == 409
    assert "can&#x27;t be approved any more" in answer.content.decode()
    assert "my note" in answer.content.decode()
    assert Approval.objects.get().status == "void"
