"""Whole addresses for those who read a notice somewhere else."""

from django.conf import settings
from django.urls import reverse

from approvals.models import Approval, Invocation
from approvals.results import invocation_url


def base() -> str:
    """Where people find this server; without a public address, where it serves."""
    return settings.RAMPART_PUBLIC_URL or f"http://{settings.RAMPART_HOST}:{settings.RAMPART_PORT}"


def page_of(approval: Approval) -> str:
    """The page on which the call is decided; opening it decides nothing."""
    return base() + reverse("admin:approvals_approval_change", args=[approval.pk])


def read_link_of(row: Invocation) -> str:
    """Where the caller reads what became of its call."""
    return base() + invocation_url(row)
