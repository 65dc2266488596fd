"""The queue: what it lists, in which order, for whom, and what it costs."""

import base64
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals import deciding
from approvals.desk import keyset, people
from approvals.desk.queue import ROWS
from approvals.models import Approval, Wishes
from approvals.states import ApprovalStatus, InvocationStatus, Risk
from approvals.transitions import Said
from audit.models import Event, local_now
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, effects, held, work
from tests.copies import copies_of
from tools.models import UNNAMED_ISSUER, ApiKey, FederatedIdentity

pytestmark = pytest.mark.django_db

QUEUE = reverse("admin:approvals_approval_changelist")
PULSE = reverse("admin:approvals_approval_pulse")


def seen(client: Client, query: str = "") -> Any:
    """The queue as it is shown."""
    answer = client.get(QUEUE + query)
    assert answer.status_code == 200, answer.content
    return answer


def listed(client: Client, query: str = "") -> list[Any]:
    """The approvals on a page of the queue, in their order."""
    return [row.approval.pk for row in seen(client, query).context["rows"]]


def set_to(approval: Approval, **columns: Any) -> Approval:
    Approval.objects.filter(pk=approval.pk).update(**columns)
    return Approval.objects.with_everything().get(pk=approval.pk)


def walked(client: Client, query: str = "?", side: str = "after") -> list[list[Any]]:
    """Every page from here on, by its own links."""
    pages, cursor = [], ""
    while True:
        page = seen(client, f"{query}&cursor={cursor}").context["page"]
        pages.append([row.pk for row in page.rows])
        if not (cursor := getattr(page, side)):
            return pages


# What is listed, and in which order.


