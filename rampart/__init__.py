"""The wall and the gates. This package knows every room, and no room knows it."""

from rampart.celery import app as celery_app

__all__ = ["celery_app"]
