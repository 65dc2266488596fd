"""The pages on which people write policies, and suppose calls."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from hypothesis import strategies as st

from approvals import rulebook
from approvals.condition_lines import read_line, write_line
from approvals.models import Invocation, Policy
from audit.models import Event
from tests.admin.conftest import browser
from tests.conftest import Agent, at_once, held
from tests.desk_cast import Rule
from tools.conditions import Operator

pytestmark = pytest.mark.django_db

ADD = "/admin/approvals/policy/add/"
SIMULATE = "/admin/approvals/policy/simulate/"
BLANK = {
    "name": "refunds", "description": "", "is_enabled": "on", "effect": "require", "priority": "0",
    "tool": "pay", "actor": "", "scope": "", "side_effect": "", "conditions": "",
    "expires_after": "", "seen": "",
    "stages-TOTAL_FORMS": "2", "stages-INITIAL_FORMS": "0",
    "stages-0-position": "1", "stages-0-needs": "1", "stages-0-group": "",
    "stages-1-position": "2", "stages-1-needs": "1", "stages-1-group": "",
}  # fmt: skip
EVERYTHING = ("view_policy", "add_policy", "change_policy", "delete_policy")


def page(policy: Policy, verb: str = "change") -> str:
    return reverse(f"admin:approvals_policy_{verb}", args=[policy.pk])


def write(client: Client, **given: Any) -> Any:
    """Post the form of a new policy, and look where it leads."""
    return client.post(ADD, BLANK | given, follow=True)


def form_of(client: Client, policy: Policy) -> dict[str, Any]:
    """What a browser would post if it pressed Save on the policy's page."""
    shown = client.get(page(policy)).context
    forms = [shown["adminform"].form]
    for formset in (inline.formset for inline in shown["inline_admin_formsets"]):
        forms += [formset.management_form, *formset.forms]
    found: dict[str, Any] = {}
    for form in forms:
        for field in form:
            value = field.field.widget.format_value(field.value())
            if field.value() is False:
                continue
            single = value[0] if isinstance(value, list) else value
            found[field.html_name] = "on" if field.value() is True else single or ""
    return found


def errors_of(answer: Any) -> dict[str, list[str]]:
    """The faults that the form shows, by field."""
    form = answer.context["adminform"].form
    return {name: list(faults) for name, faults in form.errors.items()}


