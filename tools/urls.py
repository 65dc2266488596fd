"""Where tools live in the API."""

from django.urls import path

from tools import views

urlpatterns = [
    path("tools", views.ToolListView.as_view(), name="tools"),
    path("tools/<str:name>", views.ToolView.as_view(), name="tool"),
    path("mcp/tools", views.McpToolListView.as_view(), name="mcp-tools"),
]
