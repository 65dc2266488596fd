"""The deployment: stores, address, secrets, what is kept for how long."""

import stat
from datetime import timedelta

from django.conf import settings
from django.core import checks
from django.db import connection
from rest_framework.permissions import IsAuthenticated
from rest_framework.settings import api_settings

from rampart.checklist.items import Judgement, fails, item, named, passes
from tools.forms import written

SETTINGS = "docs/reference/settings.md"
PRODUCTION = "docs/how-to/run-in-production.md"
TLS = "public-address-tls-and-the-proxy"
LONGEST_RETENTION = timedelta(days=30)
LINES_OF_THEIR_OWN = frozenset({"approvals.W001", "rampart.W004", "tools.W002"})


@item("checks", "System checks find nothing", docs="docs/reference/system-checks.md")
def system_checks() -> Judgement:
    found = [
        message
        for message in checks.run_checks(databases=["default"])
        if message.id not in LINES_OF_THEIR_OWN
    ]
    if not found:
        return passes("errors and warnings: none")
    return fails(
        named((f"{message.id}: {message.msg}" for message in found), "; "),
        fix="`manage.py check` has a hint for each",
    )


@item("debug", "Django's debug mode is off", docs=f"{SETTINGS}#serving")
def debug() -> Judgement:
    if settings.DEBUG:
        return fails("error pages show code and settings to anybody", fix="unset DEBUG")
    return passes("off")


@item("authentication", "The API asks who is calling", docs="docs/explanation/identity.md")
def authentication() -> Judgement:
    asked: list[object] = [*api_settings.DEFAULT_PERMISSION_CLASSES]
    if IsAuthenticated in asked:
        return passes("by default nobody is let in without a credential")
    return fails(
        "views let in anybody unless they say otherwise",
        fix="put IsAuthenticated back into DEFAULT_PERMISSION_CLASSES",
    )


@item(
    "https",
    "People and agents come by https",
    docs=f"{PRODUCTION}#{TLS}",
)
def https() -> Judgement:
    address = settings.RAMPART_PUBLIC_URL
    if address.startswith("https://"):
        return passes(f"{address}: cookies over TLS only")
    return fails(
        f"RAMPART_PUBLIC_URL is {address or 'not set'}: keys and cookies may travel in the clear",
        fix="end TLS at a proxy and set RAMPART_PUBLIC_URL to its https address",
    )


@item("secrets", "Secrets are out of the configuration", docs=f"{PRODUCTION}#secrets")
def secrets() -> Judgement:
    """A file that others may read gives away what an environment would keep."""
    file = settings.RAMPART_VAR / "secrets.env"
    if not file.exists():
        return passes("there is no secrets.env: they come from the environment or NAME_FILE")
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        return fails(f"{file} has mode {mode:04o}: others may read it", fix=f"chmod 600 {file}")
    return passes(f"in {file}, which nobody else may read")


@item("database", "PostgreSQL, not SQLite", docs=f"{PRODUCTION}#stores")
def database() -> Judgement:
    if connection.vendor == "postgresql":
        return passes("PostgreSQL")
    return fails(
        "SQLite: one file on one machine, and one writer at a time",
        fix="set DATABASE_URL to postgres://user:password@host/name, then run migrate",
    )


@item("limits", "Rate limits are shared by all processes", docs=f"{PRODUCTION}#stores")
def limits() -> Judgement:
    if settings.REDIS_URL:
        return passes("counted in Redis")
    if connection.vendor == "postgresql":
        return passes("counted in rows of the database")
    return fails("counted in a file of this machine", fix="set REDIS_URL, or use PostgreSQL")


@item("retention", "What is kept raw is kept for a time only", docs=f"{SETTINGS}#rules")
def retention() -> Judgement:
    kept = settings.RAMPART_RESULT_RETENTION
    if kept <= LONGEST_RETENTION:
        return passes(f"raw results, encrypted, for {written(kept)}")
    return fails(
        f"raw results are kept for {written(kept)}",
        fix=f"set RAMPART_RESULT_RETENTION to {LONGEST_RETENTION.days}d at most",
    )


@item(
    "retention.ledger",
    "Somebody has decided how long the ledger is kept",
    docs="docs/how-to/retain-and-prune.md#the-ledger",
)
def retention_of_the_ledger() -> Judgement:
    """For ever is a decision too, which laws on personal data may forbid."""
    if not settings.RAMPART_ENVIRONMENT.is_set("RAMPART_RETENTION_LEDGER"):
        return fails(
            "nobody has: it is kept for ever",
            fix="set RAMPART_RETENTION_LEDGER to a period, or to forever",
        )
    kept = settings.RAMPART_RETENTION_LEDGER
    if kept is not None and not settings.RAMPART_CHECKPOINT_KEY:
        return fails(
            f"for {written(kept)}, and then nothing goes: there is no key to sign what is gone",
            fix="set RAMPART_CHECKPOINT_KEY",
        )
    return passes("for ever" if kept is None else f"for {written(kept)}")


@item("metrics", "Metrics are for those who scrape them", docs=f"{SETTINGS}#serving")
def metrics() -> Judgement:
    networks = settings.RAMPART_METRICS_ALLOW
    if any(network.prefixlen == 0 for network in networks):
        return fails(
            "/metrics names tools and counts to anybody",
            fix="set RAMPART_METRICS_ALLOW to the network of your Prometheus",
        )
    return passes(f"open to {named(map(str, networks)) or 'nobody'}")
