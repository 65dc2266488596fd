"""The Celery application: `celery -A rampart worker` and `celery -A rampart beat`."""

import os

from celery import Celery
from celery.signals import beat_init, celeryd_init, worker_init
from kombu.transport import TRANSPORT_ALIASES

from rampart import worker_pool
from rampart.startup import exit_unless_sound
from tools import availability
from tools.workshop import workshop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

TRANSPORT_ALIASES["filesystem"] = "rampart.file_broker:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "rampart.redis_broker:Transport"

worker_pool.install()

app = Celery("rampart")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def start_sound_or_not_at_all(**kwargs: object) -> None:
    """A worker with a wrong tool definition must not take work, nor beat settle what is lost."""
    exit_unless_sound()


@worker_init.connect
def say_what_can_not_be_jailed(**kwargs: object) -> None:
    """Before there are any children: what is found out here, they know from their birth."""
    availability.report()
    workshop().close()
