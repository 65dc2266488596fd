"""The admin site."""

from django.contrib import admin


class RampartAdminSite(admin.AdminSite):
    """Django's admin under Rampart's name; the API's docs and the ledger hang off it."""

    site_header = "Rampart"
    site_title = "Rampart"
    index_title = "Overview"
    enable_nav_sidebar = False
