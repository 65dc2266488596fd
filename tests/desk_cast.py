"""People in groups, and rules that name them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User

from approvals import rulebook
from approvals.models import Policy

Rule = Callable[..., Policy]
DECIDING = ("decide_approval", "view_approval", "view_invocation", "view_event")


@pytest.fixture
def write_rule(db: None) -> Rule:
    """Write a policy: `write_rule("two", stages=[(2, "ops")], tool="pay")`."""

    def write(name: str, stages: list[tuple[int, str | None]] = (), **columns: Any) -> Policy:  # type: ignore[assignment]
        policy = Policy.objects.create(name=name, **columns)
        for position, (needs, group) in enumerate(stages, 1):
            named = Group.objects.get_or_create(name=group)[0] if group else None
            policy.stages.create(position=position, needs=needs, group=named)
        rulebook.forget()
        return policy

    return write


@pytest.fixture
def member(db: None) -> Callable[..., User]:
    """A person who may decide, in these groups."""

    def make(name: str, *groups: str) -> User:
        user = User.objects.create_user(name, password=f"{name}-password", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=DECIDING))
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
        return User.objects.get(pk=user.pk)

    return make
