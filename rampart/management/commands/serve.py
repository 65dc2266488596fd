"""`serve`: the web server, as the settings have it."""

import socket
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from rampart import holders
from rampart.management.base import Exit, RampartCommand

SECONDS_TO_STOP = 5


class Command(RampartCommand):
    help = "Serve REST and the admin with granian; this process becomes the server."

    def handle(self, **options: Any) -> None:
        self._refuse_a_taken_port()
        holders.begin_with_none(
            str(Path(sys.executable).with_name("granian")),
            "--interface", "wsgi",
            "--host", settings.RAMPART_HOST,
            "--port", str(settings.RAMPART_PORT),
            "--workers", str(settings.RAMPART_WEB_WORKERS),
            "--blocking-threads", str(settings.RAMPART_WEB_THREADS),
            "--workers-kill-timeout", str(SECONDS_TO_STOP),
            "--respawn-failed-workers",
            "--log-level", "error",
            "rampart.wsgi:application",
        )  # fmt: skip

    def _refuse_a_taken_port(self) -> None:
        """granian shares its port with whoever asks, so two servers would split the calls."""
        family = socket.AF_INET6 if ":" in settings.RAMPART_HOST else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.RAMPART_HOST, settings.RAMPART_PORT))
            except OSError as error:
                where = f"{settings.RAMPART_HOST}:{settings.RAMPART_PORT}"
                raise self.fail(f"{where}: {error.strerror}", Exit.COULD_NOT_RUN) from None