@pytest.fixture
def author(db: None) -> User:
    """A person who writes policies, and may decide nothing."""
    user = User.objects.create_user("author", password="author-password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=EVERYTHING))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def client(author: User, tools_synced: None) -> Client:
    return browser(author)


def changes() -> list[tuple[str, str, Any, Any]]:
    """The ledger's lines about policies: by whom, what, before and after."""
    lines = Event.objects.filter(event="policy:changed").order_by("id")
    return [
        (line.actor, line.reason, line.metadata["before"], line.metadata["after"]) for line in lines
    ]


# Writing.


@pytest.mark.feature("P1", "AP9", "U8")
def test_a_policy_is_written_with_stages_and_conditions_and_told(client: Client) -> None:
    ops, finance = (Group.objects.create(name=name) for name in ("ops", "finance"))
    answer = write(
        client, conditions="amount > 500\r\n\r\nnote contains  refund ", actor="shop-*",
        expires_after="12h", reason_required="on", no_bulk="on",
        **{"stages-0-needs": "2", "stages-0-group": ops.pk, "stages-1-group": finance.pk},
    )  # fmt: skip
    policy = Policy.objects.get()
    assert answer.redirect_chain, errors_of(answer)
    assert policy.conditions == [
        {"field": "amount", "operator": ">", "value": 500},
        {"field": "note", "operator": "contains", "value": "refund"},
    ]
    told = changes()
    assert told == [("author", "added", None, policy.describe())]
    assert told[0][3]["stages"] == [
        {"needs": 2, "group": "ops"},
        {"needs": 1, "group": "finance"},
    ]
    assert told[0][3]["expires_after"] == 12 * 3600
    assert LogEntry.objects.get().object_id == str(policy.pk)
    shown = client.get(page(policy)).content.decode()
    assert (
        "Holds pay by shop-* when amount exceeds 500 and note contains &#x27;refund&#x27;,"
        " until 2 of ops and then 1 of finance agree, within 12h, with a reason,"
        " each call by itself." in shown
    )


@pytest.mark.feature("P1", "U8")
def test_a_change_tells_what_was_said_before_and_after(client: Client, write_rule: Rule) -> None:
    policy = write_rule("refunds", [(1, "ops")], tool="pay")
    before = policy.describe()
    given = form_of(client, policy) | {"effect": "require", "step_up": "on", "stages-0-needs": "3"}
    assert client.post(page(policy), given).status_code == 302
    after = Policy.objects.get().describe()
    assert changes() == [("author", "changed", before, after)]
    assert (after["step_up"], after["stages"]) == (True, [{"needs": 3, "group": "ops"}])


def test_a_page_that_is_saved_as_it_is_changes_nothing_and_tells_nothing(
    client: Client, write_rule: Rule
) -> None:
    conditions = [
        {"field": "amount", "operator": "≥", "value": 0.5},
        {"field": "code", "operator": "=", "value": "007"},
        {"field": "code", "operator": "≠", "value": "500"},
        {"field": "kind", "operator": "in", "value": ["a, b", "true", 'say "x"', " c"]},
        {"field": "sql", "operator": "matches", "value": r'^"DROP\b'},
        {"field": "flag", "operator": "=", "value": False},
    ]
    policy = write_rule("all", [(2, "ops")], conditions=conditions, priority=-3, no_bulk=True)
    before = policy.describe()
    assert client.post(page(policy), form_of(client, policy)).status_code == 302
    assert Policy.objects.get().describe() == before
    assert changes() == []


@pytest.mark.feature("P1", "U8")
@pytest.mark.parametrize("way", ["its page", "the list"])
def test_a_policy_taken_away_is_told_and_felt(
    client: Client, agent: Agent, write_rule: Rule, way: str,
    django_capture_on_commit_callbacks: Any,
) -> None:  # fmt: skip
    policy = write_rule("no", [(1, "ops")], effect="deny")
    said = policy.describe()
    assert agent.invoke("leave_trace", path="/dev/null").status_code == 403
    with django_capture_on_commit_callbacks(execute=True):
        if way == "its page":
            client.post(page(policy, "delete"), {"post": "yes"})
        else:
            chosen = {"action": "delete_selected", "_selected_action": policy.pk, "post": "yes"}
            client.post("/admin/approvals/policy/", chosen)
    assert changes() == [("author", "deleted", said, None)]
    assert agent.invoke("leave_trace", path="/dev/null").status_code == 202


@pytest.mark.feature("P8")
def test_a_change_is_felt_at_once_and_voids_what_it_held(
    client: Client, agent: Agent, trace: Path, write_rule: Rule,
    django_capture_on_commit_callbacks: Any,
) -> None:  # fmt: skip
    policy = write_rule("look", tool="guarded_trace")
    approval = held(agent, trace)
    shown = client.get(page(policy)).content.decode()
    assert reverse("admin:approvals_approval_change", args=[approval.pk]) in shown
    for given, status in (({"name": "watch"}, "held"), ({"step_up": "on"}, "void")):
        with django_capture_on_commit_callbacks(execute=True):
            client.post(page(policy), form_of(client, policy) | given)
        assert Invocation.objects.get().status == status
    assert len(rulebook.rulebook().written) == 1
    assert rulebook.rulebook().written[0].terms.step_up


@pytest.mark.feature("P1")
def test_a_line_that_cannot_be_written_undoes_the_change(
    client: Client, write_rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_rule("look")

    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("the ledger is full")

    given = form_of(client, policy) | {"effect": "allow"}
    monkeypatch.setattr("approvals.policy_changes.ledger.record", fails)
    with pytest.raises(RuntimeError):
        client.post(page(policy), given)
    assert Policy.objects.get().effect == "require"


@pytest.mark.feature("P8")
@pytest.mark.django_db(transaction=True)
def test_a_change_is_felt_at_once_even_if_nothing_can_be_voided_now(
    superuser: User, agent: Agent, write_rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_rule("look", effect="allow")
    assert agent.invoke("leave_trace", path="/dev/null").status_code == 202

    def fails() -> int:
        raise OperationalError("away")

    monkeypatch.setattr("approvals.policy_changes.upkeep.void_ruled_otherwise", fails)
    monkeypatch.setattr(rulebook, "SECONDS_REMEMBERED", 3600.0)
    rulebook.rulebook(fresh=True)
    client = browser(superuser)
    given = form_of(client, policy) | {"effect": "deny"}
    assert client.post(page(policy), given).status_code == 302
    assert agent.invoke("leave_trace", path="/dev/null").status_code == 403


# What the form refuses.


@pytest.mark.feature("P1", "P2")
@pytest.mark.parametrize(
    ("given", "field", "fault"),
    [
        ({"name": "  "}, "name", "required"),
        ({"name": "pay\u202eyap"}, "name", "RIGHT-TO-LEFT"),
        ({"name": "refunds\nrule fine"}, "name", "line break"),
        ({"tool": ""}, "tool", "required"),
        ({"tool": "pay, echo"}, "tool", "One name or pattern"),
        ({"tool": "pay_[ab"}, "tool", "bracket is not closed"),
        ({"actor": "shop-[12"}, "actor", "bracket is not closed"),
        ({"actor": "shop\u200b*"}, "actor", "ZERO WIDTH"),
        ({"scope": "refunds*"}, "scope", "One scope"),
        ({"scope": "a.b c.d"}, "scope", "One scope"),
        ({"side_effect": "explodes"}, "side_effect", "valid choice"),
        ({"effect": "permit"}, "effect", "valid choice"),
        ({"conditions": "amount"}, "conditions", "Line 1: write a field"),
        ({"conditions": "amount > 5\namount ~ 5"}, "conditions", "Line 2: write a field"),
        ({"conditions": "amount > much"}, "conditions", "is not a finite number"),
        ({"conditions": 'amount > "5"'}, "conditions", "is not a finite number"),
        ({"conditions": "amount > NaN"}, "conditions", "is not a finite number"),
        ({"conditions": "amount > 1e999"}, "conditions", "can't be read"),
        ({"conditions": "amount >= true"}, "conditions", "is not a finite number"),
        ({"conditions": "sql matches (a)\\1"}, "conditions", "is not a pattern"),
        ({"conditions": "kind in []"}, "conditions", "at least one value"),
        ({"conditions": "kind in a, 5"}, "conditions", "all numbers, or all text"),
        ({"conditions": "kind in a,,b"}, "conditions", "between commas"),
        ({"conditions": 'kind = "a'}, "conditions", "can't be read"),
        ({"conditions": "kind = 'a'"}, "conditions", "quotes are written as"),
        ({"conditions": "kind = a\u200bb"}, "conditions", "what can't be seen"),
        ({"conditions": "a = 1\n" * 21}, "conditions", "At most 20"),
        ({"expires_after": "soon"}, "expires_after", "is not a duration"),
        ({"expires_after": "0h"}, "expires_after", "More than nothing"),
        ({"expires_after": "31d"}, "expires_after", "at most 30d"),
        ({"effect": "deny", "expires_after": "1h"}, "expires_after", "nobody decides here"),
        ({"effect": "allow", "step_up": "on"}, "step_up", "nobody decides here"),
        ({"effect": "deny", "no_bulk": "on"}, "no_bulk", "nobody decides here"),
    ],
)
def test_what_can_be_no_policy_is_refused_at_the_field(
    client: Client, given: dict[str, str], field: str, fault: str
) -> None:
    found = errors_of(write(client, **given))
    assert [*found] == [field]
    assert fault in found[field][0]
    assert not Policy.objects.exists() and changes() == []


@pytest.mark.feature("P1")
@pytest.mark.parametrize("longest", ["30d", "720h", "1s"])
def test_thirty_days_to_decide_are_the_most(client: Client, longest: str) -> None:
    assert write(client, expires_after=longest).redirect_chain


@pytest.mark.feature("AP9")
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"stages-0-group": "ops", "stages-1-group": "ops"}, "A group stands once"),
        ({"stages-0-group": "ops", "stages-1-needs": "3"}, "without a group stands alone"),
        ({"effect": "deny", "stages-0-group": "ops"}, "have stages"),
        ({"stages-0-group": "ops", "stages-0-needs": "0"}, "greater than or equal to 1"),
        ({"stages-0-group": "ops", "stages-0-needs": "21"}, "less than or equal to 20"),
        (
            {"stages-0-group": "ops", "stages-1-group": "finance", "stages-1-position": "1"},
            "duplicate",
        ),
    ],
)
def test_stages_that_would_not_mean_what_they_say_are_refused(
    client: Client, given: dict[str, str], fault: str
) -> None:
    groups = {name: Group.objects.create(name=name).pk for name in ("ops", "finance")}
    answer = write(client, **{name: groups.get(value, value) for name, value in given.items()})
    assert fault in answer.content.decode()
    assert not Policy.objects.exists()


