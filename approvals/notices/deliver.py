"""Delivery: at least once, each place by itself, and again later if nobody took it.

A notice is claimed by a conditional UPDATE that gives it a lease; if the process dies, the lease
runs out and another one sends it. Each place has a thread of its own, so that one that is slow or
dead keeps neither the others nor a worker waiting. The mail to people is one place.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, Q

from approvals.models import Channel, DeliveryAttempt, Notice
from approvals.notices import kinds, people
from approvals.notices.bell import ring
from approvals.notices.faults import Taken, Undelivered
from approvals.notices.settling import dropped, failed, sent, settle
from approvals.notices.ways import way_of
from audit.models import local_now

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""How long a sender may be silent; everything that it waits for is shorter."""
LATE = timedelta(seconds=2)
"""What is due for longer has been forgotten by whoever should have come."""
MOST_PLACES_AT_ONCE = 8
MOST_LOOKED_AT = 5

Place = int | None
"""A channel's number, or None for people's mail."""

_lock = threading.Lock()
_served: set[Place] = set()


def deliver() -> None:
    """Begin to send what is due, each place in a thread of its own; returns at once."""
    for place in due_places(local_now()):
        with _lock:
            if place in _served or len(_served) >= MOST_PLACES_AT_ONCE:
                continue
            _served.add(place)
        threading.Thread(target=_serve, args=(place,), name="notices", daemon=True).start()


def catch_up(moment: datetime) -> None:
    """Send from here what is late: a message was lost, or whoever was sending has died."""
    if Notice.objects.due(moment - LATE).exists():
        deliver()


def due_places(moment: datetime) -> list[Place]:
    """The places for which something is due."""
    due = Notice.objects.due(moment).order_by()
    return list(due.values_list("channel_id", flat=True).distinct())


def _serve(place: Place) -> None:
    try:
        serve(place)
    except Exception:  # The notices stay due, and upkeep comes back to them.
        log.exception("notices could not be sent")
    finally:
        connection.close()
        with _lock:
            _served.discard(place)


def serve(place: Place) -> int:
    """Send what is due for one place, until nothing is; returns how many were dealt with."""
    done = 0
    while (notice := claim(place, local_now())) is not None:
        deal_with(notice)
        done += 1
    return done


def claim(place: Place, moment: datetime) -> Notice | None:
    """The next notice that is due there, now ours for the length of a lease."""
    due = Notice.objects.due(moment).filter(Q(channel_id=place))
    for pk in due.order_by("due_at", "id").values_list("pk", flat=True)[:MOST_LOOKED_AT]:
        mine = due.filter(pk=pk)
        if mine.update(lease_expires_at=moment + LEASE, attempts=F("attempts") + 1):
            related = "channel", "recipient", "approval__invocation__key__owner", "invocation"
            return Notice.objects.select_related(*related).get(pk=pk)
    return None


def deal_with(notice: Notice) -> None:
    """Send it, or drop what is of no use any more, and write down what came of it."""
    if notice.channel is None and notice.recipient is None:
        people.spread(notice, local_now())
        settle(notice, Notice.Status.SENT)
    elif (send := way_of(notice)) is None:
        dropped(notice)
    else:
        _attempt(notice, send)


def test(channel: Channel) -> Taken | Undelivered:
    """Send a test now, even if the channel is switched off; it is tried once."""
    notice = Notice.objects.create(
        kind=kinds.TEST, channel=channel, attempts=1, lease_expires_at=local_now() + LEASE
    )
    send = way_of(notice)
    assert send is not None  # noqa: S101 - a test is always sent
    return _attempt(notice, send)


def redeliver(notice: Notice, *, by: str) -> bool:
    """Have it sent once more, under the same id; False if it is to be sent anyhow."""
    settled = Notice.objects.filter(pk=notice.pk).exclude(status=Notice.Status.WAITING)
    moment, status = local_now(), Notice.Status.WAITING
    with transaction.atomic():
        if not settled.update(status=status, due_at=moment, created_at=moment):
            return False
        transaction.on_commit(ring)
    log.info("notice %s is sent once more, for %s", notice.pk, by)
    return True


def _attempt(notice: Notice, send: Callable[[], Taken]) -> Taken | Undelivered:
    started = time.monotonic()
    outcome = _outcome(notice, send)
    milliseconds = round((time.monotonic() - started) * 1000)
    attempt = DeliveryAttempt(notice=notice, milliseconds=milliseconds, code=outcome.code)
    if isinstance(outcome, Taken):
        attempt.is_good, attempt.answer = True, outcome.answer
        sent(notice, outcome, attempt)
    else:
        attempt.is_good, attempt.phase, attempt.answer = False, outcome.phase, outcome.said
        failed(notice, outcome, attempt)
    return outcome


def _outcome(notice: Notice, send: Callable[[], Taken]) -> Taken | Undelivered:
    try:
        return send()
    except Undelivered as fault:
        return fault
    except Exception as error:  # A fault of ours costs this notice an attempt, and no other.
        log.exception("notice %s could not be made", notice.pk)
        return Undelivered("", type(error).__name__, is_of_channel=False)
