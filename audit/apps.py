from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The ledger room."""

    name = "audit"
    verbose_name = "Ledger"
