"""The key pages: what an operator sees at a glance, rotates, revokes, and is shown once."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape
from pytest_django import Settings

from approvals import reviewers
from audit.events import EventName
from audit.models import Event, local_now
from tests.admin.conftest import browser
from tests.conftest import Agent, at_once, held
from tools import key_cabinet
from tools.identity import Caller
from tools.key_cabinet import LONGEST_REASON, create_key, revoke_key, rotate_key
from tools.key_states import KeyState, states_of, with_states
from tools.models import ApiKey

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
LIST = "/admin/tools/apikey/"
ADD = "/admin/tools/apikey/add/"
KEY = {"actor": "billing-bot", "scopes": "kit.read", "lifetime": "30d"}
ISSUER = "https://id.example/realm"
TEXT = re.compile(r"rmp_[a-z2-7]{10}_[A-Za-z0-9_-]{43}")


def page_of(key: ApiKey, word: str = "change") -> str:
    return reverse(f"admin:tools_apikey_{word}", args=[key.pk])


def a_key(owner: User, actor: str = "bot", /, **changes: Any) -> ApiKey:
    """A key as it came to be in the course of time."""
    row, _ = create_key(actor=actor, scopes=["kit.read"], owner=owner, by="test")
    ApiKey.objects.filter(pk=row.pk).update(**changes)
    return ApiKey.objects.get(pk=row.pk)


def a_token_caller(owner: User, **changes: Any) -> ApiKey:
    return ApiKey.objects.create(
        prefix="sub_abcdefghij", actor="ci", owner=owner, issuer=ISSUER, subject="ci@example",
        **changes,
    )  # fmt: skip


def rotated(key: ApiKey, *, used: bool = False) -> ApiKey:
    """The key that replaces it."""
    row, _ = rotate_key(key.prefix, by="test")
    if used:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=local_now())
    return row


def texts_in(answer: HttpResponse) -> list[str]:
    """The keys' texts that a page shows."""
    return TEXT.findall(answer.content.decode())


