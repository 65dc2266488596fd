"""Sign-ins and sign-outs: what the ledger is told of them, and what they begin and end."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from audit.events import EventName
from audit.models import local_now
from rampart import passwords, sessions
from rampart.people import tell, tell_anyway, told_name
from tools import step_up
from tools.models import FederatedIdentity


@receiver(user_logged_in)
def somebody_is_in(request: HttpRequest, user: User, **_: Any) -> None:
    """Somebody is in; if that can't be recorded, nobody is."""
    arrival = getattr(request, "oidc_arrival", None)
    tell(EventName.SIGN_IN, request, user.get_username(), **(arrival.told if arrival else {}))
    step_up.mark(request, user, arrival.proved_at if arrival else local_now())
    sessions.begin(request)
    passwords.forgive(request, user)


@receiver(user_login_failed)
def somebody_is_not(
    credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """A wrong password; whoever is turned away has one line, not one for each attempt."""
    if not getattr(request, "is_turned_away", False):
        name = told_name(credentials.get("username"))
        path = {"path": request.path[:200]} if request else {}
        tell_anyway(EventName.SIGN_IN_REFUSED, request, name, "bad_credentials", **path)


@receiver(user_logged_out)
def somebody_left(request: HttpRequest, user: User | None, **_: Any) -> None:
    """The session ends even if that can't be recorded."""
    if user is not None:
        tell_anyway(EventName.SIGN_OUT, request, user.get_username())


@receiver(post_save, sender=User)
def a_disabled_person_is_out(instance: User, created: bool, raw: bool, **_: Any) -> None:
    """Nobody who is disabled is let in; nor is their old session good when they are enabled."""
    if not (instance.is_active or created or raw):
        sessions.end_all(instance.pk)


@receiver(post_delete, sender=FederatedIdentity)
def an_unlinked_person_is_out(instance: FederatedIdentity, **_: Any) -> None:
    """What the provider has opened closes with the link to it."""
    sessions.end_all(instance.user_id)
