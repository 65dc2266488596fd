"""The page of figures and the overview: who sees them, and what they say of little or nothing."""

import random
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User

from approvals.desk import history, insights
from approvals.models import Approval
from audit.models import local_now
from tests.admin.conftest import browser
from tests.conftest import Agent
from tests.past import Habits, Past, weeks_of_work
from tools.models import Tool

pytestmark = [pytest.mark.django_db, pytest.mark.feature("O5", "V5")]

PAGE = "/admin/insights/"


@pytest.fixture
def past(agent: Agent) -> Past:
    version = Tool.objects.get(name="guarded_trace").current
    assert version is not None
    return Past(agent.row, version)


def shown(person: User, query: str = "") -> str:
    answer = browser(person).get(f"{PAGE}{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def words(page: str) -> str:
    """What stands between the tags, blanks in one piece."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def lines(page: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    table = page.split(f'id="{heading}"', 1)[1].split("</table>", 1)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>", 1)[1], re.DOTALL)
    cells = re.compile(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", re.DOTALL)
    heading_of_a_phone = re.compile(r'<span class="heading".*?</span>')
    return [
        [words(heading_of_a_phone.sub("", cell)) for cell in cells.findall(row)] for row in rows
    ]


def test_who_sees_everybodys_calls_sees_the_figures(reviewer: User, stranger: User) -> None:
    assert shown(reviewer)
    stranger.user_permissions.set(Permission.objects.filter(codename="view_approval"))
    assert shown(User.objects.get(pk=stranger.pk))


def test_owners_and_strangers_see_nothing_of_it(past: Past, owner: User, stranger: User) -> None:
    past.call(local_now(), "pending", tool="pay_the_king")
    past.write()
    User.objects.filter(pk=owner.pk).update(is_staff=True)
    for person in (User.objects.get(pk=owner.pk), stranger):
        answer = browser(person).get(PAGE)
        assert answer.status_code == 403
        assert b"pay_the_king" not in answer.content
        assert PAGE not in browser(person).get("/admin/").content.decode()
    assert browser().get(PAGE).status_code == 302


def test_the_page_is_only_looked_at(reviewer: User) -> None:
    assert browser(reviewer).post(PAGE).status_code == 405


def test_without_a_held_call_the_page_says_so_in_words(reviewer: User) -> None:
    page = shown(reviewer, "?days=7")
    assert "Nothing was held in these 7 days" in page
    assert "<svg class=" not in page
    assert "What these figures mean" in page


def test_without_a_decision_there_are_no_times(past: Past, reviewer: User) -> None:
    past.call(local_now(), "pending")
    past.call(local_now(), "expired", ended_at=local_now())
    past.write()
    page = shown(reviewer)
    assert "People have decided none of these calls yet" in page
    assert "Nobody has voted on these calls yet" in page
    assert "approval rate –" in words(page)
    assert 'id="time-to-decide"' not in page


def test_one_decided_call_has_all_its_figures(past: Past, reviewer: User) -> None:
    held_at = local_now() - timedelta(minutes=10)
    said_at = held_at + timedelta(seconds=90)
    call = past.call(held_at, "consumed", decided_by=reviewer, ended_at=said_at)
    past.vote(call, reviewer, said_at, shown_at=said_at - timedelta(seconds=2), in_bulk=True)
    past.write()
    page = shown(reviewer)
    assert "approval rate 100 %" in words(page)
    assert lines(page, "per-tool") == [
        ["refund_payment", "1", "1", "0", "0", "0", "0", "0", "100 %", "1 min", "1 min"]
    ]
    assert lines(page, "per-reviewer") == [
        ["reviewer", "1", "1", "0", "1 min", "1 min", "2.0 s", "100 %", "100 %", "admin 1"]
    ]
    assert lines(page, "time-to-decide")[1] == ["1 to 5 min", "1", ""]
    assert lines(page, "per-day")[0] == [f"{held_at:%Y-%m-%d}", "1", "1", "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(("days", "counted"), [(7, 1), (30, 2), (90, 3)])
def test_a_span_can_be_chosen(days: int, counted: int, past: Past, reviewer: User) -> None:
    for age in (1, 20, 80, 100):
        past.call(local_now() - timedelta(days=age), "pending")
    past.write()
    assert f"held {counted} " in words(shown(reviewer, f"?days={days}"))


@pytest.mark.parametrize("query", ["", "?days=nonsense", "?days=-1", "?days=100000", "?days="])
def test_another_span_is_not_looked_back(query: str, past: Past, reviewer: User) -> None:
    past.call(local_now() - timedelta(days=20), "pending")
    past.call(local_now() - timedelta(days=80), "pending")
    past.write()
    assert "held 1 " in words(shown(reviewer, query))


@pytest.mark.feature("V6", "T25")
def test_a_strangers_text_stays_text_and_nothing_is_styled_or_scripted_inline(
    past: Past, reviewer: User
) -> None:
    past.call(local_now(), "pending", tool="<script>alert(1)</script>\u202etxt")
    past.write()
    page = shown(reviewer)
    assert "<script>alert" not in page and "\u202e" not in page
    assert "RIGHT-TO-LEFT OVERRIDE" in page
    assert " style=" not in page.split("<svg class=", 1)[1]
    assert not re.search(r"<style|<script(?![^>]* src=)| on\w+=", page)


def test_every_chart_has_its_words(past: Past, reviewer: User) -> None:
    team = [Habits(reviewer, (1, 60), 0.2)]
    weeks_of_work(
        past, local_now(), days=6, calls=40, tools=["pay", "drop"], team=team,
        dice=random.Random(2),
    )  # fmt: skip
    past.write()
    charts = re.findall(r'<svg class="chart"([^>]*)>', shown(reviewer))
    assert len(charts) > 3
    for attributes in charts:
        assert 'role="img" aria-label="' in attributes or 'aria-hidden="true"' in attributes


def test_a_longer_history_than_can_be_counted_is_said(
    past: Past, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_COUNTED", 1)
    past.call(local_now() - timedelta(hours=1), "pending")
    past.call(local_now(), "pending")
    past.write()
    assert "Only the newest" in shown(reviewer)
    Approval.objects.order_by("id").first().delete()  # type: ignore[union-attr]
    assert "Only the newest" not in shown(reviewer)


def test_a_long_table_ends_and_says_what_it_leaves_out(
    past: Past, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insights, "MOST_LISTED", 2)
    for tool in ("often", "often", "seldom", "also_seldom", "rare"):
        past.call(local_now(), "pending", tool=tool)
    past.write()
    page = shown(reviewer)
    assert [line[0] for line in lines(page, "per-tool")] == ["often", "also_seldom"]
    assert "2 more with fewer are left out" in page
    assert "held 5 " in words(page)


def test_the_page_asks_as_few_questions_of_much_as_of_little(
    past: Past, reviewer: User, django_assert_max_num_queries: object
) -> None:
    team = [Habits(User.objects.create_user(f"person-{n}"), (1, 60), 0.2) for n in range(9)]
    weeks_of_work(
        past, local_now(), days=6, calls=200, tools=[f"tool_{n}" for n in range(20)], team=team,
        dice=random.Random(3),
    )  # fmt: skip
    past.write()
    client = browser(reviewer)
    client.get(PAGE)
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        client.get(PAGE)


def test_each_figure_that_the_page_explains_is_in_the_docs(reviewer: User) -> None:
    meaning = shown(reviewer).split('class="meaning"', 1)[1].replace("&nbsp;", " ")
    terms = {term for names in re.findall(r"<dt>(.*?)</dt>", meaning) for term in names.split(", ")}
    told = (Path(__file__).parents[2] / "docs/explanation/insights.md").read_text()
    rows = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `")]
    assert terms | {"waiting"} == {term for row in rows for term in re.findall("`([^`]+)`", row)}


# The overview.


def test_the_overview_leads_to_what_a_person_may_see(
    past: Past, reviewer: User, stranger: User
) -> None:
    ways = re.compile(r'<nav class="ways-in".*?</nav>', re.DOTALL)
    past.call(local_now(), "pending")
    past.write()
    offered = ways.search(browser(reviewer).get("/admin/").content.decode())
    assert offered and words(offered[0]).startswith("Queue 1 call waits What runs")
    assert "Audit" in offered[0]
    for address in re.findall(r'href="([^"]+)"', offered[0]):
        assert browser(reviewer).get(address).status_code == 200, address
    assert not ways.search(browser(stranger).get("/admin/").content.decode())


def test_the_overview_says_when_nothing_waits(reviewer: User, agent: Agent) -> None:
    assert "nothing waits" in browser(reviewer).get("/admin/").content.decode()