def person(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return User.objects.get(pk=user.pk)


def kept() -> list[str]:
    """All that the database holds, sessions readable."""
    rows = [
        serializers.serialize("json", model._base_manager.order_by("pk"))
        for model in apps.get_models()
        if model is not Session
    ]
    return [*rows, *(str(session.get_decoded()) for session in Session.objects.all())]


@pytest.fixture
def operator(db: None) -> User:
    """A person who keeps the keys, all of it."""
    return person("operator", "view_apikey", "add_apikey", "rotate_apikey", "view_event")


# States.

S = KeyState
NOW_AND_THEN: dict[str, tuple[dict[str, timedelta | bool], set[KeyState]]] = {
    "fresh": ({}, {S.USABLE}),
    "in use": ({"created_at": -99 * DAY, "last_used_at": -29 * DAY}, {S.USABLE}),
    "soon over": ({"expires_at": 13 * DAY}, {S.USABLE, S.RUNS_OUT_SOON}),
    "over in time": ({"expires_at": 15 * DAY}, {S.USABLE}),
    "unused": ({"created_at": -2 * DAY}, {S.USABLE, S.IDLE}),
    "forgotten": ({"created_at": -99 * DAY, "last_used_at": -31 * DAY}, {S.USABLE, S.IDLE}),
    "imported": ({"must_rotate": True}, {S.USABLE, S.MUST_ROTATE}),
    "all at once": (
        {"must_rotate": True, "expires_at": DAY, "created_at": -2 * DAY},
        {S.USABLE, S.MUST_ROTATE, S.RUNS_OUT_SOON, S.IDLE},
    ),
    "expired": ({"expires_at": -DAY, "must_rotate": True, "created_at": -9 * DAY}, {S.EXPIRED}),
    "revoked": ({"revoked_at": -DAY, "expires_at": DAY, "created_at": -9 * DAY}, {S.REVOKED}),
    "revoked and expired": ({"revoked_at": -2 * DAY, "expires_at": -DAY}, {S.REVOKED}),
}
SIGNS = {
    S.USABLE: "usable",
    S.RUNS_OUT_SOON: "runs out soon",
    S.IDLE: ("idle", "never used"),
    S.OVERLAPPING: "overlaps until",
    S.MUST_ROTATE: "must rotate",
    S.REVOKED: "revoked",
    S.EXPIRED: "expired",
    S.OWNER_DISABLED: "owner disabled",
}


@pytest.fixture
def zoo(owner: User) -> dict[str, set[KeyState]]:
    """A key of every kind, by its actor, and what can be said of it."""
    now = local_now()
    for actor, (changes, _) in NOW_AND_THEN.items():
        a_key(owner, actor, **{
            field: now + change if isinstance(change, timedelta) else change
            for field, change in changes.items()
        })  # fmt: skip
    long_ago = {"created_at": now - 99 * DAY}
    rotated(a_key(owner, "replaced", must_rotate=True, **long_ago))
    revoke_key(rotated(a_key(owner, "replaced in vain", **long_ago)).prefix, by="test")
    closed = User.objects.create_user("closed", is_active=False)
    a_key(closed, "without owner", **long_ago)
    a_token_caller(owner, last_used_at=now - 99 * DAY, created_at=now - 99 * DAY)
    ApiKey.objects.filter(rotated_from__isnull=False).update(actor="successor")
    return {
        **{actor: states for actor, (_, states) in NOW_AND_THEN.items()},
        "replaced": {S.USABLE, S.OVERLAPPING},
        "replaced in vain": {S.USABLE, S.RUNS_OUT_SOON, S.IDLE},
        "without owner": {S.OWNER_DISABLED},
        "ci": {S.USABLE},
    }


@pytest.mark.feature("I2", "I3")
def test_of_every_key_is_said_what_an_operator_needs(zoo: dict[str, set[KeyState]]) -> None:
    rows = with_states(ApiKey.objects.exclude(actor="successor"), local_now())
    assert {row.actor: set(states_of(row)) for row in rows} == zoo


@pytest.mark.feature("I2")
def test_usable_means_here_what_it_means_at_the_gate(zoo: dict[str, set[KeyState]]) -> None:
    now = local_now()
    rows = with_states(ApiKey.objects.select_related("owner"), now)
    shown = {row.prefix for row in rows if S.USABLE in states_of(row)}
    assert shown == {row.prefix for row in ApiKey.objects.usable(now)}
    assert shown == {row.prefix for row in rows if Caller.of(row).fault(now, "127.0.0.1") is None}


@pytest.mark.feature("I2", "I3")
@pytest.mark.parametrize("state", KeyState)
def test_a_filter_lists_the_keys_that_show_its_sign(
    state: KeyState, zoo: dict[str, set[KeyState]], operator: User
) -> None:
    rows = listed(browser(operator), f"?state={state}")
    expected = {actor for actor, states in zoo.items() if state in states}
    assert {actor for actor, _ in rows} - {"successor"} == expected
    means_usable = ("usable", "runs out soon", "overlaps until")
    words = means_usable if state is S.USABLE else SIGNS[state]
    for _, row in rows:
        assert any(word in row for word in ([words] if isinstance(words, str) else words))


def listed(client: Client, query: str = "") -> list[tuple[str, str]]:
    """The actors of the list's rows, in order, each with the text of its row."""
    shown = client.get(LIST + query).content.decode()
    rows = [re.sub(r"<[^>]+>", " ", row) for row in shown.split("<tr>")[2:]]
    prefixes = [re.search(r"(rmp|sub)_\w{10}", row) for row in rows]
    actors = dict(ApiKey.objects.values_list("prefix", "actor"))
    return [(actors[found[0]], row) for found, row in zip(prefixes, rows, strict=True) if found]


@pytest.mark.feature("I2")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?kind=token", {"ci"}),
        ("?kind=key", {"bot"}),
        ("?kind=x", {"bot", "ci"}),
        ("?state=x", {"bot", "ci"}),
    ],
)
def test_token_callers_are_told_from_keys(
    query: str, found: set[str], owner: User, operator: User
) -> None:
    a_key(owner)
    a_token_caller(owner)
    rows = listed(browser(operator), query)
    assert {actor for actor, _ in rows} == found
    assert all(("tokens" in row) == (actor == "ci") for actor, row in rows)


@pytest.mark.feature("I2")
def test_what_needs_somebody_comes_first_and_what_is_over_last(
    zoo: dict[str, set[KeyState]], operator: User
) -> None:
    actors = [actor for actor, _ in listed(browser(operator)) if actor != "successor"]
    urgent = ["all at once", "replaced in vain", "soon over", "forgotten", "imported", "unused"]
    assert sorted(actors[:2]) == urgent[:2] and actors[2] == urgent[2]
    assert sorted(actors[: len(urgent)]) == sorted(urgent)
    over = {actor for actor, states in zoo.items() if S.USABLE not in states}
    assert set(actors[-len(over) :]) == over


