"""Sign-ins as lines of the ledger. A password never is, not even one typed as a user name."""

import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db import DatabaseError
from django.dispatch import receiver
from django.http import HttpRequest

from audit import ledger
from audit.events import EventName
from tools.authentication import client_address

log = logging.getLogger(__name__)

LONGEST_NAME = 40
NOBODY = "unknown user"


@receiver(user_logged_in)
def tell_sign_in(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    """Somebody is in; if that can't be recorded, nobody is."""
    _tell(EventName.SIGN_IN, request, user.get_username())


@receiver(user_login_failed)
def tell_failed_sign_in(
    credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Somebody is not; the name is told only if it is a user's."""
    given = str(credentials.get(get_user_model().USERNAME_FIELD, ""))
    name = given[:LONGEST_NAME] if _is_known(given) else NOBODY
    tell_refused_sign_in(request, name, "bad_credentials")


def tell_refused_sign_in(request: HttpRequest | None, name: str, reason: str) -> None:
    """The refusal stands even if it can't be recorded."""
    try:
        _tell(EventName.SIGN_IN_REFUSED, request, name, reason)
    except DatabaseError:
        log.error("a refused sign-in could not be recorded")


def _is_known(name: str) -> bool:
    try:
        return get_user_model().objects.filter(username=name).exists()
    except (DatabaseError, ValueError):
        return False


def _tell(event: EventName, request: HttpRequest | None, actor: str, reason: str = "") -> None:
    ledger.record(
        event,
        actor=actor,
        reason=reason,
        source="admin",
        request_id=getattr(request, "request_id", ""),
        metadata={"address": client_address(request)} if request else {},
    )
