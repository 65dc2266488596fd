"""Every table and how long its rows are kept: what goes goes from here, by beat or by `prune`.

Each model is in one of two lists: `GROUPS`, whose rows go when their period is over, or `KEPT`,
with the reason why its rows stay. A test holds every model of the project against them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from axes.models import AccessAttempt, AccessAttemptExpiration, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session as WebSession
from django.db import DatabaseError, InterfaceError
from django.db.models import Model, Q, QuerySet

from approvals.retention import KINDS, Kind, not_over
from approvals.retention import Cutoffs as OfCalls
from approvals.transitions import now
from audit import holds, sealing
from audit.models import VerificationRun
from audit.prunings import NoKey
from audit.retention import PRUNABLE, Prunable, must_be_able, still_open
from tools.retention import batch, hold_still

log = logging.getLogger(__name__)

Periods = Mapping[str, timedelta | None]
"""How long each kind of thing is kept; None is for ever."""

PERIODS = ("ledger", "calls", "notices", "sessions", "keys", "admin")
LONG_AGO = datetime.fromtimestamp(0, timezone.utc)
"""Before this nothing is over: the cutoff of what is kept for ever."""
BATCH = 500
LEDGER_BATCH = 5000
"""Nobody who calls waits for a batch of the ledger's: it holds up sealing and the placing of holds
alone.
"""
LONGEST_VERIFICATION = timedelta(days=1)

NO_KEY = "RAMPART_CHECKPOINT_KEY is not set: what leaves the ledger could not be proven any more"

KEPT: dict[str, str] = {
    "auth.User": "a person may answer for keys, and is named in votes",
    "auth.Group": "who may do what",
    "auth.Permission": "made by migrations",
    "auth.User_groups": "who may do what",
    "auth.User_user_permissions": "who may do what",
    "auth.Group_permissions": "who may do what",
    "contenttypes.ContentType": "made by migrations",
    "audit.Unsealed": "each row goes when its event is sealed",
    "audit.Leaf": "proves the events that are still there",
    "audit.Node": "proves the events that are still there",
    "audit.Tree": "one row: how far the ledger is sealed",
    "audit.Door": "empty but within a pruning's transaction",
    "audit.LegalHold": "who placed and released it is history",
    "tools.Tool": "the switch that operators hold",
    "tools.ToolVersion": "approvals are given for a version",
    "tools.EmergencyStop": "there while the stop is engaged",
    "tools.FederatedIdentity": "how a person signs in",
    "tools.RateWindow": "each row goes a day after it has stopped counting",
    "approvals.Wishes": "how a person wants the desk to be",
    "approvals.Preset": "what reviewers are offered",
    "approvals.Channel": "where notices go",
    "approvals.Policy": "the rules",
    "approvals.PolicyStage": "the rules",
}
"""Tables from which no row goes because it is old, and why."""

still_open.append(not_over)


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The moments before which things of each period must be over."""

    ledger: datetime
    admin: datetime
    of_calls: OfCalls

    @classmethod
    def of(cls, periods: Periods, moment: datetime) -> "Cutoffs":
        """A period that is longer than our reckoning of time is as good as for ever."""
        at = {
            name: moment - min(period, moment - LONG_AGO) if period is not None else LONG_AGO
            for name, period in periods.items()
        }
        return cls(at.pop("ledger"), at.pop("admin"), OfCalls(**at))


@dataclass(frozen=True, slots=True)
class Group:
    """Tables whose rows go together, and the name of their period."""

    period: str
    tables: tuple[str, ...]
    due: Callable[[Cutoffs], Counter[str]]
    take: Callable[[Cutoffs, int], Counter[str]]
    most: int = BATCH
    """Rows in a batch where nobody says how many."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of one table: how many of its rows went, or would, and why no more."""

    table: str
    period: timedelta | None
    count: int
    fault: str = ""


def _of_calls(kind: Kind) -> Group:
    return Group(
        kind.period,
        tuple(model._meta.label for model in kind.models),
        lambda at: kind.due(at.of_calls),
        lambda at, most: kind.take(at.of_calls, most),
    )


def _of_the_ledger(table: Prunable) -> Group:
    """A dry run meets the same obstacle that a real one would."""

    def due(at: Cutoffs) -> Counter[str]:
        must_be_able()
        return Counter({table.name: table.due(at.ledger)})

    def take(at: Cutoffs, most: int) -> Counter[str]:
        return Counter({table.name: table.take(at.ledger, most)})

    return Group("ledger", (table.name,), due, take, LEDGER_BATCH)


