"""What every long-lived process asks before it begins to serve."""

from django.core import checks
from django.core.management.base import SystemCheckError


def refuse_errors() -> None:
    """Raise SystemCheckError if a system check finds an error, such as a wrong tool definition."""
    if errors := [found for found in checks.run_checks() if found.is_serious()]:
        raise SystemCheckError("\n".join(f"{found.id}: {found.msg}" for found in errors))
