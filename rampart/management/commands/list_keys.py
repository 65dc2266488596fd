"""`list_keys`: who holds a key, for what, until when."""

from typing import Any

from rampart.management.base import JsonCommand
from tools.models import ApiKey

COLUMNS = ("prefix", "actor", "owner", "scopes", "expires_at", "revoked_at", "last_used_at")


class Command(JsonCommand):
    help = "List the API keys; their secrets are kept nowhere."

    def handle(self, **options: Any) -> None:
        rows = [row.describe() for row in ApiKey.objects.select_related("owner")]
        if options["json"]:
            self.print_json(rows)
        else:
            self.print_rows(rows, COLUMNS)