# The admin's own tables.


def _of_the_admin(
    rows: Callable[[datetime], QuerySet[Any]], model: type[Model], *along: type[Model]
) -> Group:
    """Old rows, and those of other tables that Django deletes along with them."""

    def due(at: Cutoffs) -> Counter[str]:
        going = rows(at.admin)
        others = [other._default_manager.filter(pk__in=going) for other in along]
        return Counter({each.model._meta.label: each.count() for each in (going, *others)})

    def take(at: Cutoffs, most: int) -> Counter[str]:
        with batch():
            going = hold_still(rows(at.admin).order_by("pk"), most)
            return Counter(model._default_manager.filter(pk__in=going).delete()[1])

    return Group("admin", tuple(each._meta.label for each in (model, *along)), due, take)


def _older(model: type[Model], column: str, cutoff: datetime) -> QuerySet[Any]:
    return model._default_manager.filter(**{f"{column}__lt": cutoff})


def _changes(cutoff: datetime) -> QuerySet[LogEntry]:
    covered = holds.held({"actor": "user__username", "at": "action_time"})
    return LogEntry.objects.filter(action_time__lt=cutoff).exclude(covered)


def _attempts(cutoff: datetime) -> QuerySet[Any]:
    """Failed sign-ins that count no more: to forget others would open what is locked."""
    return _older(AccessAttempt, "attempt_time", min(cutoff, now() - settings.AXES_COOLOFF_TIME))


def _verifications(cutoff: datetime) -> QuerySet[VerificationRun]:
    """Those that have ended, and those that never will."""
    dead = Q(finished_at=None, asked_at__lt=cutoff - LONGEST_VERIFICATION)
    return VerificationRun.objects.filter(dead | Q(finished_at__lt=cutoff))


GROUPS: tuple[Group, ...] = (
    *map(_of_calls, KINDS),
    _of_the_admin(_changes, LogEntry),
    _of_the_admin(partial(_older, WebSession, "expire_date"), WebSession),
    _of_the_admin(_attempts, AccessAttempt, AccessAttemptExpiration),
    _of_the_admin(partial(_older, AccessFailureLog, "attempt_time"), AccessFailureLog),
    _of_the_admin(partial(_older, AccessLog, "attempt_time"), AccessLog),
    _of_the_admin(_verifications, VerificationRun),
    *map(_of_the_ledger, PRUNABLE),
)
"""In the order in which they go: what points at something goes before it."""


# Sweeping.


def periods() -> Periods:
    """As the settings say."""
    return {name: getattr(settings, f"RAMPART_RETENTION_{name.upper()}") for name in PERIODS}


def foreseen(given: Periods) -> Iterator[Swept]:
    """What a sweep would take now; nothing is changed."""
    yield from _each(given, lambda group, at: iter([group.due(at)]))


def sweep(given: Periods, *, most: int | None = None) -> Iterator[Swept]:
    """Take what is older than its period, batch after batch; each table is told of when it is done.

    What goes wrong with some tables keeps no other from its turn. What is written of it is sealed
    in the end, so that a checkpoint stands over it.
    """
    sealing.seal()

    def batches(group: Group, at: Cutoffs) -> Iterator[Counter[str]]:
        return iter(lambda: group.take(at, most or group.most), Counter())

    yield from _each(given, batches)
    sealing.seal()


def sweep_by_the_settings() -> None:
    """One round of beat's; a fault is told in the log, and met again in the next round."""
    for swept in sweep(periods()):
        if swept.fault:
            log.error("%s could not be pruned: %s", swept.table, swept.fault)
        elif swept.count:
            log.info("%s rows of %s were pruned", swept.count, swept.table)


def _each(
    given: Periods, batches: Callable[[Group, Cutoffs], Iterator[Counter[str]]]
) -> Iterator[Swept]:
    at = Cutoffs.of(given, now())
    for group in GROUPS:
        period, counts, fault = given[group.period], Counter[str](), ""
        if period is not None:
            try:
                for taken in batches(group, at):
                    counts.update(taken)
            except (DatabaseError, InterfaceError, NoKey) as error:
                fault = _told(error)
        for table in group.tables:
            yield Swept(table, period, counts[table], fault)


def _told(error: Exception) -> str:
    return NO_KEY if isinstance(error, NoKey) else str(error).partition("\n")[0]
