"""The page of one call: what it shows, to whom, and what is never lost on it."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from approvals import deciding, forms
from approvals.desk.evidence import SMALL, last_calls, similar_decisions
from approvals.desk.unusual import ENOUGH, LOOKED_AT, oddities
from approvals.models import Approval, Invocation, Preset, Vote
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.admin.conftest import browser
from tests.conftest import REVIEWER_PERMISSIONS, Agent, MakeAgent, held, person, work
from tests.copies import copies_of
from tests.desk_cast import Rule
from tools.step_up import PROOF

pytestmark = pytest.mark.django_db

Member = Callable[..., User]


def address(approval: Approval, verb: str = "change") -> str:
    return reverse(f"admin:approvals_approval_{verb}", args=[approval.pk])


def seen(client: Client, approval: Approval) -> str:
    """The page as HTML."""
    answer = client.get(address(approval))
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def decide(client: Client, approval: Approval, verb: str, **said: str) -> Any:
    """Press a button of the page as it was shown."""
    form = {"expected_digest": approval.invocation.digest, **said}
    return client.post(address(approval, verb), form)


def hidden(html: str, name: str) -> str:
    """What a hidden field holds."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, name
    return found[1]


def proved(client: Client, user: User, ago: timedelta = timedelta()) -> Client:
    """A browser in which the person has proved who they are, so long ago."""
    session = client.session
    session[PROOF] = {"of": str(user.pk), "at": (local_now() - ago).timestamp()}
    session.save()
    return client


def call(agent: Agent, tool: str = "refund_payment", **arguments: Any) -> Approval:
    """A call of a tool that waits for a person."""
    answer = agent.invoke(tool, **arguments)
    assert answer.status_code == 202, answer.content
    return Approval.objects.with_everything().get(pk=answer.json()["approval_id"])


def refund(agent: Agent, amount: float = 900, order_id: str = "A-1", **more: Any) -> Approval:
    """A refund that waits for a person."""
    return call(agent, amount=amount, order_id=order_id, **more)


@pytest.fixture
def shop(make_agent: MakeAgent) -> Agent:
    """An agent that refunds."""
    return make_agent("shop", ("*",))


@pytest.fixture
def ana(db: None) -> User:
    """A second reviewer."""
    return person("ana", *REVIEWER_PERMISSIONS)


# What is to be decided.


@pytest.mark.feature("E11", "E12", "E23")
def test_the_first_lines_say_what_is_asked_how_grave_it_is_and_why_it_waits(
    shop: Agent, reviewer: User, write_rule: Rule
) -> None:
    write_rule("Money leaves", tool="refund_*")
    shown = seen(browser(reviewer), refund(shop))
    places = [
        shown.index(words)
        for words in (
            "<h1>shop wants to refund 900 EUR for order A-1</h1>",
            "</span> high risk",
            "</span> money movement",
            "</span> external network",
            "Held because: amount exceeds 500",
            "rule Money leaves",
            '<section class="evidence"',
            '<section class="decision"',
        )
    ]
    assert places == sorted(places)


@pytest.mark.feature("E12", "V1")
def test_a_rule_is_named_once_in_why_a_call_is_held(
    shop: Agent, reviewer: User, write_rule: Rule
) -> None:
    write_rule("Money leaves", tool="refund_*")
    (why,) = re.findall(r'<p class="held">(.*?)</p>', seen(browser(reviewer), refund(shop)))
    assert why.count("Money leaves") == 1 and "approval conditions" not in why


@pytest.mark.feature("E12", "V1")
def test_ids_raw_json_and_the_trace_are_folded_away(
    shop: Agent, reviewer: User, write_rule: Rule
) -> None:
    write_rule("Money leaves", tool="refund_*")
    approval = refund(shop)
    shown = seen(browser(reviewer), approval)
    folded = "".join(re.findall(r"<details>.*?</details>", shown, re.S))
    open_to_all = re.sub(r"<details>.*?</details>", "", shown, flags=re.S)
    row = approval.invocation
    for told in (row.request_id, row.digest, "&quot;order_id&quot;"):
        assert told in folded, told
    for told in (row.request_id, "&quot;order_id&quot;"):
        assert told not in open_to_all, told
    rules = re.findall(r"<tr><td>(.*?)</td><td>(\w+)</td>", folded)
    assert ("approval conditions", "hold") in rules
    assert ("rule Money leaves", "hold") in rules
    assert ("policy within_reason", "allow") in rules


