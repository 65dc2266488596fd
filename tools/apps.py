from django.apps import AppConfig

from tools import registry
from tools.workshop import tool_modules


class ToolsConfig(AppConfig):
    """The tool room; the tools are read once, when the process starts."""

    name = "tools"

    def ready(self) -> None:
        registry.load(tool_modules())
