"""For templates: a stranger's text made plain, a time, a JSON value as a table, a link."""

from django import template

from audit import plain_text, windows

register = template.Library()
register.filter("marked", plain_text.marked)
register.filter("visible", plain_text.visible)
register.filter("when", windows.when)
register.filter("exactly", windows.exactly)
register.filter("as_sheet", windows.as_sheet)
register.filter("link", windows.link)
