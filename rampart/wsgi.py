"""The web server's entry: REST and admin."""

import os

from django.core.wsgi import get_wsgi_application

from rampart.lengths import with_known_length

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rampart.settings")

application = with_known_length(get_wsgi_application())

from rampart import holders, startup  # noqa: E402 - the applications must be loaded first

holders.hold_none()
startup.refuse_errors()
