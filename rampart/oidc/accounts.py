"""Whose account somebody is who comes from the provider, and which groups they are in.

Accounts are found by issuer and subject alone, which the provider gives to nobody else. A user name
or an e-mail address proves nothing: whoever may choose theirs could choose an operator's.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.crypto import get_random_string

from audit.events import EventName
from audit.models import local_now
from rampart import sessions
from rampart.oidc.refusals import Refused
from rampart.people import tell
from tools.models import FederatedIdentity

log = logging.getLogger(__name__)

Claims = Mapping[str, Any]

OF_THE_PROVIDER = f"{UNUSABLE_PASSWORD_PREFIX}provider:"
"""How the password of an account begins that a sign-in has made: none fits it, and it says whose
the account is. An operator who sets one makes the account their own."""
LONGEST_USERNAME = 150
NOT_IN_USERNAMES = re.compile(r"[^\w.@+-]+")
ATTEMPTS = 3


def admit(request: HttpRequest, subject: str, claims: Claims) -> User:
    """The person of whom the provider speaks, their groups made up to date; Refused otherwise."""
    person = linked_person(subject) or _enrol(request, subject, claims)
    if not person.is_active:
        raise Refused("person_disabled", person=person, subject=subject)
    _note_sign_in(request, person, subject, claims)
    if not person.is_staff:
        sessions.end_all(person.pk)
        reason = "no_group" if _is_the_providers_to_admit(person) else "not_staff"
        raise Refused(reason, person=person, subject=subject)
    return person


def linked_person(subject: str) -> User | None:
    """The user to whom the provider's subject is linked."""
    identity = _identities(subject).select_related("user").first()
    return identity.user if identity else None


def is_linked(user: User) -> bool:
    """Whether the person can come from the provider that is configured now."""
    return user.federated_identities.filter(issuer=settings.OIDC_OP_ISSUER).exists()


def _identities(subject: str) -> Any:
    return FederatedIdentity.objects.filter(issuer=settings.OIDC_OP_ISSUER, subject=subject)


# The first time.


def _enrol(request: HttpRequest, subject: str, claims: Claims) -> User:
    """A new account. Of two sign-ins at once the later finds the account of the other."""
    if not settings.OIDC_CREATE_USER:
        raise Refused("unknown_person", subject=subject)
    if settings.RAMPART_OIDC_GROUPS and not _mapped_groups(_granted(claims)):
        raise Refused("no_group", subject=subject)
    for _ in range(ATTEMPTS):
        try:
            with transaction.atomic():
                return _new_account(request, subject, claims)
        except IntegrityError:
            if person := linked_person(subject):
                return person
    raise Refused("busy", subject=subject)


def _new_account(request: HttpRequest, subject: str, claims: Claims) -> User:
    person = User.objects.create(
        username=_free_username(claims),
        email=_email(claims),
        password=OF_THE_PROVIDER + get_random_string(40),
    )
    FederatedIdentity.objects.create(user=person, issuer=settings.OIDC_OP_ISSUER, subject=subject)
    told = {"issuer": settings.OIDC_OP_ISSUER, "subject": subject}
    tell(EventName.PERSON_ENROLLED, request, person.get_username(), **told)
    return person


def _free_username(claims: Claims) -> str:
    """The name that the provider suggests, with a number if somebody has one that looks like it."""
    suggested = (_plain(claims.get(name)) for name in ("preferred_username", "email"))
    name = next(filter(None, suggested), "person")
    return next(free for free in _variants(name) if not _is_taken(free))


def _plain(name: object) -> str:
    """The name with nothing in it that Django's own form would refuse."""
    text = User.normalize_username(name) if isinstance(name, str) else ""
    return NOT_IN_USERNAMES.sub("-", text).strip("-")[:LONGEST_USERNAME]


def _variants(name: str) -> Iterator[str]:
    numbered = (f"{name[: LONGEST_USERNAME - 8]}-{number}" for number in count(2))
    return chain([name], numbered)


def _is_taken(name: str) -> bool:
    return User.objects.filter(username__iexact=name).exists()


def _email(claims: Claims) -> str:
    """The address for messages, unless the provider says that it is not known to be theirs."""
    given = claims.get("email")
    if not isinstance(given, str) or claims.get("email_verified") is False:
        return ""
    try:
        validate_email(given)
    except ValidationError:
        return ""
    return given if len(given) <= 254 else ""


# Each time.


@transaction.atomic
def _note_sign_in(request: HttpRequest, person: User, subject: str, claims: Claims) -> None:
    """The person's groups as the provider has them now, told where that changes anything."""
    row = User.objects.select_for_update().get(pk=person.pk)
    _identities(subject).update(last_sign_in_at=local_now())
    if settings.RAMPART_OIDC_GROUPS:
        _regroup(request, row, _granted(claims))
    person.is_staff = row.is_staff


def _regroup(request: HttpRequest, person: User, granted: set[str]) -> None:
    """Exactly the granted groups, of those that the mapping names; others are left as they are."""
    mapped = _mapped_groups({group for _, group in settings.RAMPART_OIDC_GROUPS})
    due = granted & set(mapped)
    had = set(person.groups.filter(name__in=mapped).values_list("name", flat=True))
    person.groups.add(*(mapped[name] for name in due - had))
    person.groups.remove(*(mapped[name] for name in had - due))
    was_staff = person.is_staff
    if _is_the_providers_to_admit(person):
        person.is_staff = bool(due)
        person.save(update_fields=["is_staff"])
    if due != had or person.is_staff != was_staff:
        _tell_regrouped(request, person, due - had, had - due)


def _tell_regrouped(
    request: HttpRequest, person: User, joined: Iterable[str], left: Iterable[str]
) -> None:
    tell(
        EventName.PERSON_REGROUPED,
        request,
        person.get_username(),
        joined=sorted(joined),
        left=sorted(left),
        may_come_in=person.is_staff,
    )


def _is_the_providers_to_admit(person: User) -> bool:
    """Whether the mapped groups alone say if the person may come in."""
    return bool(settings.RAMPART_OIDC_GROUPS) and person.password.startswith(OF_THE_PROVIDER)


def _granted(claims: Claims) -> set[str]:
    """The Django groups that the claim's values stand for; a claim of another form has none."""
    given = claims.get(settings.RAMPART_OIDC_GROUPS_CLAIM, [])
    values = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return {group for value, group in settings.RAMPART_OIDC_GROUPS if value in values}


def _mapped_groups(names: set[str]) -> dict[str, Group]:
    """Those of the groups that exist; a sign-in makes none."""
    found = {group.name: group for group in Group.objects.filter(name__in=names)}
    if missing := names - set(found):
        log.warning("RAMPART_OIDC_GROUPS names groups that do not exist: %s", sorted(missing))
    return found