LINES = st.builds(
    "{} {} {}".format,
    st.sampled_from(["amount", "money.amount", "a-b"]),
    st.sampled_from([operator.value for operator in Operator] + ["!=", ">=", "<=", "=="]),
    st.one_of(
        st.text(min_size=1, max_size=12),
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.text(max_size=8).map(json.dumps),
        st.lists(st.text(max_size=4), min_size=1, max_size=3).map(json.dumps),
    ),
)


@pytest.mark.feature("P1")
@hypothesis.given(LINES)
def test_a_condition_that_is_read_is_written_as_a_line_that_reads_the_same(line: str) -> None:
    try:
        condition = read_line(line)
    except ValueError:
        return
    written = write_line(condition)
    assert written.isprintable()
    again = read_line(written)
    assert json.dumps(again) == json.dumps(condition)


# Two at once.


@pytest.mark.feature("P1")
def test_whoever_has_not_seen_the_last_change_does_not_overwrite_it(
    client: Client, write_rule: Rule, superuser: User
) -> None:
    policy = write_rule("look", [(1, "ops")])
    mine, other = form_of(client, policy), browser(superuser)
    assert other.post(page(policy), form_of(other, policy) | {"step_up": "on"}).status_code == 302
    answer = client.post(page(policy), mine | {"no_bulk": "on"})
    assert "Somebody else has changed this policy meanwhile" in answer.content.decode()
    assert (Policy.objects.get().step_up, Policy.objects.get().no_bulk) == (True, False)
    assert [line[0] for line in changes()] == ["root"]


