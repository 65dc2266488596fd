"""Importing this builds every tool that is defined by now.

The process from which tools are forked imports it last, so that each child finds them built.
"""

from tools import registry

TOOLS = registry.load(())
