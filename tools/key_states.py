"""What can be said of a key now, each state said once: as a condition of the database.

The badges, the filters and the order of the admin's list are made of the same conditions, so that
they can't disagree.
"""

from datetime import datetime, timedelta

from django.db.models import (
    BooleanField,
    Case,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    TextChoices,
    When,
)

from tools.models import ApiKey

SOON = timedelta(days=14)
NEW = timedelta(days=1)
LONG = timedelta(days=30)


class KeyState(TextChoices):
    """What can be said of a key. It is usable, or else revoked, expired or of a disabled owner."""

    USABLE = "usable", "usable"
    """It works, from where it may come."""
    RUNS_OUT_SOON = "runs_out_soon", "runs out soon"
    """It works for less than two weeks, and nothing replaces it."""
    IDLE = "idle", "idle"
    """It works and nobody uses it: not once on its first day, or not for thirty."""
    OVERLAPPING = "overlapping", "overlapping"
    """It works, and so does the key that replaces it: nothing is left to do."""
    MUST_ROTATE = "must_rotate", "must rotate"
    """It works and was made elsewhere, where its secret may be known."""
    REVOKED = "revoked", "revoked"
    """Taken back, for ever."""
    EXPIRED = "expired", "expired"
    """Its time is over."""
    OWNER_DISABLED = "owner_disabled", "owner disabled"
    """The account of who answers for it is closed, so it does not work."""


NEEDS_SOMEBODY = (KeyState.MUST_ROTATE, KeyState.RUNS_OUT_SOON, KeyState.IDLE)


def conditions(now: datetime) -> dict[KeyState, Q]:
    """When each state is true."""
    revoked = Q(revoked_at__isnull=False)
    alive = ~revoked & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))
    usable = alive & Q(owner__is_active=True)
    replaced = Q(Exists(_live_successors()))
    alone = usable & ~replaced
    unused = Q(last_used_at__isnull=True, created_at__lte=now - NEW)
    return {
        KeyState.USABLE: usable,
        KeyState.RUNS_OUT_SOON: alone & Q(expires_at__lt=now + SOON),
        KeyState.IDLE: alone & Q(issuer="") & (unused | Q(last_used_at__lte=now - LONG)),
        KeyState.OVERLAPPING: usable & replaced,
        KeyState.MUST_ROTATE: alone & Q(must_rotate=True),
        KeyState.REVOKED: revoked,
        KeyState.EXPIRED: ~revoked & Q(expires_at__lte=now),
        KeyState.OWNER_DISABLED: alive & Q(owner__is_active=False),
    }


def with_states(keys: QuerySet[ApiKey], now: datetime) -> QuerySet[ApiKey]:
    """The keys, each with what `states_of` tells of it, whether it may rotate, and its urgency."""
    replaced_in_use = Exists(_live_successors().filter(last_used_at__isnull=False))
    rotatable = Q(revoked_at__isnull=True, issuer="") & ~Q(replaced_in_use)
    named = {_shown(state): _is(condition) for state, condition in conditions(now).items()}
    return keys.annotate(**named, is_rotatable=_is(rotatable)).annotate(
        urgency=_urgency(),
        works_until=Case(When(**{_shown(KeyState.USABLE): True}, then=F("expires_at"))),
    )


MOST_URGENT_FIRST = [
    F("urgency").asc(),
    F("works_until").asc(nulls_last=True),
    F("created_at").desc(),
]
"""What needs somebody, then what works, soonest over first; then what is over, newest first."""


def having(keys: QuerySet[ApiKey], state: KeyState) -> QuerySet[ApiKey]:
    """Of keys `with_states`, those of which this can be said."""
    return keys.filter(**{_shown(state): True})


def states_of(key: ApiKey) -> list[KeyState]:
    """What can be said of a key that was read `with_states`."""
    return [state for state in KeyState if getattr(key, _shown(state))]


def is_rotatable(key: ApiKey) -> bool:
    """Whether a key that was read `with_states` may be rotated; the key cabinet decides."""
    return bool(key.is_rotatable)  # type: ignore[attr-defined]


def _shown(state: KeyState) -> str:
    return f"shows_{state}"


def _is(condition: Q) -> "ExpressionWrapper[Q]":
    return ExpressionWrapper(condition, output_field=BooleanField())


def _urgency() -> Case:
    urgent = [When(**{_shown(state): True}, then=0) for state in NEEDS_SOMEBODY]
    return Case(*urgent, When(**{_shown(KeyState.USABLE): True}, then=1), default=2)


def _live_successors() -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(rotated_from=OuterRef("pk"), revoked_at__isnull=True)
