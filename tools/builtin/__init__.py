"""The tools that every deployment has, beside those of RAMPART_TOOL_MODULES."""

MODULES = ("tools.builtin.smoke", "tools.builtin.execution")
