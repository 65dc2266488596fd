"""Where tools live in the API."""

from django.urls import path

from tools import own_key, views

urlpatterns = [
    path("tools", views.ToolListView.as_view(), name="tools"),
    path("tools/<str:name>", views.ToolView.as_view(), name="tool"),
    path("mcp/tools", views.McpToolListView.as_view(), name="mcp-tools"),
    path("key", own_key.OwnKeyView.as_view(), name="own-key"),
    path("key/rotate", own_key.OwnKeyRotationView.as_view(), name="own-key-rotation"),
]
