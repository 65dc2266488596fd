from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.utils.module_loading import autodiscover_modules

from rampart import counting

counting.install()  # Before the rooms are loaded, which count from then on.


class RampartConfig(AppConfig):
    """The outermost room: it gathers every room's system checks."""

    name = "rampart"

    def ready(self) -> None:
        autodiscover_modules("checks", "signals", "holders", "clock")


class RampartAdminConfig(AdminConfig):
    """Django's admin with our site."""

    default_site = "rampart.site.RampartAdminSite"
