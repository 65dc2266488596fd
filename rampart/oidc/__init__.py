"""Signing in by an OpenID provider: mozilla-django-oidc's flow, with what it leaves open closed."""

from django.conf import settings

BACKEND = "rampart.oidc.backend.Provider"
"""What a session names as its way in if the provider opened it."""


def is_on() -> bool:
    """Whether a provider is configured."""
    return bool(settings.OIDC_RP_CLIENT_ID)
