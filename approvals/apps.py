from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """The room where calls are judged and people decide."""

    name = "approvals"