@pytest.mark.feature("P1")
@pytest.mark.django_db(transaction=True)
def test_of_several_who_save_at_the_same_instant_one_wins(
    write_rule: Rule, superuser: User, tools_synced: None
) -> None:
    policy = write_rule("look")
    given = form_of(browser(superuser), policy)
    clients = [browser(superuser) for _ in range(4)]

    def save(number: int) -> int:
        return clients[number].post(page(policy), given | {"priority": number + 1}).status_code

    assert sorted(at_once(4, save)) == [200, 200, 200, 302]
    assert len(changes()) == 1
    assert changes()[0][3] == Policy.objects.get().describe()


# Who may.


@pytest.mark.feature("P1", "T21")
def test_deciding_gives_no_right_to_write_policies_nor_writing_them_to_decide(
    write_rule: Rule, reviewer: User, author: User, tools_synced: None
) -> None:
    policy = write_rule("look")
    decider, writer = browser(reviewer), browser(author)
    for address in (ADD, page(policy), page(policy, "delete"), "/admin/approvals/policy/"):
        assert decider.get(address).status_code == 403
        assert decider.post(address, BLANK).status_code == 403
        assert writer.get(address).status_code == 200
    assert writer.get("/admin/approvals/approval/").status_code == 403
    assert Policy.objects.get().describe() == policy.describe()