@pytest.mark.feature("E13", "E43", "V6")
def test_the_raw_json_is_the_original_to_the_character_and_still_redacted(
    shop: Agent, reviewer: User, stranger: User
) -> None:
    hostile = "to \u0440\u0430ypal \u202egnp\u202c <b>"
    approval = refund(shop, reason=hostile, card_number="4111111111111111")
    answer = browser(reviewer).get(address(approval, "raw"))
    assert json.loads(answer.content)["reason"] == hostile
    assert list(json.loads(answer.content))[:2] == ["order_id", "amount"]
    assert b"4111" not in answer.content
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"].startswith("attachment")
    assert browser(reviewer).post(address(approval, "raw")).status_code == 405
    assert browser(stranger).get(address(approval, "raw")).status_code == 403


# Deciding.


@pytest.mark.feature("E18")
def test_a_call_that_asks_for_it_is_approved_only_with_its_tool_typed(
    agent: Agent, trace: Path, reviewer: User, write_rule: Rule
) -> None:
    write_rule("typed", tool="guarded_*", typed_confirmation=True)
    approval, client = held(agent, trace), browser(reviewer)
    assert "Type guarded_trace to approve" in seen(client, approval)
    answer = decide(client, approval, "approve", typed="guarded", note="careful words")
    assert answer.status_code == 422
    assert "Type guarded_trace to confirm." in answer.content.decode()
    assert "careful words" in answer.content.decode()
    assert decide(client, approval, "approve", typed="guarded_trace").status_code == 302


@pytest.mark.feature("AP17", "E14")
def test_a_fresh_proof_is_asked_for_before_and_leads_back(
    agent: Agent, trace: Path, reviewer: User, write_rule: Rule
) -> None:
    write_rule("proof", tool="guarded_*", step_up=True)
    approval = held(agent, trace)
    client = proved(browser(reviewer), reviewer, timedelta(minutes=6))
    shown = seen(client, approval)
    assert "you need a fresh proof that it is you" in shown
    assert f'href="{reverse("admin:prove")}?next={address(approval).replace("/", "%2F")}"' in shown
    assert "Approve and run" not in shown and "Reject" in shown
    answer = decide(client, approval, "approve", note="careful words")
    assert answer.status_code == 403
    assert "careful words" in answer.content.decode()
    assert 'target="_blank"' in answer.content.decode()
    assert "Approve and run" in answer.content.decode()
    assert "fresh proof" not in seen(proved(client, reviewer), approval)
    assert decide(client, approval, "approve").status_code == 302


@pytest.mark.feature("AP7", "T19")
def test_what_was_written_is_not_lost_on_whoever_came_second(
    agent: Agent, trace: Path, reviewer: User, ana: User
) -> None:
    approval = held(agent, trace)
    decide(browser(ana), approval, "approve")
    answer = decide(
        browser(reviewer), approval, "reject", reason_to_agent="not <this>", note="my note"
    )
    shown = answer.content.decode()
    assert answer.status_code == 409
    assert "ana approved this call at" in shown
    assert "nobody has read it" in shown
    assert "not &lt;this&gt;" in shown and "my note" in shown


