"""Browsers without a browser: Django's client, which is as strict about CSRF as the real one."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

Browser = Callable[[User], Client]


@pytest.fixture
def superuser(db: None) -> User:
    """A person who holds every permission there is."""
    return User.objects.create_superuser("root", password="root-password")


def browser(user: User | None = None, *, strict: bool = False) -> Client:
    """A signed-in browser; a strict one is refused without a CSRF token."""
    client = Client(enforce_csrf_checks=strict)
    if user is not None:
        client.force_login(user)
    return client