@pytest.mark.feature("I2")
def test_a_hundred_keys_are_listed_by_as_many_queries_as_ten(owner: User, operator: User) -> None:
    client = browser(operator)
    counts = []
    for number in (10, 90):
        for _ in range(number):
            rotated(a_key(owner))
        with CaptureQueriesContext(connection) as queries:
            client.get(LIST)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 9


@pytest.mark.parametrize("query", ["must_rotate=1", "slow_hash__startswith=p", "imported_id=x"])
def test_only_the_filters_of_the_page_may_be_asked_for(query: str, operator: User) -> None:
    assert browser(operator).get(f"{LIST}?{query}").status_code in (302, 400)


# The page of a key.


@pytest.mark.feature("I3")
def test_a_keys_page_links_to_the_others_of_its_caller(owner: User, operator: User) -> None:
    first = a_key(owner)
    second = rotated(first, used=True)
    third = rotated(second)
    other = a_key(owner)
    shown = browser(operator).get(page_of(second)).content.decode()
    lines = re.findall(r"<li>(.*?)</li>", shown.split('class="lineage"')[1].split("</ul>")[0])
    expected = [(third, "usable"), (second, "overlaps until"), (first, "overlaps until")]
    for line, (key, state) in zip(lines, expected, strict=True):
        assert key.prefix in line and state in line
        assert (f'href="{page_of(key)}"' in line) is (key != second)
    assert other.prefix not in shown


@pytest.mark.feature("I2")
def test_a_keys_page_says_who_made_it_and_where_it_may_be_used(owner: User, operator: User) -> None:
    row, _ = create_key(
        actor="bot", scopes=["kit.read", "kit.*", "a.b", "c.d"], owner=owner, tools=["echo"],
        cidrs=["10.0.0.0/8"], rate_tier="5/minute", by=operator,
    )  # fmt: skip
    shown = browser(operator).get(page_of(row)).content.decode()
    fields = dict(re.findall(r'form-row field-(\w+)">.*?readonly">(.*?)</div>', shown, re.DOTALL))
    expected = {
        "maker": "operator", "owned_by": "owner", "scope_words": "kit.read kit.* a.b c.d",
        "shown_tools": "echo", "shown_cidrs": "10.0.0.0/8", "rate": "5/minute",
        "used_exactly": "never",
    }  # fmt: skip
    assert {name: re.sub(r"<[^>]+>", "", fields[name]) for name in expected} == expected
    assert "and 1 more" in listed(browser(operator))[0][1]


@pytest.mark.feature("I6")
def test_a_token_callers_page_names_its_issuer_and_only_revokes(
    owner: User, operator: User
) -> None:
    caller = a_token_caller(owner)
    shown = browser(operator).get(page_of(caller)).content.decode()
    assert ISSUER in shown and "ci@example" in shown and "as each token says" in shown
    assert page_of(caller, "rotate") not in shown
    assert page_of(caller, "revoke") in shown


# Rotating.


@pytest.mark.feature("I3", "V4")
def test_a_rotation_answers_with_the_new_key_and_both_work(agent: Agent, operator: User) -> None:
    client = browser(operator)
    answer = client.post(page_of(agent.row, "rotate"), {"overlap": "2h", "lifetime": "5d"})
    (text,) = texts_in(answer)
    successor = Agent(ApiKey.objects.get(rotated_from=agent.row), text)
    agent.row.refresh_from_db()
    assert answer.status_code == 200 and "no-store" in answer["Cache-Control"]
    assert agent.get("tools").status_code == successor.get("tools").status_code == 200
    assert agent.row.expires_at is not None
    assert abs(agent.row.expires_at - local_now() - timedelta(hours=2)) < timedelta(minutes=1)
    assert successor.row.expires_at == successor.row.created_at + 5 * DAY
    shown = answer.content.decode()
    assert f"{agent.row.expires_at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert page_of(agent.row) in shown


@pytest.mark.feature("I3")
def test_without_words_a_rotation_overlaps_a_day_and_lives_as_long(
    owner: User, operator: User
) -> None:
    row, _ = create_key(actor="bot", scopes=["x"], owner=owner, lifetime=40 * DAY, by="test")
    assert texts_in(browser(operator).post(page_of(row, "rotate")))
    successor = ApiKey.objects.get(rotated_from=row)
    assert successor.expires_at == successor.created_at + 40 * DAY
    assert ApiKey.objects.get(pk=row.pk).expires_at == successor.created_at + DAY