@pytest.mark.feature("P1", "T21")
@pytest.mark.parametrize("verb", ["view", "add", "change", "delete"])
def test_each_permission_is_for_its_own_verb(
    verb: str, author: User, write_rule: Rule, tools_synced: None
) -> None:
    policy = write_rule("look", [(1, "ops")])
    author.user_permissions.set(Permission.objects.filter(codename=f"{verb}_policy"))
    one = browser(User.objects.get(pk=author.pk))
    can = {
        "view": one.get(page(policy)).status_code == 200,
        "add": write(one, name="another").status_code == 200,
        "change": one.post(page(policy), BLANK | {"name": "changed"}).status_code != 403,
        "delete": one.post(page(policy, "delete"), {"post": "yes"}).status_code != 403,
    }
    expected = {verb, "view"} if verb == "change" else {verb}
    assert {name for name, may in can.items() if may} == expected
    assert Policy.objects.filter(name="another").exists() == (verb == "add")


def test_whoever_may_only_look_sees_what_it_does_and_no_form(
    author: User, write_rule: Rule, tools_synced: None
) -> None:
    policy = write_rule("look", [(2, "ops")])
    author.user_permissions.set(Permission.objects.filter(codename="view_policy"))
    shown = browser(User.objects.get(pk=author.pk)).get(page(policy)).content.decode()
    assert "Holds every tool, until 2 of ops agree." in shown
    assert 'id="stages-group"' in shown
    assert 'name="_save"' not in shown and 'name="stages-0-needs"' not in shown


# What the page says.


@pytest.mark.feature("TD4", "P1")
def test_a_policy_that_nobody_can_decide_is_saved_with_a_loud_warning(
    client: Client, member: Callable[..., User]
) -> None:
    member("ana", "ops")
    ops = Group.objects.get(name="ops")
    given = {"stages-0-group": ops.pk, "stages-0-needs": "2"}
    answer = write(client, **given)
    assert Policy.objects.exists()
    assert any("Nobody can decide" in str(told) for told in answer.context["messages"])
    member("bob", "ops")
    assert not list(write(client, **given, name="now").context["messages"])[1:]
    shown = client.get(page(Policy.objects.get(name="now"))).content.decode()
    assert "ana, bob" in " ".join(shown.split())


@pytest.mark.feature("P1")
@pytest.mark.parametrize(
    ("given", "warning"),
    [
        ({"tool": "refnud_*"}, "It matches no tool that is here now."),
        ({"tool": "echo", "side_effect": "writes"}, "It matches no tool that is here now."),
        ({"conditions": "amont > 5"}, "No tool that it matches takes amont"),
    ],
)
def test_what_was_probably_not_meant_is_said(
    client: Client, reviewer: User, given: dict[str, str], warning: str
) -> None:
    told = [str(message) for message in write(client, **given).context["messages"]]
    assert any(warning in message for message in told), told
    assert warning in client.get(page(Policy.objects.get())).content.decode()


def test_what_somebody_broke_by_hand_is_shown_and_can_be_mended(
    client: Client, write_rule: Rule
) -> None:
    policy = write_rule("broken", effect="permit", conditions=[5], tool="")
    shown = client.get(page(policy)).content.decode()
    assert "Can&#x27;t be read, and so denies every tool" in shown
    assert client.get("/admin/approvals/policy/").status_code == 200
    mended = form_of(client, policy) | {"effect": "require", "conditions": "", "tool": "pay"}
    assert client.post(page(policy), mended).status_code == 302


def test_a_name_that_is_markup_is_only_text(client: Client, write_rule: Rule) -> None:
    policy = write_rule("<script>alert(1)</script>", [(1, "<b>ops</b>")], actor="<i>*")
    for address in (page(policy), "/admin/approvals/policy/"):
        shown = client.get(address).content.decode()
        assert "<script>alert" not in shown and "<b>ops" not in shown and "<i>*" not in shown


@pytest.mark.feature("AP9")
def test_a_group_that_a_policy_names_cannot_be_deleted_and_the_page_says_why(
    superuser: User, write_rule: Rule
) -> None:
    write_rule("big refunds", [(1, "ops")])
    ops = Group.objects.get(name="ops")
    for address, given in (
        (reverse("admin:auth_group_delete", args=[ops.pk]), {"post": "yes"}),
        (
            reverse("admin:auth_group_changelist"),
            {"action": "delete_selected", "_selected_action": ops.pk, "post": "yes"},
        ),
    ):
        answer = browser(superuser).post(address, given)
        assert answer.status_code == 200
        assert "big refunds: 1 of ops" in answer.content.decode()
    assert Group.objects.filter(name="ops").exists()


