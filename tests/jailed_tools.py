"""A tool for which the kernel has to build a jail, beside those of the kit, which need less."""

from tools import isolated_process, scope, side_effects, timeout, tool


@tool
@scope("kit.read")
@side_effects(writes_data=True, idempotent=True)
@isolated_process(network=False)
@timeout(10)
def jailed_sum(left: int, right: int) -> int:
    """Add, in a jail that reaches nothing."""
    return left + right