@pytest.mark.feature("I3", "V4")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"overlap": "soon"}, "is not a duration such as 90d"),
        ({"overlap": "366d"}, "An overlap is at most 365d"),
        ({"lifetime": "366d"}, "longer than the 365 days"),
        ({"lifetime": "-1d"}, "is not a duration such as 90d"),
    ],
)
def test_a_rotation_that_cannot_be_is_an_error_of_the_form(
    wrong: dict[str, str], told: str, agent: Agent, operator: User
) -> None:
    client = browser(operator)
    before = kept()
    answer = client.post(page_of(agent.row, "rotate"), wrong)
    assert (answer.status_code, texts_in(answer)) == (200, [])
    assert told in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert kept() == before


def test_zero_days_of_overlap_end_the_old_key_at_once(agent: Agent, operator: User) -> None:
    answer = browser(operator).post(page_of(agent.row, "rotate"), {"overlap": "0d"})
    assert "which works no more" in answer.content.decode()
    assert ApiKey.objects.get(pk=agent.row.pk).expires_at <= local_now()  # type: ignore[operator]


def a_revoked_key(owner: User) -> ApiKey:
    return a_key(owner, revoked_at=local_now())


def a_key_replaced_in_use(owner: User) -> ApiKey:
    key = a_key(owner)
    rotated(key, used=True)
    return key


@pytest.mark.feature("I3")
@pytest.mark.parametrize(
    ("make", "on_the_page", "refused"),
    [
        (a_revoked_key, "A revoked key stays revoked", "a revoked key stays revoked"),
        (a_token_caller, "their issuer replaces", "its issuer replaces"),
        (a_key_replaced_in_use, "which is in use: rotate that one", "which is in use"),
    ],
)
def test_what_can_not_be_rotated_says_why_and_is_not(
    make: Callable[[User], ApiKey], on_the_page: str, refused: str, owner: User, operator: User
) -> None:
    key, client = make(owner), browser(operator)
    assert page_of(key, "rotate") not in client.get(LIST).content.decode()
    assert page_of(key, "rotate") not in client.get(page_of(key)).content.decode()
    asked = client.get(page_of(key, "rotate")).content.decode()
    assert on_the_page in asked and 'name="overlap"' not in asked
    number = ApiKey.objects.count()
    answer = client.post(page_of(key, "rotate"))
    assert (answer.status_code, texts_in(answer)) == (200, [])
    assert refused in answer.content.decode()
    assert ApiKey.objects.count() == number


@pytest.mark.feature("I3", "I9")
def test_who_rotates_is_told_that_they_will_not_decide_its_calls(
    agent: Agent, trace: Any, reviewer: User
) -> None:
    client = browser(reviewer)
    assert reviewers.why_not(held(agent, trace), reviewer) is None
    form = client.get(page_of(agent.row, "rotate")).content.decode()
    assert (
        "You become the new key's maker, and so can't approve its caller's calls, waiting ones too."
        in form
    )
    (text,) = texts_in(client.post(page_of(agent.row, "rotate")))
    successor = Agent(ApiKey.objects.get(rotated_from=agent.row), text)
    refused = reviewers.why_not(held(successor, trace, text="other"), reviewer)
    assert refused is not None and refused.code == "self_approval"


def seen_on(answer: HttpResponse) -> str:
    """What the page's form says it has seen."""
    found = re.search(r'name="seen" value="(\w+)"', answer.content.decode())
    assert found is not None
    return found[1]


@pytest.mark.feature("I3", "V4")
def test_the_same_form_sent_again_does_not_rotate_again(agent: Agent, operator: User) -> None:
    client, rotate = browser(operator), page_of(agent.row, "rotate")
    form = {"overlap": "24h", "seen": seen_on(client.get(rotate))}
    (first,) = texts_in(client.post(rotate, form))
    again = client.post(rotate, form)
    assert (again.status_code, texts_in(again)) == (200, [])
    assert "It has been rotated since this page was opened." in again.content.decode()
    successor = ApiKey.objects.get(rotated_from=agent.row)
    assert successor.revoked_at is None and first.startswith(successor.prefix)


