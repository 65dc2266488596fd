"""Rotation: two keys of one caller for a while, then one; and what belongs to the caller stays."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.response import Response

from approvals import deciding
from audit.events import EventName
from audit.models import Event, local_now
from tests.conftest import Agent, MakeAgent, as_person, at_once, effects, held, work
from tools import identity, key_cabinet
from tools.errors import KeyRefused
from tools.key_cabinet import create_key, revoke_key, rotate_key, service_account
from tools.models import ApiKey

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def rotated(agent: Agent, **options: Any) -> Agent:
    """The agent with its next key."""
    row, text = rotate_key(agent.row.prefix, by="test", **options)
    identity.forget_all()
    return Agent(row, text)


def at(monkeypatch: pytest.MonkeyPatch, moment: timedelta) -> None:
    """Move the clock on by hand."""
    now = local_now() + moment
    for module in (identity, key_cabinet):
        monkeypatch.setattr(module, "local_now", lambda: now)
    identity.forget_all()


def code(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.feature("I3")
def test_both_keys_work_until_the_overlap_ends(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = rotated(agent, overlap=timedelta(hours=2))
    assert agent.get("tools").status_code == after.get("tools").status_code == 200
    at(monkeypatch, timedelta(hours=2, seconds=-5))
    assert agent.get("tools").status_code == after.get("tools").status_code == 200
    at(monkeypatch, timedelta(hours=2, seconds=5))
    assert code(agent.get("tools")) == (401, "key_expired")
    assert after.get("tools").status_code == 200


@pytest.mark.feature("I3")
def test_without_an_overlap_the_old_key_ends_at_once(agent: Agent) -> None:
    assert agent.get("tools").status_code == 200
    after = rotated(agent, overlap=timedelta(0))
    assert code(agent.get("tools")) == (401, "key_expired")
    assert after.get("tools").status_code == 200


@pytest.mark.feature("I3")
def test_a_rotation_is_felt_at_once_where_it_was_made(
    agent: Agent, django_capture_on_commit_callbacks: Any
) -> None:
    assert agent.get("tools").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        rotate_key(agent.row.prefix, overlap=timedelta(0), by="test")
    assert code(agent.get("tools")) == (401, "key_expired")


@pytest.mark.feature("I3")
def test_an_overlap_never_makes_a_key_live_longer(make_agent: MakeAgent) -> None:
    agent = make_agent(lifetime=timedelta(hours=1))
    before = agent.row.expires_at
    rotated(agent, overlap=DAY)
    agent.row.refresh_from_db()
    assert agent.row.expires_at == before


@pytest.mark.feature("I3")
def test_the_new_key_is_the_same_caller(owner: User, tools_synced: None) -> None:
    row, _ = create_key(
        actor="bot", scopes=["kit.read"], owner=owner, tools=["echo"], cidrs=["10.0.0.0/8"],
        rate_tier="5/minute", lifetime=7 * DAY, by=owner,
    )  # fmt: skip
    after, text = rotate_key(row.prefix, by="test")
    same = ("lineage", "actor", "owner", "created_by", "scopes", "tools", "cidrs", "rate_tier")
    assert all(getattr(after, name) == getattr(row, name) for name in same)
    assert after.expires_at is not None
    assert after.expires_at - after.created_at == 7 * DAY
    assert (after.rotated_from, after.last_used_at, after.revoked_at) == (row, None, None)
    assert text.startswith(after.prefix) and text not in str(ApiKey.objects.values())


@pytest.mark.feature("I3", "U1")
def test_both_halves_of_a_rotation_are_lines_without_the_secret(agent: Agent) -> None:
    after, text = rotate_key(agent.row.prefix, by="ada")
    created, rotated_line = Event.objects.order_by("-id")[:2][::-1]
    assert (created.event, created.key_prefix) == (EventName.KEY_CREATED, after.prefix)
    assert created.metadata["replaces"] == agent.row.prefix
    assert (rotated_line.event, rotated_line.key_prefix) == (
        EventName.KEY_ROTATED,
        agent.row.prefix,
    )
    assert rotated_line.metadata["successor"] == after.prefix
    assert (created.actor, rotated_line.actor) == ("ada", "ada")
    secret = text.removeprefix(after.prefix)
    assert not any(secret in str(line) for line in Event.objects.values())


@pytest.mark.feature("I3", "I9")
def test_who_rotates_a_key_becomes_its_maker_and_does_not_decide_its_calls(
    agent: Agent, reviewer: User, trace: Path
) -> None:
    before = held(agent, trace, text="before")
    row, text = rotate_key(agent.row.prefix, by=reviewer)
    approval = held(Agent(row, text), trace, text="after")
    refused = deciding.approve(approval, reviewer)
    assert isinstance(refused, deciding.Undecided) and refused.code == "self_approval"
    waiting = deciding.approve(deciding.fresh_approval(before.pk), reviewer)
    assert isinstance(waiting, deciding.Undecided) and waiting.code == "self_approval"


# What belongs to the caller.


@pytest.mark.feature("I3", "AP4")
def test_a_held_call_runs_though_its_key_was_rotated_away(
    agent: Agent, reviewer: User, trace: Path
) -> None:
    approval = held(agent, trace)
    after = rotated(agent, overlap=timedelta(0))
    assert isinstance(deciding.approve(approval, reviewer), deciding.Decided)
    work()
    assert len(effects(trace)) == 1
    seen = after.get(f"invocations/{approval.invocation_id}")
    assert (seen.status_code, seen.json()["status"]) == (200, "success")


@pytest.mark.feature("I3")
def test_the_same_call_by_the_next_key_is_the_same_approval(agent: Agent, trace: Path) -> None:
    approval = held(agent, trace)
    assert held(rotated(agent), trace).pk == approval.pk


@pytest.mark.feature("I3")
def test_an_idempotency_key_follows_the_caller(agent: Agent, trace: Path) -> None:
    header = {"Idempotency-Key": "one"}
    first = agent.invoke("leave_trace", headers=header, path=str(trace))
    work()
    again = rotated(agent).invoke("leave_trace", headers=header, path=str(trace))
    assert again.json()["invocation_id"] == first.json()["invocation_id"]
    assert again["Idempotency-Replayed"] == "true"
    work()
    assert len(effects(trace)) == 1


@pytest.mark.feature("I3", "I7")
def test_a_rate_tier_is_not_filled_anew_by_rotating(make_agent: MakeAgent) -> None:
    agent = make_agent(rate_tier="1/hour")
    assert agent.invoke("echo", value=1).status_code == 200
    assert rotated(agent).invoke("echo", value=1).status_code == 429


@pytest.mark.feature("I3")
def test_when_every_key_of_a_caller_is_revoked_its_calls_are_void(
    agent: Agent, reviewer: User, trace: Path
) -> None:
    approval = held(agent, trace)
    after = rotated(agent)
    for row in (agent.row, after.row):
        revoke_key(row.prefix, by="test")
    refused = deciding.approve(approval, reviewer)
    assert isinstance(refused, deciding.Undecided) and refused.code == "key_revoked"


# What can't be.


@pytest.mark.feature("I3")
def test_a_revoked_key_is_not_rotated(agent: Agent) -> None:
    revoke_key(agent.row.prefix, by="test")
    with pytest.raises(KeyRefused, match="stays revoked"):
        rotate_key(agent.row.prefix, by="test")
    assert ApiKey.objects.count() == 1


@pytest.mark.feature("I3")
def test_a_key_whose_successor_is_in_use_is_not_rotated_again(agent: Agent) -> None:
    after = rotated(agent)
    assert after.get("tools").status_code == 200
    with pytest.raises(KeyRefused, match=after.row.prefix):
        rotate_key(agent.row.prefix, by="test")
    assert after.get("tools").status_code == 200


@pytest.mark.feature("I3")
def test_a_successor_that_was_itself_replaced_is_in_use(agent: Agent) -> None:
    unused = rotated(agent)
    assert rotated(unused).get("tools").status_code == 200
    with pytest.raises(KeyRefused, match=unused.row.prefix):
        rotate_key(agent.row.prefix, by="test")


@pytest.mark.feature("I2", "I3")
def test_a_lifetime_of_nothing_is_not_the_usual_one(agent: Agent) -> None:
    row, _ = rotate_key(agent.row.prefix, lifetime=timedelta(0), by="test")
    assert row.expires_at == row.created_at


@pytest.mark.feature("I3")
def test_a_successor_that_nobody_used_is_replaced_and_revoked(agent: Agent) -> None:
    """As after an answer that was lost on its way."""
    lost = rotated(agent, overlap=DAY)
    after = rotated(agent, overlap=DAY)
    assert code(lost.get("tools")) == (401, "key_revoked")
    assert after.get("tools").status_code == agent.get("tools").status_code == 200
    line = Event.objects.get(event=EventName.KEY_REVOKED)
    assert (line.key_prefix, line.reason) == (lost.row.prefix, "replaced_unused")


@pytest.mark.feature("I2", "I3")
def test_rotating_does_not_outlive_the_longest_lifetime(agent: Agent, settings: Settings) -> None:
    settings.RAMPART_MAX_KEY_LIFETIME = timedelta(days=30)
    with pytest.raises(KeyRefused, match="longer than the 30 days"):
        rotate_key(agent.row.prefix, by="test")
    row, _ = rotate_key(agent.row.prefix, lifetime=30 * DAY, by="test")
    assert row.expires_at == row.created_at + 30 * DAY


@pytest.mark.feature("I3")
@pytest.mark.django_db(transaction=True)
def test_rotated_at_once_by_many_a_key_has_one_living_successor(agent: Agent) -> None:
    made = at_once(4, lambda _: rotate_key(agent.row.prefix, by="test"))
    living = ApiKey.objects.filter(rotated_from=agent.row, revoked_at__isnull=True)
    assert living.count() == 1
    assert living.get().prefix in {row.prefix for row, _ in made}
    assert Event.objects.filter(event=EventName.KEY_REVOKED).count() == 3


# By the holder, over REST.


@pytest.fixture
def renewing(make_agent: MakeAgent) -> Agent:
    """An agent that may replace its own key."""
    return make_agent("renewing", scopes=("kit.read", "key.rotate"))


def post_rotation(agent: Agent, body: Any = None) -> Response:
    answer: Response = agent.client.post("/api/v1/key/rotate", body or {}, format="json")
    return answer


@pytest.mark.feature("I3")
def test_a_holder_replaces_its_key_and_is_shown_the_next_once(renewing: Agent) -> None:
    answer = post_rotation(renewing, {"overlap": "1h"})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    body = answer.json()
    assert set(body) == {"prefix", "key", "actor", "scopes", "expires_at"}
    after = Agent(ApiKey.objects.get(prefix=body["prefix"]), body["key"])
    assert after.get("key").json()["prefix"] == body["prefix"]
    identity.forget_all()
    assert renewing.get("key").status_code == 200
    renewing.row.refresh_from_db()
    assert renewing.row.expires_at is not None
    assert timedelta(minutes=59) < renewing.row.expires_at - local_now() < timedelta(minutes=61)
    assert body["key"] not in str(list(ApiKey.objects.values())) + str(list(Event.objects.values()))


@pytest.mark.feature("I3")
def test_a_holder_needs_the_scope_to_replace_its_key(agent: Agent) -> None:
    assert code(post_rotation(agent)) == (403, "scope_denied")
    assert ApiKey.objects.count() == 1


@pytest.mark.feature("I3")
def test_who_must_rotate_may(agent: Agent) -> None:
    ApiKey.objects.update(must_rotate=True)
    assert agent.get("key").json()["must_rotate"] is True
    answer = post_rotation(agent)
    assert answer.status_code == 201
    assert ApiKey.objects.get(prefix=answer.json()["prefix"]).must_rotate is False


@pytest.mark.feature("I3")
def test_a_key_that_was_replaced_gets_409(renewing: Agent) -> None:
    after = post_rotation(renewing).json()
    assert Agent(renewing.row, after["key"]).get("tools").status_code == 200
    assert code(post_rotation(renewing)) == (409, "not_rotatable")


@pytest.mark.feature("I3")
@pytest.mark.parametrize("overlap", ["soon", "", 3, "-1h", ["1h"], "1h 1m", "9999999d"])
def test_an_overlap_that_is_no_duration_is_400_and_changes_nothing(
    renewing: Agent, overlap: Any
) -> None:
    assert code(post_rotation(renewing, {"overlap": overlap})) == (400, "invalid_request")
    assert ApiKey.objects.count() == 1


def test_a_person_has_no_key_to_ask_about(reviewer: User) -> None:
    client = as_person(reviewer)
    assert code(client.get("/api/v1/key")) == (403, "key_required")
    assert code(client.post("/api/v1/key/rotate", {}, format="json")) == (403, "key_required")


def test_a_holder_reads_what_its_key_is_and_never_its_digest(agent: Agent) -> None:
    body = agent.get("key").json()
    assert (body["prefix"], body["actor"], body["scopes"]) == (
        agent.row.prefix, "agent", ["kit.*"],
    )  # fmt: skip
    assert agent.row.digest not in str(body) and agent.key not in str(body)


# By command.


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("rotate_key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.feature("I3")
def test_the_command_prints_the_document_of_a_new_key(agent: Agent) -> None:
    out, _ = run(agent.row.prefix, "--overlap", "1h", "--json")
    document = json.loads(out)
    assert list(document) == ["prefix", "key", "actor", "scopes", "expires_at"]
    after = Agent(ApiKey.objects.get(prefix=document["prefix"]), document["key"])
    assert after.get("tools").status_code == agent.get("tools").status_code == 200


@pytest.mark.feature("I3")
def test_the_command_gives_the_text_on_standard_output_and_nowhere_else(agent: Agent) -> None:
    out, err = run(agent.row.prefix)
    assert out.count("\n") == 1 and identity.identify(out.strip(), "127.0.0.1").actor == "agent"
    assert out.strip() not in err


@pytest.mark.feature("I3")
@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["rmp_aaaaaaaaaa"], 5),
        (["PREFIX", "--overlap", "soon"], 2),
        (["PREFIX", "--expires", "9999d"], 2),
    ],
)
def test_the_command_refuses_with_its_exit_code(
    agent: Agent, arguments: list[str], exit_code: int
) -> None:
    given = [agent.row.prefix if part == "PREFIX" else part for part in arguments]
    with pytest.raises(CommandError) as refused:
        run(*given)
    assert refused.value.returncode == exit_code
    assert ApiKey.objects.count() == 1


def test_the_account_of_a_service_cannot_sign_in(agent: Agent) -> None:
    account = service_account("nobody")
    assert not account.has_usable_password() and not account.is_staff
