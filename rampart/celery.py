"""The Celery application: `celery -A rampart worker` and `celery -A rampart beat`."""

import os

from celery import Celery
from celery.signals import celeryd_init

from rampart.startup import refuse_errors

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

app = Celery("rampart")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def start_sound_or_not_at_all(**kwargs: object) -> None:
    """A worker with a wrong tool definition must not take work."""
    refuse_errors()