@pytest.mark.feature("I3", "V4")
def test_who_lost_the_text_rotates_again_and_the_unused_key_is_revoked(
    agent: Agent, operator: User
) -> None:
    client, rotate = browser(operator), page_of(agent.row, "rotate")
    (lost,) = texts_in(client.post(rotate))
    unused = ApiKey.objects.get(rotated_from=agent.row)
    form = client.get(rotate)
    assert f"{unused.prefix} is revoked then" in form.content.decode()
    answer = client.post(rotate, {"seen": seen_on(form)})
    (text,) = texts_in(answer)
    assert f"{unused.prefix}, which nobody had used, is revoked." in answer.content.decode()
    assert Agent(unused, lost).get("tools").json()["code"] == "key_revoked"
    successor = Agent(ApiKey.objects.get(rotated_from=agent.row, revoked_at=None), text)
    assert successor.get("tools").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("I3", "V4")
def test_of_two_clicks_at_once_one_rotates(agent: Agent, operator: User) -> None:
    rotate = page_of(agent.row, "rotate")
    clients = [browser(operator) for _ in range(4)]
    answers = at_once(4, lambda number: clients[number].post(rotate, {"seen": "none"}))
    assert sorted(len(texts_in(answer)) for answer in answers) == [0, 0, 0, 1]
    assert ApiKey.objects.filter(rotated_from=agent.row).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("V4")
def test_of_two_clicks_at_once_one_makes_a_key(operator: User) -> None:
    clients = [browser(operator) for _ in range(4)]
    answers = at_once(4, lambda number: clients[number].post(ADD, {**KEY, "seen": "0"}))
    assert sorted(len(texts_in(answer)) for answer in answers) == [0, 0, 0, 1]
    assert ApiKey.objects.count() == 1


@pytest.mark.feature("V4")
def test_the_same_form_sent_again_makes_no_second_key_unless_pressed_again(
    operator: User,
) -> None:
    client = browser(operator)
    form = {**KEY, "seen": seen_on(client.get(ADD))}
    assert texts_in(client.post(ADD, form))
    again = client.post(ADD, form)
    assert f"You have made {ApiKey.objects.get().prefix} with this form" in again.content.decode()
    assert ApiKey.objects.count() == 1
    assert texts_in(client.post(ADD, {**KEY, "seen": seen_on(again)}))
    assert ApiKey.objects.count() == 2


# Shown once.


def make(client: Client, agent: Agent) -> HttpResponse:
    return client.post(ADD, {**KEY, "actor": "new-bot"})


def rotate(client: Client, agent: Agent) -> HttpResponse:
    return client.post(page_of(agent.row, "rotate"))


