"""The API of tools: what exists, as far as the requester may call it."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tools import availability, registry
from tools.catalogue import switchboard
from tools.definition import ToolDefinition
from tools.identity import Caller


class ToolListView(APIView):
    """`GET /tools`."""

    def get(self, request: Request) -> Response:
        return Response({"tools": [describe(tool) for tool in callable_tools(request.user)]})


class ToolView(APIView):
    """`GET /tools/{name}`."""

    def get(self, request: Request, name: str) -> Response:
        for tool in callable_tools(request.user):
            if tool.name == registry.canonical(name):
                return Response(describe(tool))
        raise NotFound(f"no tool is called {name!r}", code="unknown_tool")


class McpToolListView(APIView):
    """`GET /mcp/tools`: the same in MCP's words."""

    def get(self, request: Request) -> Response:
        return Response(
            {"tools": [describe_for_mcp(tool) for tool in callable_tools(request.user)]}
        )


def callable_tools(user: Any) -> list[ToolDefinition]:
    """The tools that can run here and that the requester may call; a person may call none."""
    shut = availability.shut_tools()
    tools = [tool for name, tool in sorted(registry.loaded().items()) if name not in shut]
    if not isinstance(user, Caller):
        return tools
    return [tool for tool in tools if user.may_call(tool.name) and user.has_scope(tool.scope)]


def describe(tool: ToolDefinition) -> dict[str, Any]:
    """The tool's public schema, its version and its switch."""
    board = switchboard()
    switch = board.switches.get(tool.name)
    return tool.public_schema | {
        "version": switch.version if switch else None,
        "enabled": board.closed_because(tool) is None,
    }


def describe_for_mcp(tool: ToolDefinition) -> dict[str, Any]:
    """The tool as an MCP client knows tools, with what Rampart adds under a name of its own."""
    schema, effects = tool.public_schema, tool.side_effects
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": schema["input_schema"],
        "annotations": {
            "title": tool.name,
            "readOnlyHint": effects.read_only,
            "destructiveHint": effects.destructive,
            "idempotentHint": effects.idempotent,
            "openWorldHint": effects.external_network,
        },
        "x-toolrampart": {
            "scope": tool.scope,
            "approval_required": tool.approval_reasons_possible,
            "rate_limit": tool.rate_limit.text if tool.rate_limit else None,
            "redacts": sorted(tool.redacts),
            "side_effects": schema["side_effects"],
        },
    }
