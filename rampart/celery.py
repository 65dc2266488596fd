"""The Celery application: `celery -A rampart worker` and `celery -A rampart beat`."""

import os

from celery import Celery
from celery.signals import beat_init, celeryd_init
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel

from rampart import worker_pool
from rampart.startup import exit_unless_sound

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

TRANSPORT_ALIASES["filesystem"] = "rampart.file_broker:Transport"

# What was taken and not begun need not go back: the queued row has it sent again. Putting it back
# while Redis is away ends the worker, and with it the calls that it runs (kombu 5.7).
Channel.do_restore = False

worker_pool.install()

app = Celery("rampart")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def start_sound_or_not_at_all(**kwargs: object) -> None:
    """A worker with a wrong tool definition must not take work, nor beat settle what is lost."""
    exit_unless_sound()