# Supposing a call.


def suppose(client: Client, tool: str, arguments: Any, **given: Any) -> Any:
    body = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return client.post(SIMULATE, {"tool": tool, "actor": "agent", "arguments": body, **given})


def everything() -> list[str]:
    """All that the database holds, sessions aside."""
    models = [model for model in apps.get_models() if model is not Session]
    return [serializers.serialize("json", model._base_manager.order_by("pk")) for model in models]


@pytest.mark.feature("P5")
def test_a_supposed_call_shows_each_rule_and_who_could_decide(
    agent: Agent, client: Client, member: Callable[..., User], write_rule: Rule
) -> None:
    member("ana", "ops")
    member("bob", "ops", "finance")
    write_rule("money", [(1, "ops"), (1, "finance")], tool="pay", no_bulk=True)
    write_rule("fine", tool="pay", effect="allow")
    answer = suppose(client, "pay", {"path": "/dev/null", "amount": 900, "card_number": "4111"})
    shown = " ".join(answer.content.decode().split())
    found = answer.context["found"]
    assert (found.answer, [step.rule for step in found.decisive]) == (
        "hold", ["approval conditions", "rule money"],
    )  # fmt: skip
    stages = {one.stage.group: one.people for one in found.wait.stages}
    assert stages == {"ops": ("ana", "bob"), "finance": ("bob",)}
    for needed in (
        "1 of ops",
        "ana, bob",
        "rule fine",
        "amount exceeds 100",
        "each call by itself",
    ):
        assert needed in shown, needed
    result = shown.partition("What would become of it")[2]
    assert "4111" not in result and "[REDACTED]" in result


@pytest.mark.feature("P5")
def test_supposing_writes_nothing_at_all(agent: Agent, client: Client, write_rule: Rule) -> None:
    write_rule("look")
    client.get("/admin/")
    before = everything()
    for arguments in ({"path": "/dev/null"}, {"unknown": 1}, "no json", "[]"):
        assert suppose(client, "guarded_trace", arguments).status_code == 200
    assert client.get(SIMULATE).status_code == 200
    assert everything() == before


@pytest.mark.feature("P5")
def test_a_call_that_nobody_could_decide_is_called_so(
    agent: Agent, client: Client, write_rule: Rule, reviewer: User
) -> None:
    write_rule("two", [(2, None)], tool="pay")
    shown = suppose(client, "pay", {"path": "/dev/null", "amount": 1}).content.decode()
    assert "Nobody can decide it" in shown and "reviewer" in shown


@pytest.mark.feature("P5", "T21")
def test_who_sees_policies_or_decides_calls_may_suppose_one_and_nobody_else(
    agent: Agent, author: User, reviewer: User, stranger: User
) -> None:
    for person, status in ((author, 200), (reviewer, 200), (stranger, 403)):
        assert browser(person).get(SIMULATE).status_code == status
        assert suppose(browser(person), "echo", {}).status_code == status
    assert browser(author, strict=True).post(SIMULATE, {}).status_code == 403


@pytest.mark.feature("P5")
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"actor": "nobody"}, "They have no usable key"),
        ({"arguments": '{"a": 1, "a": 2}'}, "same key twice"),
        ({"arguments": "[1]"}, "not an object"),
        ({"tool": "no_such_tool"}, "valid choice"),
    ],
)
def test_what_cannot_be_supposed_is_said_at_the_field(
    agent: Agent, client: Client, given: dict[str, str], fault: str
) -> None:
    whole = {"tool": "echo", "actor": "agent", "arguments": "{}"} | given
    assert fault in client.post(SIMULATE, whole).content.decode()


@pytest.mark.feature("P5")
def test_a_caller_without_a_key_is_supposed_with_scopes(client: Client) -> None:
    found = suppose(client, "echo", {}, actor="new", scopes="kit.read, other").context["found"]
    assert found.answer == "allow"
