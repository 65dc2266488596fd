"""Which names a tool's secret may bear: an environment variable that nobody else has a use for."""

import re

NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)

TAKEN = frozenset(
    {
        "ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "DEFAULT_FROM_EMAIL", "REDIS_URL", "SECRET_KEY",
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM", "TMPDIR", "TZ", "LANG",
        "LANGUAGE", "ENV", "BASH_ENV", "IFS",
        "PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE",
    }
)  # fmt: skip
"""What Rampart itself, its database's client, or every program, reads."""

TAKEN_BEGINNINGS = (
    "RAMPART_", "OIDC_", "EMAIL_", "CELERY_", "DJANGO_", "GRANIAN_", "OTEL_", "PROMETHEUS_",
    "PYTHON", "LD_", "LC_", "MALLOC_", "GLIBC_", "SSL_", "OPENSSL_",
)  # fmt: skip


def fault_of(name: str) -> str | None:
    """Why no secret of a tool may be called so, or None."""
    if not NAME.fullmatch(name):
        return "is not a capital letter and up to 63 of A-Z 0-9 _"
    if name.endswith("_FILE"):
        return "would be read as the name of a file: leave _FILE away"
    if name in TAKEN or name.startswith(TAKEN_BEGINNINGS):
        return "means something else to Rampart or to the system: choose another"
    return None
