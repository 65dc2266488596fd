"""The outbox: what is written beside a step, and what is not."""

import socket
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from pytest_django import Settings

from approvals import deciding, execution, transitions
from approvals.models import Channel, Invocation, Notice
from approvals.notices import routes
from approvals.transitions import Said
from audit.models import Event
from tests.approvals.notices.conftest import MakeChannel, fresh
from tests.conftest import Agent, held, work
from tests.processes import Deployment

pytestmark = [pytest.mark.django_db, pytest.mark.feature("AP19")]

NOWHERE = "https://hooks.example/x"
Kind = Channel.Kind


RING = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "rampart.settings"
import django
django.setup()
import rampart.celery
from approvals.notices.bell import ring
began = time.monotonic()
ring()
print(time.monotonic() - began, flush=True)
os._exit(0)
"""


class Undone(Exception):
    """Takes a transaction back."""


def kinds() -> list[str]:
    return list(Notice.objects.order_by("id").values_list("kind", flat=True))


def test_a_held_call_leaves_a_notice_for_each_channel_that_fits(
    agent: Agent, trace: Path, make_channel: MakeChannel
) -> None:
    chosen = make_channel("ops", Kind.SLACK, NOWHERE)
    make_channel("other tools", Kind.SLACK, NOWHERE, tool="refund_*")
    make_channel("grave ones", Kind.SLACK, NOWHERE, least_risk=3)
    make_channel("off", Kind.SLACK, NOWHERE, is_enabled=False)
    approval = held(agent, trace)
    notice = Notice.objects.get()
    assert (notice.channel, notice.approval, notice.kind) == (chosen, approval, "invocation:held")


def test_people_are_one_notice_and_only_where_there_is_a_mail_server(
    agent: Agent, trace: Path, settings: Settings
) -> None:
    held(agent, trace)
    assert kinds() == []
    settings.EMAIL_HOST = "mail.example"
    held(agent, trace, text="again")
    assert kinds() == ["invocation:held"]
    assert Notice.objects.get().recipient is None


def test_a_step_that_is_undone_leaves_no_notice(
    agent: Agent, trace: Path, make_channel: MakeChannel, reviewer: User
) -> None:
    make_channel("ops", Kind.SLACK, NOWHERE)
    approval = held(agent, trace)
    with pytest.raises(Undone), transaction.atomic():
        deciding.approve(approval, reviewer, Said())
        assert kinds() == ["invocation:held", "approval:approved"]
        raise Undone
    assert kinds() == ["invocation:held"]
    assert fresh(approval).is_pending


def test_a_call_that_nobody_is_to_hear_of_leaves_none(
    agent: Agent, trace: Path, make_channel: MakeChannel, settings: Settings
) -> None:
    settings.EMAIL_HOST = "mail.example"
    make_channel("ops", Kind.SLACK, NOWHERE)
    agent.invoke("leave_trace", path=str(trace))
    agent.invoke("echo", value=1)
    work()
    assert kinds() == []


def test_channels_cost_a_read_only_call_no_query(
    agent: Agent, make_channel: MakeChannel, django_assert_num_queries: Any
) -> None:
    make_channel("ops", Kind.SLACK, NOWHERE)
    agent.invoke("echo", value=1)
    routes.routes()
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 3):
        agent.invoke("echo", value=1)


def test_a_callers_channel_costs_a_read_only_call_no_statement_of_its_own(
    agent: Agent, make_channel: MakeChannel, django_assert_num_queries: Any
) -> None:
    make_channel("theirs", Kind.WEBHOOK, NOWHERE, caller=agent.row)
    agent.invoke("echo", value=1)
    routes.routes()
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 4):
        agent.invoke("echo", value=1)
    assert kinds() == ["invocation.finished"] * 2


def test_only_this_callers_calls_are_told_to_its_own_system(
    agent: Agent, make_agent: Any, make_channel: MakeChannel, trace: Path
) -> None:
    theirs = make_channel("theirs", Kind.WEBHOOK, NOWHERE, caller=agent.row)
    other = make_agent("other")
    other.invoke("echo", value=1)
    held(other, trace)
    assert kinds() == []
    make_channel("the other's", Kind.WEBHOOK, NOWHERE, caller=other.row)
    agent.invoke("leave_trace", path=str(trace))
    work()
    notice = Notice.objects.get()
    assert (notice.kind, notice.channel) == ("invocation.finished", theirs)
    assert notice.invocation_id == Invocation.objects.latest("id").pk


def test_each_way_to_end_is_told_to_the_caller_exactly_once(
    agent: Agent, make_channel: MakeChannel, trace: Path, reviewer: User
) -> None:
    make_channel("theirs", Kind.WEBHOOK, NOWHERE, caller=agent.row)
    approved, rejected = held(agent, trace), held(agent, trace, text="no")
    deciding.approve(approved, reviewer, Said())
    deciding.reject(rejected, reviewer, Said(reason_to_agent="not today"))
    execution.run(approved.invocation_id)
    cancelled = held(agent, trace, text="never mind")
    agent.client.post(f"/api/v1/invocations/{cancelled.invocation_id}/cancel")

    def told(approval: Any) -> list[str]:
        mine = Notice.objects.filter(invocation_id=approval.invocation_id).order_by("id")
        return list(mine.values_list("kind", flat=True))

    held_decided_finished = ["invocation.held", "invocation.decided", "invocation.finished"]
    assert told(approved) == held_decided_finished
    assert told(rejected) == held_decided_finished
    assert told(cancelled) == ["invocation.held", "invocation.finished"]


def test_a_call_that_is_asked_to_stop_has_not_ended(
    agent: Agent, make_channel: MakeChannel, trace: Path
) -> None:
    make_channel("theirs", Kind.WEBHOOK, NOWHERE, caller=agent.row)
    agent.invoke("leave_trace", path=str(trace))
    row = Invocation.objects.get()
    row = transitions.claim(row, transitions.now())
    assert transitions.ask_to_stop(row, by="test")
    assert Event.objects.filter(event="invocation:cancelled").count() == 1
    assert kinds() == []


def test_the_outbox_holds_no_argument_and_no_private_note(
    agent: Agent, make_channel: MakeChannel, settings: Settings, trace: Path, reviewer: User
) -> None:
    settings.EMAIL_HOST = "mail.example"
    make_channel("ops", Kind.WEBHOOK, NOWHERE)
    make_channel("theirs", Kind.WEBHOOK, NOWHERE, caller=agent.row)
    approval = held(agent, trace, text="s3cr3t-planted")
    deciding.reject(approval, reviewer, Said(note="entre-nous", reason_to_agent="told"))
    kept = str(list(Notice.objects.values()))
    assert "s3cr3t-planted" not in kept and "entre-nous" not in kept and str(trace) not in kept
    assert "told" in kept


def test_ringing_waits_for_no_broker(tmp_path: Path) -> None:
    """Here is one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        done = Deployment(tmp_path / "var", REDIS_URL=broker).python("-c", RING)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1
