"""The ledger's window: everybody with the permission looks in, nobody reaches in."""

from django.contrib import admin

from audit import hold_admin as hold_admin
from audit.desk.export_pages import ExportPages
from audit.desk.telling import EventPages
from audit.desk.verification_pages import VerificationPages
from audit.models import Event
from audit.windows import link as link


@admin.register(Event)
class EventAdmin(EventPages, ExportPages, VerificationPages):
    """The list and the pages of events, read-only for everybody."""
