"""Which tools this machine can jail as they need it; calls of the others are not taken here.

What the kernel gives is found out by trying, once in each process. A process knows its own machine
only: workers elsewhere refuse for themselves, since nothing runs outside of a jail that is whole.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from sandbox.capabilities import Report
from sandbox.errors import SandboxUnavailable
from sandbox.layers import Layer
from sandbox.profiles import PROFILES, WARM, Profile
from tools import registry
from tools.definition import ToolDefinition
from tools.workshop import profile_of, workshop

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 10
"""A workshop that does not answer is asked again after this time, not by every call."""


@dataclass(slots=True)
class _Memory:
    report: Report | None = None
    next_try: float = 0.0


_memory = _Memory()
_lock = threading.Lock()


def report() -> Report | None:
    """What this machine's jails are made of; None while that can't be found out."""
    if _memory.report is None and time.monotonic() >= _memory.next_try:
        with _lock:
            _examine()
    return _memory.report


def forget() -> None:
    """Find out anew when next asked."""
    _memory.report, _memory.next_try = None, 0.0


def _examine() -> None:
    """By the first thread that gets here; the others wait for what it finds."""
    if _memory.report is not None or time.monotonic() < _memory.next_try:
        return
    try:
        _memory.report = workshop().examine(_needed())
    except SandboxUnavailable as error:
        _memory.next_try = time.monotonic() + SECONDS_BETWEEN_TRIES
        log.warning("the jails can't be examined: %s", error)
        return
    for name, why in shut_tools().items():
        log.warning("calls of %s are not taken here: %s", name, why)


def _needed() -> list[Profile]:
    """The profiles in which this deployment's tools run."""
    used = {WARM, *map(profile_of, registry.loaded().values())}
    return [profile for profile in PROFILES.values() if profile in used]


def missing(profile: Profile, report: Report) -> Mapping[Layer, str]:
    """The layers of a profile that were not to be had, each with the reason.

    A user of its own is for servers that are root; others do without, and lose nothing by it.
    """
    return {
        layer: why
        for layer, why in report.layers.get(profile.name, {}).items()
        if why is not None and (layer is not Layer.OWN_USER or report.is_root)
    }


def shut_because(tool: ToolDefinition) -> str | None:
    """Why no call of the tool can be run on this machine, naming each layer; None if it can.

    Nothing speaks against a tool while nothing can be found out: its own run will tell.
    """
    profile, found = profile_of(tool), report()
    lacking = [
        f"{layer} ({why})"
        for layer, why in (missing(profile, found) if found else {}).items()
        if layer not in settings.RAMPART_WAIVE_ISOLATION
    ]
    return f"the jail {profile.name} lacks {'; '.join(lacking)}" if lacking else None


def shut_tools() -> dict[str, str]:
    """Each tool that this machine can't jail, with the reason."""
    reasons = {name: shut_because(tool) for name, tool in sorted(registry.loaded().items())}
    return {name: why for name, why in reasons.items() if why is not None}


def strength() -> str:
    """In a line: which jails are whole here, what the others lack, and what is waived."""
    found = report()
    if found is None:
        return "The jails can't be examined now; the server's log says why."
    profiles = [PROFILES[name] for name in found.layers]
    whole = [profile.name for profile in profiles if not missing(profile, found)]
    thin = [
        f"{profile.name} lacks {', '.join(missing(profile, found))}"
        for profile in profiles
        if profile.name not in whole
    ]
    waived = ", ".join(settings.RAMPART_WAIVE_ISOLATION)
    parts = [f"{', '.join(whole)} whole" if whole else "", *thin, waived and f"waived: {waived}"]
    return f"Jails here: {'; '.join(part for part in parts if part)}."
