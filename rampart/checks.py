"""System checks of the wall itself, each with a stable id."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

SERIALIZERS = ("CELERY_TASK_SERIALIZER", "CELERY_RESULT_SERIALIZER", "CELERY_EVENT_SERIALIZER")
ACCEPTS = ("CELERY_ACCEPT_CONTENT", "CELERY_RESULT_ACCEPT_CONTENT")


@register()
def messages_are_json(**kwargs: Any) -> list[CheckMessage]:
    """rampart.E001: Celery would write or read something other than JSON, such as pickle."""
    wrong = [name for name in SERIALIZERS if getattr(settings, name, "json") != "json"]
    wrong += [
        name
        for name in ACCEPTS
        if set(getattr(settings, name, None) or ["json"]) - {"json", "application/json"}
    ]
    return [
        Error(
            f"{name} lets messages be something other than JSON",
            hint="whoever can write to the broker could then run code in a worker",
            id="rampart.E001",
        )
        for name in wrong
    ]
