"""The deployment's tools: is each declared so that the platform can do right by its calls?"""

from collections.abc import Callable, Iterator

from approvals.checks import unruled_writes
from rampart.checklist.items import Judgement, does_not_apply, fails, item, named, passes
from tools import registry
from tools.definition import ToolDefinition
from tools.drafts import SideEffectMetadata

DECLARE = "docs/how-to/write-a-tool.md#declare-what-it-does"
DECORATORS = "docs/reference/decorators.md"
OURS = "tools.builtin."
LONGEST_TIMEOUT_SECONDS = 60
MOST_RETRIES = 3


def theirs() -> Iterator[ToolDefinition]:
    """The deployment's own tools, by name."""
    for _, tool in sorted(registry.loaded().items()):
        if not tool.function.__module__.startswith(OURS):
            yield tool


def writes_for_good(tool: ToolDefinition) -> bool:
    """Whether running twice would do more than running once."""
    return not tool.may_run_again


def is_risky(tool: ToolDefinition) -> bool:
    """Whether a call that goes wrong costs more than a call."""
    effects = tool.side_effects
    return not tool.is_read_only and (
        effects.destructive
        or effects.money_movement
        or effects.changes_permissions
        or effects.external_network
    )


def no_tool(
    is_at_fault: Callable[[ToolDefinition], bool],
    finding: str,
    *,
    fix: str,
    among: Callable[[ToolDefinition], bool] = lambda tool: True,
) -> Judgement:
    """Passes unless one of the tools is at fault; does not apply where there is none to look at."""
    judged = [tool for tool in theirs() if among(tool)]
    if not judged:
        return does_not_apply("there is no such tool")
    faulty = [tool.name for tool in judged if is_at_fault(tool)]
    if faulty:
        return fails(f"{finding}: {named(faulty)}", fix=fix)
    return passes(f"{len(judged)} {'tool' if len(judged) == 1 else 'tools'} looked at")


@item("tools.scope", "Each tool has a scope of its own", docs=DECLARE)
def scope() -> Judgement:
    return no_tool(
        lambda tool: tool.scope is None,
        "any key may call these",
        fix="@scope('resource.verb'), narrow enough to be given alone",
    )


@item("tools.effects", "Each tool says what it does", docs=DECLARE)
def effects() -> Judgement:
    return no_tool(
        lambda tool: tool.side_effects == SideEffectMetadata(),
        "nothing is declared of",
        fix="@side_effects(read_only=True), or what is written, destroyed, paid or sent",
    )


@item("tools.rules", "Writing is ruled by code or policy", docs="docs/how-to/write-policies.md")
def rules() -> Judgement:
    found = list(unruled_writes())
    if found:
        return fails(
            named(found, "; "),
            fix="@require_approval, a policy, or RAMPART_UNRULED_WRITES=hold",
        )
    return passes("no tool writes without a rule")


@item("tools.idempotency", "Tools that write want an idempotency key", docs=DECORATORS)
def idempotency() -> Judgement:
    return no_tool(
        lambda tool: not tool.requires_idempotency_key,
        "a caller that tries again may do it twice",
        fix="@require_idempotency_key, or @side_effects(idempotent=True) if twice does no harm",
        among=writes_for_good,
    )


@item("tools.timeout", "No tool may run for long", docs=DECORATORS)
def timeout() -> Judgement:
    return no_tool(
        lambda tool: (tool.timeout_seconds or float("inf")) > LONGEST_TIMEOUT_SECONDS,
        f"may run for more than {LONGEST_TIMEOUT_SECONDS} s",
        fix=f"@timeout({LONGEST_TIMEOUT_SECONDS}) or less; split what takes longer",
    )


@item("tools.retries", "Retries are few, and only where twice does no harm", docs=DECORATORS)
def retries() -> Judgement:
    return no_tool(
        lambda tool: tool.max_retries > (MOST_RETRIES if tool.may_run_again else 0),
        f"asks for more than {MOST_RETRIES} retries, or for any although it is not idempotent",
        fix="lower @max_retries, or drop it from what is not idempotent",
    )


@item("tools.isolation", "Risky tools run in a process of their own", docs=DECORATORS)
def isolation() -> Judgement:
    return no_tool(
        lambda tool: not tool.isolated,
        "destroys, pays, sends or grants, and is not isolated",
        fix="@isolated_process, with network, read and write for the kernel's jail",
        among=is_risky,
    )
