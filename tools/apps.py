from django.apps import AppConfig
from django.conf import settings

from tools import builtin, registry


class ToolsConfig(AppConfig):
    """The tool room; the tools are read once, when the process starts."""

    name = "tools"

    def ready(self) -> None:
        registry.load([*builtin.MODULES, *settings.RAMPART_TOOL_MODULES])