@pytest.mark.feature("V1")
def test_what_runs_out_soonest_is_first_and_what_is_over_by_age(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    late, soon, gone, older = (held(agent, trace, text=text) for text in "abcd")
    set_to(soon, expires_at=local_now() + timedelta(minutes=5))
    for over in (gone, older):
        deciding.reject(over, reviewer, Said(reason_to_agent="no"))
    client = browser(reviewer)
    assert listed(client) == [soon.pk, late.pk]
    assert listed(client, "?status=rejected") == [older.pk, gone.pk]
    assert listed(client, "?status=all") == [older.pk, gone.pk, soon.pk, late.pk]


@pytest.mark.feature("E18")
def test_the_highest_risk_can_be_put_first(agent: Agent, trace: Path, reviewer: User) -> None:
    sooner, later, grave = (held(agent, trace, text=text) for text in "abc")
    set_to(grave, risk=Risk.HIGH)
    client = browser(reviewer)
    assert listed(client) == [sooner.pk, later.pk, grave.pk]
    assert listed(client, "?order=risk") == [grave.pk, sooner.pk, later.pk]


@pytest.mark.feature("V1")
def test_what_has_run_out_no_longer_waits(agent: Agent, trace: Path, reviewer: User) -> None:
    over = set_to(held(agent, trace), expires_at=local_now() - timedelta(seconds=1))
    client = browser(reviewer)
    assert listed(client) == []
    assert listed(client, "?status=all") == [over.pk]


@pytest.mark.feature("V1", "T30")
def test_filters_narrow_and_searches_find(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    bot = make_agent("shop-bot")
    ours, theirs = held(agent, trace), held(bot, trace)
    grave = set_to(held(bot, trace, text="b"), tool_name="erase", risk=Risk.HIGH)
    client = browser(reviewer)
    assert listed(client, "?tool=guarded_trace") == [ours.pk, theirs.pk]
    assert listed(client, "?tool=nothing") == []
    assert listed(client, f"?risk={Risk.HIGH}") == [grave.pk]
    assert listed(client, "?q=shop-") == [theirs.pk, grave.pk]
    assert listed(client, "?q=eras") == [grave.pk]
    assert listed(client, "?q=race") == []
    assert listed(client, "?q=shop-&tool=erase&order=risk") == [grave.pk]


@pytest.mark.feature("V1")
def test_an_id_finds_its_call_whatever_has_become_of_it(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace)
    held(agent, trace, text="another")
    deciding.reject(approval, reviewer, Said(reason_to_agent="no"))
    row, client = approval.invocation, browser(reviewer)
    for given in (approval.pk, row.pk, row.pk.hex, row.request_id):
        assert listed(client, f"?q={given}") == [approval.pk], given
    assert listed(client, "?q=01998f60-0000-7000-8000-000000000000") == []


@pytest.mark.feature("V1")
def test_a_request_id_of_the_callers_own_is_found_too(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    answer = agent.invoke("guarded_trace", headers={"X-Request-ID": "job-17.b"}, path=str(trace))
    held(agent, trace, text="another")
    found = listed(browser(reviewer), "?q=job-17.b")
    assert [str(pk) for pk in found] == [answer.json()["approval_id"]]


def forged(*parts: Any) -> str:
    """A cursor that nobody was given."""
    return "cursor=" + base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


MOMENT, ID = "2026-01-01 00:00:00+00:00", "0198f600-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "query",
    [
        "status=gone", "risk=9", "whose=nobodys", "order=age", f"q={'x' * 201}", "cursor=x",
        forged(), forged("after"), forged("after", "x", "y"), forged("sideways", MOMENT, ID),
        forged("after", "2026-01-01 00:00", ID), forged("after", MOMENT, {}),
    ],
)  # fmt: skip
def test_a_query_that_no_page_of_ours_asks_is_refused(query: str, reviewer: User) -> None:
    assert browser(reviewer).get(f"{QUEUE}?{query}").status_code == 400


def test_the_queue_only_shows(agent: Agent, trace: Path, reviewer: User) -> None:
    held(agent, trace)
    assert browser(reviewer).post(QUEUE).status_code == 405
    assert browser(reviewer).post(PULSE).status_code == 405


# Pages.


@pytest.mark.feature("V1", "T30")
@pytest.mark.parametrize("query", ["?", "?order=risk", "?status=all", "?whose=decide"])
def test_pages_hold_every_row_once_in_both_directions(
    query: str, agent: Agent, trace: Path, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.desk.queue.ROWS", 4)
    first = held(agent, trace)
    same_end = copies_of(first, 3, risk=Risk.HIGH) + copies_of(first, 7)
    Approval.objects.filter(pk__in=[row.pk for row in same_end[:5]]).update(
        expires_at=first.expires_at
    )
    client = browser(reviewer)
    pages = walked(client, query)
    every = [pk for page in pages for pk in page]
    assert [len(page) for page in pages] == [4, 4, 3]
    assert len(set(every)) == 11
    last = seen(client, f"{query}&cursor={_cursors(client, query)[-1]}").context["page"]
    before = seen(client, f"{query}&cursor={last.before}").context["page"]
    assert [row.pk for row in before.rows] == pages[1]
    first_again = seen(client, f"{query}&cursor={before.before}").context["page"]
    assert [row.pk for row in first_again.rows] == pages[0]


def _cursors(client: Client, query: str) -> list[str]:
    cursors = [""]
    while after := seen(client, f"{query}&cursor={cursors[-1]}").context["page"].after:
        cursors.append(after)
    return cursors


@pytest.mark.feature("V1")
def test_a_row_that_goes_shifts_no_page(
    agent: Agent, trace: Path, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.desk.queue.ROWS", 2)
    rows = [held(agent, trace, text=text) for text in "abcd"]
    client = browser(reviewer)
    after = seen(client).context["page"].after
    deciding.reject(rows[0], reviewer, Said(reason_to_agent="no"))
    assert listed(client, f"?cursor={after}") == [rows[2].pk, rows[3].pk]


@pytest.mark.feature("V1")
def test_the_queue_costs_as_many_queries_with_many_rows_as_with_one(
    make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    agents = [make_agent(f"bot-{number}") for number in range(3)]
    ApiKey.objects.update(issuer="https://id.example", subject="bot")
    for row in ApiKey.objects.all():
        ApiKey.objects.filter(pk=row.pk).update(subject=row.actor)
    first = held(agents[0], trace)
    client = browser(reviewer)
    costs = {}
    for query in ("", "?whose=decide", "?status=all", "?q=bot-"):
        with CaptureQueriesContext(connection) as few:
            assert len(listed(client, query)) == 1
        costs[query] = len(few)
    for number, agent in enumerate(agents):
        copies_of(held(agent, trace, text=f"more {number}"), 8)
    for query, cost in costs.items():
        with CaptureQueriesContext(connection) as many:
            assert len(listed(client, query)) == 28
        assert len(many) == cost, query
        assert cost <= 26
        assert not [
            one for one in many.captured_queries if "COUNT(*)" in one["sql"].split("FROM")[0]
        ]
    assert first.pk


# What a row says.


@pytest.mark.feature("V1", "E14", "V7")
def test_a_row_says_what_a_person_chooses_by(agent: Agent, trace: Path, reviewer: User) -> None:
    held(agent, trace)
    shown = re.sub(r"<[^>]+>|\s+", " ", seen(browser(reviewer)).content.decode())
    shown = re.sub(r"\s+", " ", shown)
    for needed in (
        "agent wants to run guarded_trace", "◷ pending", "medium risk", "Tool guarded_trace",
        "By agent", "approval is required", "Asked just now", "expires in 23 h", " UTC",
        "May decide reviewer", "You may decide.",
    ):  # fmt: skip
        assert needed in shown, needed
    assert "anybody" not in shown  # One person who may decide: that goes without saying.


@pytest.mark.feature("V1", "E14")
def test_stages_tell_who_has_agreed_and_why_it_is_not_my_turn(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    ops, finance = (Group.objects.create(name=name) for name in ("ops", "finance"))
    reviewer.groups.add(ops)
    stages = [
        {"needs": 1, "group_id": ops.pk, "group": "ops"},
        {"needs": 1, "group_id": finance.pk, "group": "finance"},
    ]
    approval = set_to(held(agent, trace), terms={"stages": stages})
    client = browser(User.objects.get(pk=reviewer.pk))
    assert "ops 0/1 → finance 0/1" in seen(client).content.decode()
    deciding.approve(approval, User.objects.get(pk=reviewer.pk))
    (row,) = seen(client).context["rows"]
    assert row.stages == "ops 1/1 → finance 0/1"
    assert row.why_not.sentence == "You have approved it; it needs 1 of finance more."
    assert row.deciders == ""


@pytest.mark.feature("V1", "E44")
def test_the_tab_counts_what_i_may_decide_and_no_further_than_fifty(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    own = held(make_agent("mine", owner=reviewer), trace)
    set_to(own, expires_at=local_now() + timedelta(minutes=1))
    other = held(agent, trace)
    client = browser(reviewer)
    assert "<title>(1) Rampart" in seen(client).content.decode()
    assert listed(client) == [own.pk, other.pk]
    assert listed(client, "?whose=decide") == [other.pk]
    assert listed(client, "?whose=own") == [own.pk]
    copies_of(other, people.MOST_COUNTED)
    assert "<title>(50+) Rampart" in seen(client).content.decode()


@pytest.mark.feature("V1")
def test_what_is_mine_is_found_behind_what_is_others(
    agent: Agent, trace: Path, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.desk.queue.MOST_LOOKED_AT", 5)
    finance = Group.objects.create(name="finance")
    theirs = {"stages": [{"needs": 1, "group_id": finance.pk, "group": "finance"}]}
    mine = held(agent, trace)
    set_to(mine, expires_at=local_now() + timedelta(days=2))
    copies_of(mine, 8, terms=theirs)
    client = browser(reviewer)
    assert [pk for page in walked(client, "?whose=decide") for pk in page] == [mine.pk]
    assert "there are more" in seen(client, "?whose=decide").content.decode()


@pytest.mark.feature("AP6", "E14")
def test_whoever_is_behind_a_token_is_told_that_the_call_is_theirs(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    ApiKey.objects.update(issuer="https://id.example", subject="rev")
    link = FederatedIdentity.objects.create(
        user=reviewer, issuer="https://other.example", subject="rev"
    )
    held(agent, trace)
    client = browser(reviewer)

    def is_mine() -> bool:
        (row,) = seen(client).context["rows"]
        return row.why_not is not None and row.why_not.code == "self_approval"

    assert not is_mine()
    ApiKey.objects.update(issuer=UNNAMED_ISSUER)
    assert is_mine()
    ApiKey.objects.update(issuer="https://id.example")
    FederatedIdentity.objects.filter(pk=link.pk).update(issuer="https://id.example")
    assert is_mine()


@pytest.mark.feature("V6", "E43")
def test_a_strangers_text_is_made_plain_in_the_queue(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    approval = held(agent, trace, text="<script>x</script>")
    set_to(approval, reason="\u202e<i>held", actor="<b>\u202eagent")
    shown = seen(browser(reviewer)).content.decode()
    assert "\u202e" not in shown
    assert "<script>x" not in shown
    assert "<b>" not in re.sub("<b>(Tool|By|Asked|Agreed|May decide|Held because)</b>", "", shown)
    assert "<i>held" not in shown


@pytest.mark.feature("E45", "V1")
def test_an_empty_queue_says_all_clear_and_who_decided_last(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    client = browser(reviewer)
    assert "All clear." in seen(client).content.decode()
    deciding.reject(held(agent, trace), reviewer, Said(reason_to_agent="no"))
    shown = seen(client).content.decode()
    assert "All clear." in shown
    assert "The last word was reviewer's" in shown
    assert "All clear." not in seen(client, "?q=nobody").content.decode()


@pytest.mark.feature("E21")
def test_a_wish_turns_the_keys_off(reviewer: User) -> None:
    client = browser(reviewer)
    assert 'data-keys="on"' in seen(client).content.decode()
    Wishes.objects.create(person=reviewer, has_keys=False)
    assert 'data-keys="off"' in seen(client).content.decode()


# Owners.


@pytest.mark.feature("V8")
def test_an_owner_sees_the_calls_of_their_own_keys_and_no_others(
    agent: Agent, make_agent: MakeAgent, trace: Path, owner: User, reviewer: User, stranger: User
) -> None:
    own = held(agent, trace)
    other = held(make_agent("other", owner=reviewer), trace)
    client = browser(owner)
    for query in ("", "?status=all", f"?q={own.pk}", "?whose=own"):
        assert listed(client, query) == [own.pk], query
    for query in (f"?q={other.pk}", f"?q={other.invocation.request_id}", "?whose=decide"):
        assert listed(client, query) == [], query
    assert client.get(reverse("admin:approvals_approval_change", args=[own.pk])).status_code == 200
    assert client.get(reverse("admin:approvals_approval_change", args=[other.pk])).status_code in (
        302, 404,
    )  # fmt: skip
    assert QUEUE in client.get(reverse("admin:index")).content.decode()
    shown = seen(client).content.decode()
    assert "permission to decide calls" in shown
    assert 'name="item"' not in shown
    for path in (QUEUE, PULSE):
        assert browser(stranger).get(path).status_code == 403


def cancel(client: Client, approval: Approval) -> Any:
    return client.post(reverse("admin:approvals_approval_cancel", args=[approval.pk]), follow=True)


@pytest.mark.feature("V8")
def test_an_owner_takes_a_call_back_and_does_not_decide_it(
    agent: Agent, trace: Path, owner: User
) -> None:
    approval = held(agent, trace)
    client = browser(owner)
    approve = reverse("admin:approvals_approval_approve", args=[approval.pk])
    assert client.post(approve, {"expected_digest": approval.invocation.digest}).status_code == 403
    assert "Cancelled: agent wants to run" in cancel(client, approval).content.decode()
    approval = set_to(approval)
    assert approval.status == ApprovalStatus.CANCELLED
    assert approval.invocation.status == InvocationStatus.CANCELLED
    event = Event.objects.get(event="invocation:cancelled")
    assert (event.actor, event.invocation_id) == ("owner", approval.invocation_id)
    work()
    assert effects(trace) == []


@pytest.mark.feature("V8")
def test_what_has_run_is_not_taken_back(
    agent: Agent, trace: Path, owner: User, reviewer: User
) -> None:
    approval = held(agent, trace)
    deciding.approve(approval, reviewer)
    work()
    assert "The call has ended already" in cancel(browser(owner), approval).content.decode()
    assert set_to(approval).status == ApprovalStatus.CONSUMED


@pytest.mark.feature("V8", "AP6")
def test_a_reviewer_cancels_their_own_calls_and_nobody_elses(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User, owner: User
) -> None:
    own, other = held(make_agent("mine", owner=reviewer), trace), held(agent, trace)
    client = browser(reviewer)
    assert cancel(client, other).status_code == 403
    assert set_to(other).is_pending
    assert cancel(client, own).status_code == 200
    assert set_to(own).status == ApprovalStatus.CANCELLED
    assert cancel(browser(owner), own).status_code in (403, 404)


def test_taking_back_takes_a_post_and_a_token(agent: Agent, trace: Path, owner: User) -> None:
    approval = held(agent, trace)
    path = reverse("admin:approvals_approval_cancel", args=[approval.pk])
    assert browser(owner).get(path).status_code == 405
    assert browser(owner, strict=True).post(path).status_code == 403
    assert set_to(approval).is_pending


# The pulse.


def pulse(client: Client, etag: str = "") -> Any:
    return client.get(PULSE, headers={"If-None-Match": etag} if etag else {})


@pytest.mark.feature("E44")
def test_the_pulse_is_still_until_something_changes(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    client = browser(reviewer)
    first, second = held(agent, trace), held(agent, trace, text="b")
    etag = f'"{seen(client).context["version"]}"'
    assert pulse(client, etag).status_code == 304

    def changed() -> Any:
        nonlocal etag
        answer = pulse(client, etag)
        assert answer.status_code == 200
        etag = answer["ETag"]
        assert pulse(client, etag).status_code == 304
        return json.loads(answer.content)["yours"]

    held(agent, trace, text="c")
    assert changed() == "3"
    deciding.reject(first, reviewer, Said(reason_to_agent="no"))
    assert changed() == "2"
    Approval.objects.filter(pk=second.pk).update(expires_at=local_now())
    assert changed() == "1"


@pytest.mark.feature("E44")
def test_a_vote_and_an_edit_are_a_change_too(agent: Agent, trace: Path, reviewer: User) -> None:
    approval = set_to(held(agent, trace), terms={"stages": [{"needs": 2}]})
    client = browser(reviewer)
    before = pulse(client)["ETag"]
    deciding.approve(approval, reviewer)
    after = pulse(client, before)
    assert (after.status_code, json.loads(after.content)["yours"]) == (200, "0")
    approval.invocation.digest = "0" * 64
    approval.invocation.save(update_fields=["digest"])
    assert pulse(client, after["ETag"]).status_code == 200


@pytest.mark.feature("E44")
def test_a_still_pulse_costs_one_query_beside_knowing_who_asks(
    agent: Agent, trace: Path, reviewer: User
) -> None:
    copies_of(held(agent, trace), 30)
    client = browser(reviewer)
    etag = pulse(client)["ETag"]
    with CaptureQueriesContext(connection) as queries:
        assert pulse(client, etag).status_code == 304
    who = ("django_session", "auth_user", "auth_permission")
    about = [
        one["sql"] for one in queries.captured_queries
        if not any(f'FROM "{name}' in one["sql"] for name in who)
    ]  # fmt: skip
    assert len(about) == 1, about


# What the lists stand on.


@pytest.mark.postgres
@pytest.mark.feature("V1")
def test_every_list_is_read_by_an_index(
    agent: Agent, make_agent: MakeAgent, trace: Path, reviewer: User
) -> None:
    first = held(agent, trace)
    copies_of(first, 3000, status=ApprovalStatus.REJECTED)
    copies_of(first, 1000)
    rare = held(make_agent("rare-bot"), trace)
    set_to(rare, tool_name="rare_tool")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # all of it: what tests before have left changes plans too
    client = browser(reviewer)
    deep = seen(client).context["page"].after
    queries = ["", f"?cursor={deep}", "?order=risk", "?status=all", "?status=rejected", "?q=rare-",
               "?q=rare_t", f"?q={rare.pk}", f"?q={rare.invocation_id}",
               f"?q={rare.invocation.request_id}", "?tool=rare_tool&status=all", "?whose=decide",
               f"?risk={Risk.HIGH}"]  # fmt: skip
    for query in queries:
        with CaptureQueriesContext(connection) as done:
            listed(client, query)
        # So few rows may well be read whole, as PostgreSQL sees fit: is there a short way?
        for one in done.captured_queries:
            assert looked_at(one["sql"]) <= 1300, query


def looked_at(sql: str) -> int:
    """How many rows PostgreSQL takes in hand for a query on the shortest way that it knows.

    With so few rows it may well go another: reading or sorting a table whole is quick then.
    """
    if "audit_event" not in sql and "approvals_" not in sql:
        return 0
    return min(_looked_at_without(methods, sql) for methods in (["seqscan"], ["seqscan", "sort"]))


def _looked_at_without(methods: list[str], sql: str) -> int:
    with connection.cursor() as cursor:
        for method in methods:
            cursor.execute(f"SET LOCAL enable_{method} = off")
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql)
        (plan,) = cursor.fetchone()[0]
        for method in methods:
            cursor.execute(f"SET LOCAL enable_{method} = on")
    return max(_rows(step) for step in _steps(plan["Plan"]))


def _rows(step: dict[str, Any]) -> int:
    removed = step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
    return int((step["Actual Rows"] + removed) * step["Actual Loops"])


def _steps(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(step for part in plan.get("Plans", []) for step in _steps(part))]


def test_a_page_is_as_long_as_what_may_be_decided_together() -> None:
    assert ROWS == 50
    assert keyset.SOONEST[-1] == keyset.GRAVEST[-1] == "id"
