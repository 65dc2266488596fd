"""`serve`: the web server, as the settings have it."""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from rampart.management.base import RampartCommand

SECONDS_TO_STOP = 5


class Command(RampartCommand):
    help = "Serve REST and the admin with granian; this process becomes the server."

    def handle(self, **options: Any) -> None:
        granian = Path(sys.executable).with_name("granian")
        os.execv(  # noqa: S606 - a fixed program of our own environment, no shell
            granian,
            [
                str(granian),
                "--interface", "wsgi",
                "--host", settings.RAMPART_HOST,
                "--port", str(settings.RAMPART_PORT),
                "--workers", str(settings.RAMPART_WEB_WORKERS),
                "--blocking-threads", str(settings.RAMPART_WEB_THREADS),
                "--workers-kill-timeout", str(SECONDS_TO_STOP),
                "--respawn-failed-workers",
                "--log-level", "warning",
                "rampart.wsgi:application",
            ],
        )  # fmt: skip
