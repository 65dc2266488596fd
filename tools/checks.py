"""System checks of the tools, each with a stable id."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from sandbox.root import is_below
from tools import registry
from tools.definition import ToolDefinition

_PROGRAMS = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")


@register()
def tools_are_well_defined(**kwargs: Any) -> list[CheckMessage]:
    """tools.E001: a tool is defined in a way that can't work."""
    return [
        Error(problem, hint="RAMPART_TOOL_MODULES names the modules", id="tools.E001")
        for problem in registry.problems()
    ]


@register()
def tools_say_what_they_mean(**kwargs: Any) -> list[CheckMessage]:
    """tools.W001 and W002: definitions that work but promise more than they keep."""
    return [warning for tool in registry.loaded().values() for warning in _doubts(tool)]


def _doubts(tool: ToolDefinition) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if tool.is_read_only and tool.approval_reasons_possible:
        found.append(
            Warning(
                f"{tool.name} is read only, yet asks for approval",
                hint="a tool that needs a person usually does something: drop read_only",
                id="tools.W001",
            )
        )
    if tool.max_retries and not tool.may_run_again:
        found.append(
            Warning(
                f"{tool.name} asks for retries, but is not idempotent: it is run once",
                hint="declare @side_effects(idempotent=True) if running twice does no harm",
                id="tools.W002",
            )
        )
    return found


@register()
def grants_leave_us_alone(**kwargs: Any) -> list[CheckMessage]:
    """tools.E002: a tool is granted a path from which Rampart's own data can be reached."""
    own = {str(settings.RAMPART_VAR), str(settings.RAMPART_VAR.resolve())}
    return [
        Error(
            f"{tool.name} is granted {path}, which is in or around {settings.RAMPART_VAR}",
            hint="that folder holds the platform's secrets and data: grant another",
            id="tools.E002",
        )
        for tool in registry.loaded().values()
        for path in _granted(tool)
        if is_below(path, own) or any(is_below(each, [path]) for each in own)
    ]


@register()
def grants_leave_the_code_alone(**kwargs: Any) -> list[CheckMessage]:
    """tools.E003: a tool may write where programs and modules lie that others run."""
    return [
        Error(
            f"{tool.name} may write in {path}, which is in or around {code}",
            hint="what it leaves there is run later, outside of its jail: grant another folder",
            id="tools.E003",
        )
        for tool in registry.loaded().values()
        if tool.grants is not None
        for path in tool.grants.write
        if (code := _code_at(path))
    ]


def _code_at(path: str) -> str | None:
    """Whose code could be another one after a write below this path; None: nobody's.

    A folder beside a package's modules, or in it, is no place that anything is imported from.
    """
    homes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *_PROGRAMS}
    for home in sorted({*homes, *map(os.path.realpath, homes)}):
        if is_below(path, [home]):
            return home
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    places = {os.path.abspath(place) for place in (*sys.path, *filter(None, files))}
    around = {*homes, *places, *map(os.path.realpath, [*homes, *places])}
    return next((place for place in sorted(around) if is_below(place, [path])), None)


def _granted(tool: ToolDefinition) -> tuple[str, ...]:
    return () if tool.grants is None else (*tool.grants.read, *tool.grants.write)


@register()
def tokens_are_for_us_alone(**kwargs: Any) -> list[CheckMessage]:
    """tools.W004: tokens are taken from any issuer whose key fits, or for any audience."""
    signed = bool(
        settings.RAMPART_JWT_SECRET
        or settings.RAMPART_JWT_JWKS_URL
        or settings.RAMPART_JWT_JWKS_FILE
    )
    open_to: list[str] = []
    beside_people = bool(settings.OIDC_RP_CLIENT_ID and settings.RAMPART_INTROSPECTION_URL)
    if (signed or beside_people) and not settings.RAMPART_JWT_ISSUER:
        open_to.append("RAMPART_JWT_ISSUER")
    if (signed or settings.RAMPART_INTROSPECTION_URL) and not settings.RAMPART_JWT_AUDIENCE:
        open_to.append("RAMPART_JWT_AUDIENCE")
    return [
        Warning(
            f"tokens are accepted, and {name} is not set",
            hint="what was given out for another service, or by another tenant of the same"
            " provider, is then good here too",
            id="tools.W004",
        )
        for name in open_to
    ]


@register()
def token_providers_are_asked_in_private(**kwargs: Any) -> list[CheckMessage]:
    """tools.W005: keys or answers about tokens come over plain http from another machine."""
    return [
        Warning(
            f"{name} is plain http to another machine",
            hint="whoever is on the way can let in whom they like: use https",
            id="tools.W005",
        )
        for name in _asked_in_public()
    ]


def _asked_in_public() -> Iterator[str]:
    for name in ("RAMPART_JWT_JWKS_URL", "OIDC_OP_JWKS_ENDPOINT", "RAMPART_INTROSPECTION_URL"):
        url = urlsplit(getattr(settings, name))
        if url.scheme == "http" and not _is_loopback(url.hostname or ""):
            yield name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