@pytest.mark.feature("AP2", "AP7")
def test_what_was_written_is_not_lost_when_the_call_has_changed(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    answer = browser(reviewer).post(
        address(approval, "approve"), {"expected_digest": "0" * 64, "note": "my note"}
    )
    shown = answer.content.decode()
    assert answer.status_code == 409
    assert "my note</textarea>" in shown
    assert hidden(shown, "expected_digest") == approval.invocation.digest


@pytest.mark.feature("AP9", "E15")
def test_whose_approval_is_not_enough_is_told_that_it_counts_and_what_is_missing(
    agent: Agent, trace: Path, member: Member, write_rule: Rule
) -> None:
    write_rule("both", [(1, "ops"), (1, "finance")], tool="guarded_*")
    olga, fay, approval = member("olga", "ops"), member("fay", "finance"), held(agent, trace)
    client = browser(olga)
    answer = client.post(
        address(approval, "approve"),
        {"expected_digest": approval.invocation.digest, "reason_to_agent": "fine by ops"},
        follow=True,
    )
    assert "Your approval counts; it still needs 1 of finance" in answer.content.decode()
    shown = seen(client, approval)
    assert "Your approval counts; it still needs 1 of finance." in shown
    (vote,) = re.findall(r'<div class="vote">.*?</div>', shown, re.S)
    for told in ("olga", "approve", "stage 1", "by admin", "fine by ops", "<time "):
        assert told in vote, told
    stages = re.sub(r"<[^>]*>", " ", shown.split('<ol class="stages">')[1].split("</ol>")[0])
    assert re.search(r"1 of ops\s*:\s*✓\s*complete", stages)
    assert re.search(r"1 of finance\s*:\s*0 of 1, open now; who may:\s*fay", stages)
    assert "Approve and run" in seen(browser(fay), approval)


@pytest.mark.feature("AP9", "E14")
def test_whose_approval_would_leave_nobody_for_the_next_stage_is_told_before(
    shop: Agent, member: Member, write_rule: Rule
) -> None:
    write_rule("both", [(1, "ops"), (1, "finance")], tool="refund_*")
    both, _ = member("both", "ops", "finance"), member("otto", "ops")
    approval = refund(shop)
    told = "If you approve now, nobody is left for 1 of finance."
    assert told in seen(browser(both), approval)
    member("fina", "finance")
    assert told not in seen(browser(both), approval)
    assert decide(browser(both), approval, "approve").status_code == 302


@pytest.mark.feature("E18")
def test_when_the_page_was_shown_is_kept_with_the_vote(
    agent: Agent, trace: Path, reviewer: User, write_rule: Rule
) -> None:
    write_rule("typed", tool="guarded_*", typed_confirmation=True)
    approval, client = held(agent, trace), browser(reviewer)
    before = local_now() - timedelta(seconds=1)
    token = hidden(seen(client, approval), "shown")
    for verb in ("reject", "approve"):
        again = decide(client, approval, verb, shown=token)
        assert again.status_code == 422
        assert hidden(again.content.decode(), "shown") == token
    decide(client, approval, "approve", shown=token, typed="guarded_trace")
    vote = Vote.objects.get()
    assert vote.shown_at is not None and before <= vote.shown_at <= vote.at


@pytest.mark.feature("E18")
@pytest.mark.parametrize("whose", ["forged", "somebody else's", "another call's", "old", "none"])
def test_a_moment_that_is_not_this_pages_counts_as_none(
    whose: str, agent: Agent, trace: Path, reviewer: User, ana: User
) -> None:
    approval, other = held(agent, trace), held(agent, trace, text="other")
    now = local_now()
    long_ago = now - forms.SHOWN_WITHIN - timedelta(minutes=1)
    good = forms.shown_token(approval, reviewer, now)
    token = {
        "forged": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "somebody else's": forms.shown_token(approval, ana, now),
        "another call's": forms.shown_token(other, reviewer, now),
        "old": forms.shown_token(approval, reviewer, long_ago),
        "none": "::",
    }[whose]
    assert decide(browser(reviewer), approval, "approve", shown=token).status_code == 302
    assert Vote.objects.get().shown_at is None


@pytest.mark.feature("E17", "AP12")
@pytest.mark.parametrize(
    ("verb", "written", "told"),
    [
        ("reject", "", "Attach the invoice."),
        ("reject", "Not today.", "Not today."),
        ("approve", "", None),
    ],
)
def test_a_ready_made_reason_counts_where_nothing_else_is_written(
    verb: str, written: str, told: str | None, agent: Agent, trace: Path, reviewer: User
) -> None:
    preset = Preset.objects.create(label="Invoice missing", text="Attach the invoice.")
    approval, client = held(agent, trace), browser(reviewer)
    assert 'data-text="Attach the invoice."' in seen(client, approval)
    said = {"preset": str(preset.pk), "reason_to_agent": written}
    assert decide(client, approval, verb, **said).status_code == 302
    answer = agent.get(f"invocations/{approval.invocation_id}").json()
    assert answer["decision"]["reason_to_agent"] == told


# Who can't decide.


@pytest.mark.feature("E14", "E48")
def test_who_cant_decide_reminds_those_who_can_once_an_hour(
    agent: Agent, trace: Path, owner: User, reviewer: User, settings: Settings
) -> None:
    settings.EMAIL_HOST = "mail.example"
    User.objects.filter(pk=reviewer.pk).update(email="reviewer@example.org")
    approval, client = held(agent, trace), browser(owner)
    shown = seen(client, approval)
    assert "Remind someone who can" in shown and "Approve and run" not in shown
    said = client.post(address(approval, "remind"), follow=True).content.decode()
    assert "Those who can decide it are reminded." in said
    said = client.post(address(approval, "remind"), follow=True).content.decode()
    assert "They were reminded within the hour; once more in 59 min." in said
    assert Event.objects.filter(event="approval:reminded", actor="owner").count() == 1


@pytest.mark.feature("E48")
def test_there_is_nobody_to_remind_of_what_one_can_decide_or_what_is_decided(
    agent: Agent, trace: Path, reviewer: User, ana: User
) -> None:
    approval, client = held(agent, trace), browser(reviewer)
    assert "Remind someone who can" not in seen(client, approval)
    answer = client.post(address(approval, "remind"), follow=True)
    assert b"can decide it yourself" in answer.content
    decide(browser(ana), approval, "approve")
    assert "Remind someone who can" not in seen(client, approval)
    answer = client.post(address(approval, "remind"), follow=True)
    assert b"ana approved this call at" in answer.content
    assert not Event.objects.filter(event="approval:reminded").exists()
    assert client.get(address(approval, "remind")).status_code == 405


@pytest.mark.feature("V1", "T3")
def test_the_owner_of_the_key_sees_the_call_and_may_take_it_back(
    agent: Agent, trace: Path, owner: User, reviewer: User
) -> None:
    approval = held(agent, trace)
    assert "Cancel this call" not in seen(browser(reviewer), approval)
    assert "Cancel this call" in seen(browser(owner), approval)
    browser(owner).post(address(approval, "cancel"))
    assert Approval.objects.get().status == "cancelled"
    assert "Cancel this call" not in seen(browser(owner), approval)


# What went before.


def decided(approval: Approval, by: User, verb: str = "approve", **said: str) -> Approval:
    """The same, after a person's word."""
    verbs = {"approve": deciding.approve, "reject": deciding.reject}
    outcome = verbs[verb](approval, by, Said(**said))
    assert isinstance(outcome, deciding.Decided)
    return outcome.approval


@pytest.mark.feature("E11", "V1")
def test_the_callers_last_five_calls_of_the_tool_are_listed_newest_first(
    shop: Agent, make_agent: MakeAgent, reviewer: User
) -> None:
    other = make_agent("other", ("*",))
    for amount in range(1, 8):
        shop.invoke("refund_payment", order_id="A-1", amount=amount)
    other.invoke("refund_payment", order_id="A-2", amount=77)
    shop.invoke("lookup_order", order_id="A-3")
    work()
    approval = refund(shop)
    shop.invoke("refund_payment", order_id="A-1", amount=99)
    amounts = [past.row.arguments["amount"] for past in last_calls(approval.invocation)]
    assert amounts == [7, 6, 5, 4, 3]
    shown = seen(browser(reviewer), approval)
    assert "shop wants to refund 7 EUR for order A-1" in shown
    assert shown.count("</span> success") == 5
    assert "77 EUR" not in shown


@pytest.mark.feature("E11", "V1")
def test_similar_decisions_name_who_decided_and_what_was_said_the_same_caller_first(
    shop: Agent, make_agent: MakeAgent, reviewer: User, ana: User
) -> None:
    other = make_agent("other", ("*",))
    decided(refund(shop, 700), ana, "reject", reason_to_agent="attach the invoice", note="odd")
    decided(refund(other, 800), reviewer)
    refund(other, 801)
    approval = refund(shop, 900)
    found = similar_decisions(approval)
    assert [(past.row.actor, past.is_same_caller) for past in found] == [
        ("shop", True),
        ("other", False),
    ]
    listed = re.sub(r"<[^>]*>", "", seen(browser(reviewer), approval))
    listed = " ".join(listed.split("Similar decisions")[1].split("Who asks")[0].split())
    assert "rejected shop wants to refund 700 EUR for order A-1 by ana" in listed
    assert "to the agent: attach the invoice; note: odd" in listed
    assert "approved other wants to refund 800 EUR for order A-1 by reviewer" in listed
    assert "801" not in listed


@pytest.mark.feature("T3", "V1")
def test_the_owner_of_a_key_sees_nothing_of_other_callers(
    shop: Agent, make_agent: MakeAgent, ana: User, stranger: User, owner: User
) -> None:
    theirs = make_agent("theirs", ("*",), owner=stranger)
    decided(refund(theirs, 700, "B-77"), ana, "reject", note="private", reason_to_agent="no")
    approval = refund(shop)
    assert "B-77" in seen(browser(ana), approval)
    shown = seen(browser(owner), approval)
    assert "B-77" not in shown and "private" not in shown
    assert "unusual" not in shown


@pytest.mark.feature("E11", "V6")
def test_large_arguments_of_earlier_calls_are_not_read_to_list_them(shop: Agent, ana: User) -> None:
    decided(refund(shop, reason="y" * (SMALL + 1)), ana)
    approval = refund(shop)
    (past,) = similar_decisions(approval)
    assert past.sentence == "shop called refund_payment (arguments too long to show here)"
    (last,) = last_calls(approval.invocation)
    assert last.sentence == past.sentence


# What is unusual.


def before(approval: Approval, count: int, **changes: Callable[[int], Any]) -> None:
    """So many calls like this one came before the next, each changed by its number."""
    asked = approval.invocation.arguments
    for number, copy in enumerate(copies_of(approval, count, status="rejected")):
        changed = {name: change(number) for name, change in changes.items()}
        row = Invocation.objects.filter(pk=copy.invocation_id)
        row.update(arguments={**asked, **changed})


def odd(approval: Approval) -> dict[str, str]:
    """What is said to be unusual about a call."""
    row = Invocation.objects.get(pk=approval.invocation_id)
    return {one.what: one.number for one in oddities(row)}


@pytest.mark.feature("E42")
def test_the_first_use_of_a_tool_by_a_caller_is_told(
    shop: Agent, make_agent: MakeAgent, reviewer: User
) -> None:
    refund(make_agent("other", ("*",)))
    first = refund(shop)
    assert odd(first) == {"First use": "0 earlier calls of refund_payment by this caller"}
    assert "0 earlier calls of refund_payment" in seen(browser(reviewer), first)
    assert odd(refund(shop, 901)) == {}


@pytest.mark.feature("E42")
def test_a_number_above_what_is_usual_is_told_with_what_is_usual(shop: Agent) -> None:
    before(refund(shop, 501), 100, amount=lambda number: number + 1)
    told = odd(refund(shop, 600))["High"]
    assert told == "amount 600; 95 % of 101 calls in 30 days had 96 at most"
    usual = refund(shop, 502)
    Invocation.objects.filter(pk=usual.invocation_id).update(
        arguments={**usual.invocation.arguments, "amount": 90}
    )
    assert "High" not in odd(usual)


@pytest.mark.feature("E42")
def test_few_calls_or_old_ones_have_no_habits(shop: Agent) -> None:
    before(refund(shop, 501), ENOUGH - 2, amount=lambda number: 5)
    assert odd(refund(shop, 900)) == {}
    Invocation.objects.update(created_at=local_now() - timedelta(days=31))
    before(refund(shop, 503), 1)
    assert odd(refund(shop, 9000)) == {}


@pytest.mark.feature("E42", "E43")
def test_a_name_that_was_never_given_is_told_where_names_come_back(shop: Agent) -> None:
    before(refund(shop, 501), 40, order_id=lambda number: f"A-{number % 4}")
    assert "New" not in odd(refund(shop, 501, "A-3"))
    assert odd(refund(shop, 501, "B-9"))["New"] == "order_id B-9: in none of 42 calls in 30 days"


@pytest.mark.feature("E42")
def test_names_that_never_come_back_are_no_news(shop: Agent) -> None:
    before(refund(shop, 501), 40, order_id=lambda number: f"A-{number}")
    assert "New" not in odd(refund(shop, 501, "B-9"))


@pytest.mark.feature("E42")
def test_an_hour_in_which_the_caller_never_calls_is_told(shop: Agent) -> None:
    before(refund(shop, 501), 30)
    noon = local_now().replace(hour=12, minute=5)
    Invocation.objects.update(created_at=noon - timedelta(days=1))
    approval = refund(shop, 502)
    for hour, is_odd in ((3, True), (11, False), (13, False), (15, True)):
        moment = noon.replace(hour=hour)
        Invocation.objects.filter(pk=approval.invocation_id).update(created_at=moment)
        assert ("Off hours" in odd(approval)) is is_odd, hour
    assert odd(approval)["Off hours"] == (
        "asked at 15:05 UTC; 0 of this caller's 31 calls in 30 days came near this hour"
    )


@pytest.mark.feature("E42")
def test_what_is_unusual_changes_no_decision(shop: Agent, reviewer: User) -> None:
    approval = refund(shop)
    assert odd(approval)
    assert decide(browser(reviewer), approval, "approve").status_code == 302


@pytest.mark.postgres
@pytest.mark.feature("E11", "E42")
def test_what_went_before_is_read_from_an_index_and_only_so_far(
    shop: Agent, make_agent: MakeAgent, ana: User
) -> None:
    copies_of(refund(make_agent("other", ("*",))), 2500, status="rejected", resolved_by=ana)
    copies_of(refund(shop, 901), 2500, status="rejected", resolved_by=ana)
    approval = refund(shop, 902)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")  # So few rows it might read whole.
    with CaptureQueriesContext(connection) as read:
        last_calls(approval.invocation)
        similar_decisions(approval)
        oddities(approval.invocation)
    assert len(read) == 5
    for query in read:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"].replace("%", "%%"), [])
            (plan,) = cursor.fetchone()[0]
        scans = [node for node in nodes(plan["Plan"]) if "Scan" in node["Node Type"]]
        scans = [one for one in scans if one.get("Relation Name") != "auth_user"]
        assert "Seq Scan" not in {node["Node Type"] for node in scans}, query["sql"]
        most = max(node["Actual Rows"] * node["Actual Loops"] for node in scans)
        assert most <= LOOKED_AT, query["sql"]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a plan."""
    return [plan, *(step for part in plan.get("Plans", []) for step in nodes(part))]


# The record.


@pytest.mark.feature("E15", "U1")
def test_the_timeline_tells_who_said_what_by_which_way(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    decide(browser(reviewer), approval, "reject", reason_to_agent="ask finance", note="mine")
    shown = seen(browser(reviewer), approval)
    timeline = re.sub(r"<[^>]*>", "", shown.split('<ol class="timeline">')[1].split("</ol>")[0])
    timeline = " ".join(timeline.split())
    assert "approval rejected by reviewer, by admin: just now" in timeline
    assert "To the agent: ask finance" in timeline


@pytest.mark.feature("V2", "T21")
def test_looking_at_the_page_and_all_that_hangs_on_it_writes_nothing(
    shop: Agent, reviewer: User, owner: User
) -> None:
    approval = refund(shop)
    for user in (reviewer, owner):
        client = browser(user)
        client.get(reverse("admin:index"))
        with CaptureQueriesContext(connection) as queries:
            for verb in ("change", "raw", "edit"):
                client.get(address(approval, verb))
        reading = ("SELECT", "SAVEPOINT", "RELEASE")
        assert [one["sql"] for one in queries if not one["sql"].startswith(reading)] == []


@pytest.mark.feature("AP9", "V1")
def test_who_has_approved_may_still_reject_while_others_have_to_agree(
    agent: Agent, trace: Path, reviewer: User, write_rule: Rule
) -> None:
    write_rule("two", [(2, None)], tool="guarded_*")
    approval, client = held(agent, trace), browser(reviewer)
    assert "Reject it after all" not in seen(client, approval)
    decide(client, approval, "approve")
    assert "Reject it after all" in seen(client, approval)
    unsaid = decide(client, approval, "reject")
    assert (unsaid.status_code, "Say why: the agent is told." in unsaid.content.decode()) == (
        422, True,
    )  # fmt: skip
    decide(client, approval, "reject", reason_to_agent="I misread it")
    approval.refresh_from_db()
    assert (approval.status, approval.reason_to_agent) == ("rejected", "I misread it")
    assert [vote.verdict for vote in Vote.objects.order_by("at")] == ["approve", "reject"]