@pytest.mark.feature("I3", "V4")
@pytest.mark.parametrize("get_one", [make, rotate])
def test_a_text_is_nowhere_but_in_the_answer(
    get_one: Callable[[Client, Agent], HttpResponse], agent: Agent, operator: User,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(0)
    client = browser(operator)
    answer = get_one(client, agent)
    (text,) = texts_in(answer)
    key = ApiKey.objects.get(prefix=text[:14])
    assert Agent(key, text).get("tools").status_code == 200
    secret = text[15:]
    pages = (
        LIST, ADD, "/admin/", "/admin/audit/event/", page_of(key), page_of(key, "rotate"),
        page_of(key, "used"), page_of(key, "history"), page_of(agent.row),
        page_of(agent.row, "rotate"),
    )  # fmt: skip
    lines = [reverse("admin:audit_event_change", args=[line.pk]) for line in Event.objects.all()]
    shown = [client.get(page) for page in (*pages, *lines)]
    assert {page.status_code for page in shown} == {200}
    everywhere = [
        *kept(), *(page.content.decode() for page in shown), caplog.text, str(client.cookies),
        str(dict(client.session)), *map(str, answer.headers.items()),
    ]  # fmt: skip
    assert not [one for one in everywhere if secret in one]
    assert not answer.context["messages"] and "Location" not in answer


@pytest.mark.feature("V4", "E54")
@pytest.mark.parametrize("get_one", [make, rotate])
def test_the_page_has_the_text_once_and_a_command_without_it(
    get_one: Callable[[Client, Agent], HttpResponse], agent: Agent, operator: User,
    settings: Settings,
) -> None:  # fmt: skip
    settings.RAMPART_PUBLIC_URL = "https://rampart.example"
    answer = get_one(browser(operator), agent)
    shown, (text,) = answer.content.decode(), texts_in(answer)
    assert shown.count(text[15:]) == 1
    assert f'<pre class="value secret" tabindex="0" translate="no">{text}</pre>' in shown
    command = 'curl -s https://rampart.example/api/v1/key -H "Authorization: Bearer $RAMPART_KEY"'
    assert escape(command) in shown
    assert "RAMPART_KEY=" not in shown
    key = ApiKey.objects.get(prefix=text[:14])
    assert f'role="status" aria-live="polite" data-used="{page_of(key, "used")}"' in shown
    assert answer["Referrer-Policy"] == "same-origin"
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.feature("V4")
@pytest.mark.parametrize("get_one", [make, rotate])
def test_no_page_of_keys_has_a_script_or_style_of_its_own(
    get_one: Callable[[Client, Agent], HttpResponse], agent: Agent, operator: User
) -> None:
    client = browser(operator)
    for answer in (get_one(client, agent), client.get(ADD), client.get(page_of(agent.row)),
                   client.get(page_of(agent.row, "rotate"))):  # fmt: skip
        shown = answer.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", shown)
        assert "default-src 'self'" in answer["Content-Security-Policy"]


@pytest.mark.feature("E54")
def test_whether_the_first_call_has_come_is_asked_without_changing_anything(
    agent: Agent, operator: User
) -> None:
    client, used = browser(operator), page_of(agent.row, "used")
    before = kept()
    for _ in range(3):
        answer = client.get(used)
        assert answer.json() == {"used": False}
        assert "no-store" in answer["Cache-Control"]
        assert answer["Content-Type"] == "application/json"
    assert kept() == before
    agent.get("tools")
    assert client.get(used).json() == {"used": True}
    assert client.get("/admin/tools/apikey/4711/used/").status_code == 404
    assert client.get("/admin/tools/apikey/nonsense/used/").status_code == 404


# Making.


@pytest.mark.feature("I2")
@pytest.mark.parametrize(("days", "usual"), [(365, "90d"), (30, "30d")])
def test_the_form_says_how_long_a_key_may_live(
    days: int, usual: str, settings: Settings, operator: User, agent: Agent
) -> None:
    settings.RAMPART_MAX_KEY_LIFETIME = timedelta(days=days)
    client = browser(operator)
    shown = client.get(ADD).content.decode()
    assert f"at most {days}d; empty: {usual}." in shown
    assert re.search(rf'name="lifetime" value="{usual}"', shown)
    assert f"At most {days}d." in client.get(page_of(agent.row, "rotate")).content.decode()


def test_the_form_names_the_scopes_that_the_tools_ask_for(
    tools_synced: None, operator: User
) -> None:
    shown = browser(operator).get(ADD).content.decode()
    assert "kit.destroy, kit.read, kit.write" in shown


@pytest.mark.feature("I7")
@pytest.mark.parametrize(("scopes", "warned"), [("* kit.read", True), ("kit.*", False)])
def test_a_key_for_everything_is_made_with_a_warning(
    scopes: str, warned: bool, operator: User
) -> None:
    answer = browser(operator).post(ADD, {**KEY, "scopes": scopes})
    assert texts_in(answer) and ApiKey.objects.count() == 1
    assert ("allows every tool" in answer.content.decode()) is warned


# Revoking.


def revoke(client: Client, keys: list[ApiKey], **form: str) -> HttpResponse:
    """Choose keys in the list and press Go; with `post` as on the page that asks."""
    chosen = {"action": "revoke", "_selected_action": [str(key.pk) for key in keys]}
    return client.post(LIST, {**chosen, **form}, follow=True)


@pytest.mark.feature("I2")
def test_before_keys_are_revoked_the_page_lists_exactly_those(owner: User, operator: User) -> None:
    chosen, other = [a_key(owner), a_key(owner)], a_key(owner)
    gone = a_key(owner, revoked_at=local_now())
    client = browser(operator)
    before = kept()
    asked = revoke(client, [*chosen, gone]).content.decode()
    assert kept() == before
    listed_boxes = re.findall(r'name="_selected_action" value="(\d+)"', asked)
    assert sorted(map(int, listed_boxes)) == sorted(key.pk for key in chosen)
    assert all(key.prefix in asked for key in chosen)
    assert other.prefix not in asked and gone.prefix not in asked
    assert 'name="reason"' in asked and 'name="post" value="yes"' in asked


@pytest.mark.feature("I2", "U1")
def test_revoked_keys_are_lines_with_the_reason(owner: User, operator: User) -> None:
    keys = [a_key(owner), a_key(owner)]
    answer = revoke(browser(operator), keys, post="yes", reason="laptop stolen")
    assert "2 revoked" in answer.content.decode()
    lines = Event.objects.filter(event=EventName.KEY_REVOKED)
    assert {(line.key_prefix, line.actor, line.metadata["reason"]) for line in lines} == {
        (key.prefix, "operator", "laptop stolen") for key in keys
    }
    assert ApiKey.objects.filter(revoked_at=None).count() == 0


@pytest.mark.feature("I2", "U1")
def test_a_keys_own_page_revokes_it_with_a_reason(agent: Agent, operator: User) -> None:
    client = browser(operator)
    answer = client.post(page_of(agent.row, "revoke"), {"reason": "rotated by hand"}, follow=True)
    assert "1 revoked" in answer.content.decode()
    assert Event.objects.get(event=EventName.KEY_REVOKED).metadata["reason"] == "rotated by hand"
    assert page_of(agent.row, "revoke") not in client.get(page_of(agent.row)).content.decode()


@pytest.mark.feature("I2")
def test_what_others_have_done_meanwhile_is_counted(owner: User, operator: User) -> None:
    keys = [a_key(owner), a_key(owner), a_key(owner)]
    revoke_key(keys[1].prefix, by="somebody else")
    ApiKey.objects.filter(pk=keys[2].pk).delete()
    answer = revoke(browser(operator), keys, post="yes")
    assert "1 revoked, 1 revoked already, 1 gone" in answer.content.decode()
    assert Event.objects.filter(event=EventName.KEY_REVOKED, actor="operator").count() == 1


@pytest.mark.feature("I2")
def test_keys_revoked_already_are_not_asked_about(owner: User, operator: User) -> None:
    asked = revoke(browser(operator), [a_key(owner, revoked_at=local_now())]).content.decode()
    assert "They are revoked already." in asked
    assert 'name="post"' not in asked


@pytest.mark.feature("I2")
def test_a_failure_undoes_no_revocation_that_stands(
    owner: User, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = a_key(owner, "first"), a_key(owner, "second")
    ApiKey.objects.filter(pk=first.pk).update(expires_at=local_now() + DAY)

    def fails_at_the_second(prefix: str, **options: Any) -> bool:
        if prefix == second.prefix:
            raise RuntimeError("the second")
        return revoke_key(prefix, **options)

    monkeypatch.setattr(key_cabinet, "revoke_key", fails_at_the_second)
    client = browser(operator)
    client.raise_request_exception = False
    assert revoke(client, [first, second], post="yes").status_code == 500
    revoked = ApiKey.objects.filter(revoked_at__isnull=False)
    assert [key.prefix for key in revoked] == [first.prefix]


@pytest.mark.feature("I2")
@pytest.mark.parametrize("reason", ["x" * (LONGEST_REASON + 1), "a\x00b"])
def test_a_reason_that_the_ledger_cannot_keep_is_asked_for_again(
    reason: str, agent: Agent, operator: User
) -> None:
    client = browser(operator)
    for answer in (
        revoke(client, [agent.row], post="yes", reason=reason),
        client.post(page_of(agent.row, "revoke"), {"reason": reason}),
    ):
        assert 'class="errorlist"' in answer.content.decode()
        assert 'name="_selected_action"' in answer.content.decode()
    assert ApiKey.objects.get(pk=agent.row.pk).revoked_at is None


@pytest.mark.feature("I2")
def test_more_keys_than_a_form_holds_are_left_for_the_next_time(
    owner: User, operator: User
) -> None:
    ApiKey.objects.bulk_create(
        ApiKey(prefix=f"rmp_{number:010}", digest="x", actor="many", owner=owner)
        for number in range(502)
    )
    client = browser(operator)
    answer = revoke(client, [ApiKey.objects.all()[0]], select_across="1")
    asked = answer.content.decode()
    boxes = re.findall(r'name="_selected_action" value="(\d+)"', asked)
    assert len(boxes) == 500 and "2 more of those chosen" in asked
    keys = list(ApiKey.objects.filter(pk__in=boxes))
    assert "500 revoked" in revoke(client, keys, post="yes").content.decode()
    assert ApiKey.objects.filter(revoked_at=None).count() == 2


# Who may.

ROLES = {
    "nobody": (),
    "viewer": ("view_apikey",),
    "rotator": ("rotate_apikey",),
    "maker": ("add_apikey",),
}
PAGES = {
    "list": "viewer rotator", "change": "viewer rotator", "used": "viewer rotator",
    "rotate": "rotator", "add": "maker",
}  # fmt: skip


def addresses(key: ApiKey) -> dict[str, str]:
    words = ("change", "used", "rotate", "revoke")
    return {"list": LIST, "add": ADD, **{word: page_of(key, word) for word in words}}


@pytest.mark.feature("V2", "I2", "I3")
@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_its_pages_and_looking_changes_nothing(
    role: str, method: str, agent: Agent
) -> None:
    client, where = browser(person(role, *ROLES[role])), addresses(agent.row)
    before = kept()
    for page, roles in PAGES.items():
        answer = getattr(client, method)(where[page])
        assert answer.status_code == (200 if role in roles.split() else 403), page
    assert getattr(client, method)(where["revoke"]).status_code == 405
    assert kept() == before


@pytest.mark.feature("V2", "I2", "I3")
@pytest.mark.parametrize("role", ROLES)
def test_each_role_does_what_it_may_and_nothing_else(role: str, agent: Agent, owner: User) -> None:
    client, where = browser(person(role, *ROLES[role])), addresses(agent.row)
    second = a_key(owner)
    made = client.post(where["add"], KEY)
    rotated_one = client.post(where["rotate"])
    revoked = client.post(where["revoke"])
    revoke(client, [second], post="yes")
    may_make, may_rotate = role == "maker", role == "rotator"
    assert (made.status_code, len(texts_in(made))) == ((200, 1) if may_make else (403, 0))
    assert (rotated_one.status_code, len(texts_in(rotated_one))) == (
        (200, 1) if may_rotate else (403, 0)
    )
    assert revoked.status_code == (302 if may_rotate else 403)
    assert ApiKey.objects.filter(actor="billing-bot").exists() is may_make
    assert ApiKey.objects.filter(rotated_from=agent.row).exists() is may_rotate
    for key in (agent.row, second):
        assert (ApiKey.objects.get(pk=key.pk).revoked_at is not None) is may_rotate


@pytest.mark.feature("V2", "I3")
def test_a_viewer_is_offered_nothing_to_do(agent: Agent) -> None:
    client = browser(person("viewer", "view_apikey"))
    for page in (LIST, page_of(agent.row)):
        shown = client.get(page).content.decode()
        for verb in ("rotate", "revoke"):
            assert page_of(agent.row, verb) not in shown
        assert ADD not in shown and 'name="action"' not in shown


def test_who_may_only_make_keys_is_led_to_no_closed_door(agent: Agent) -> None:
    answer = browser(person("maker", "add_apikey")).post(ADD, KEY)
    shown = answer.content.decode().split('<div class="new-key">')[1]
    assert texts_in(answer) and "/admin/tools/apikey/" not in shown


@pytest.mark.feature("V2")
@pytest.mark.parametrize("word", ["list", "add", "change", "used", "rotate", "revoke"])
def test_whoever_has_not_signed_in_is_asked_to(word: str, agent: Agent) -> None:
    before = kept()
    for method in ("get", "post"):
        answer = getattr(browser(), method)(addresses(agent.row)[word])
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/")
    assert kept() == before


@pytest.mark.feature("V2")
@pytest.mark.parametrize("word", ["list", "add", "rotate", "revoke"])
def test_nothing_is_done_without_a_csrf_token(word: str, agent: Agent, operator: User) -> None:
    client = browser(operator, strict=True)
    before = kept()
    form = {**KEY, "action": "revoke", "_selected_action": [str(agent.row.pk)], "post": "yes"}
    assert client.post(addresses(agent.row)[word], form).status_code == 403
    assert kept() == before


@pytest.mark.feature("V2")
@pytest.mark.parametrize(
    ("word", "methods"),
    [("used", "post put delete"), ("rotate", "put patch delete"), ("revoke", "put patch delete")],
)
def test_other_methods_are_refused(word: str, methods: str, agent: Agent, operator: User) -> None:
    client = browser(operator)
    before = kept()
    for method in methods.split():
        assert getattr(client, method)(page_of(agent.row, word)).status_code == 405, method
    assert kept() == before
