"""The Celery application: `celery -A rampart worker` and `celery -A rampart beat`."""

import os
import sys

from celery import Celery
from celery.signals import celeryd_init
from django.core.management.base import SystemCheckError
from kombu.transport import TRANSPORT_ALIASES

from rampart.startup import refuse_errors

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

TRANSPORT_ALIASES["filesystem"] = "rampart.file_broker:Transport"

app = Celery("rampart")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def start_sound_or_not_at_all(**kwargs: object) -> None:
    """A worker with a wrong tool definition must not take work.

    Celery only logs an exception of a signal's receiver, and would go on; SystemExit ends it.
    """
    try:
        refuse_errors()
    except SystemCheckError as error:
        sys.exit(f"rampart: {error}")
