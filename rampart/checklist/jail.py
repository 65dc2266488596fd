"""The jail, as far as this machine can build it; run the list where the workers are, too."""

from functools import cache, partial

from django.conf import settings

from rampart.checklist.items import Judgement, does_not_apply, fails, item, named, passes
from sandbox.capabilities import Report
from sandbox.errors import SandboxUnavailable
from sandbox.profiles import FRESH, NATIVE, STRICT, WARM, Profile
from tools import registry
from tools.availability import missing
from tools.definition import ToolDefinition
from tools.workshop import profile_of, workshop

EXECUTION = "docs/explanation/execution.md"
TITLES = (
    (WARM, "The jail of tools that read is whole"),
    (FRESH, "The jail of tools that write is whole"),
    (STRICT, "The jail of code that nobody has read is whole"),
    (NATIVE, "The jail of tools with grants is whole"),
)
KERNEL = "run on a kernel, or in a container, that has it; until then what needs it is refused"


@cache
def examined(profile: Profile) -> Report | SandboxUnavailable:
    """What one jail is made of here, found by trying it; or why that can't be found out."""
    try:
        return workshop().examine([profile])
    except SandboxUnavailable as error:
        return error


def usual(tool: ToolDefinition) -> Profile:
    """The jail of most runs of a tool: what only reads is mostly run where it is asked for."""
    return profile_of(tool, fresh=tool.isolated or not tool.is_read_only)


def whole(profile: Profile) -> Judgement:
    """How strong one jail is: each of its layers by name, and why one is missing."""
    report = examined(profile)
    if isinstance(report, SandboxUnavailable):
        return fails(f"it can't be found out: {report}", fix="mend that, and run this again")
    lacking = missing(profile, report)
    held = [layer for layer in profile.layers if layer not in lacking]
    level = f"{len(held)} of {len(profile.layers)} layers: {', '.join(held) or 'none'}"
    if not lacking:
        return passes(level)
    level += "; missing: " + "; ".join(f"{layer} ({why})" for layer, why in lacking.items())
    inmates = [name for name, tool in registry.loaded().items() if usual(tool) == profile]
    if not inmates:
        return does_not_apply(f"no tool needs it. {level}")
    return fails(f"{level}; needed by {named(sorted(inmates))}", fix=KERNEL)


for _profile, _title in TITLES:
    item(f"jail.{_profile.name}", _title, docs=EXECUTION)(partial(whole, _profile))


@item("jail.acts", "What the jails forbid does not get through", docs=EXECUTION)
def acts() -> Judgement:
    reports = [report for profile, _ in TITLES if isinstance(report := examined(profile), Report)]
    through = [f"{act} in {jail}" for report in reports for jail, act in report.got_through]
    if through:
        return fails(f"tried, and it worked: {named(through)}", fix=KERNEL)
    tried = sum(len(found) for report in reports for found in report.acts.values())
    if not tried:
        return does_not_apply("nothing could be tried")
    return passes(f"{tried} forbidden acts tried, each in a process of its own: none worked")


@item("jail.waived", "No layer of the jail is waived", docs="docs/reference/settings.md#rules")
def waived() -> Judgement:
    names = ", ".join(settings.RAMPART_WAIVE_ISOLATION)
    if names:
        return fails(
            f"tools may run without {names}",
            fix="run where the kernel has it, then take it out of RAMPART_WAIVE_ISOLATION",
        )
    return passes("none: what can't be jailed is refused")
